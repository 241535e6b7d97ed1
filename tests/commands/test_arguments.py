"""What commands take: types of options, and the sentences that refuse nonsense."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.commands import live
from kvmtop.commands.arguments import EVENTS

from ..support.program import run, sentence


@pytest.mark.parametrize(
    ("argv", "pids"),
    [
        ("", []),
        ("-p 7", [7]),
        ("--pid 7,8", [7, 8]),
        ("--pid=7,8 -p 9 -p10", [7, 8, 9, 10]),
        ("-p 4194303", [4194303]),
    ],
)
def test_pids(argv: str, pids: list[int]) -> None:
    assert live.parser().parse_args(argv.split()).pid == pids
    assert live.parser().parse_args([]).pid == []  # nothing is left over


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        ("", "duration", None),
        ("-T 10", "duration", 10),
        ("-T0.1", "duration", 0.1),
        ("--duration 1e3", "duration", 1e3),
        ("", "interval", None),  # what the configuration says, or 1
        ("-i 0.5", "interval", 0.5),
        ("--interval 3600", "interval", 3600),
        ("", "dump", None),
        ("-o x", "dump", Path("x")),
        ("--dump=/tmp/x y", "dump", Path("/tmp/x")),
        ("", "kvm", None),
        ("-G kvm=intel", "kvm", "intel"),
        ("-G kvm=amd", "kvm", "amd"),
        ("--kvm amd", "kvm", "amd"),
        ("-T 10 -G kvm=intel", "kvm", "intel"),
        ("", "batch", False),
        ("-b", "batch", True),
        ("--batch", "batch", True),
        ("", "live", False),
        ("--live", "live", True),
    ],
)
def test_options(argv: str, name: str, value: object) -> None:
    options, _ = live.parser().parse_known_args(argv.split())
    assert getattr(options, name) == value


@pytest.mark.parametrize(
    "argv",
    [
        "-p 0",
        "-p -1",
        "-p x",
        "-p 7,",
        "-p ,",
        "-p 7,,8",
        "-p 7.0",
        "-p 4194304",
        "-p ²",
        "-p " + "9" * 5000,
        "-p",
        "-T 0",
        "-T 0.05",
        "-T -1",
        "-T nan",
        "-T inf",
        "-T x",
        "-T",
        "-i 0",
        "-i 0.01",
        "-i 3601",
        "-i nan",
        "-i inf",
        "-G kvm",
        "-G kvm=",
        "-G kvm=arm",
        "-G intel",
        "-G KVM=intel",
        "-G x=intel",
        "--kvm x",
        "--nonsense",
        "--dur 5",
        "5",
        "--batch=1",
    ],
)
def test_bad_arguments(argv: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(live, "run", lambda options, bare: 0)
    assert cli.main(argv.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(sentence(err)) < 300
    assert "_pids" not in err  # a name of the program's inside


def test_bad_arguments_of_the_command() -> None:
    done = run("-T", "soon")
    assert (done.returncode, done.stdout) == (2, "")
    assert "'soon'" in sentence(done.stderr)


@pytest.mark.parametrize(
    ("argv", "kinds"),
    [
        ("", []),
        ("--event io", ["io"]),
        ("--event io,msr --event rip", ["io", "msr", "rip"]),
        ("--event all", list(EVENTS)),
        ("--event io,all", list(EVENTS)),
        ("--event sched,all", ["sched", *EVENTS]),
        ("--event sched,io --event sched", ["sched", "io", "sched"]),
    ],
)
def test_events(argv: str, kinds: list[str]) -> None:
    assert live.parser().parse_args(argv.split()).event == kinds


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1ms", 10**6),
        ("500us", 500_000),
        ("500µs", 500_000),
        ("2s", 2 * 10**9),
        ("1.5ms", 1_500_000),
        ("7ns", 7),
        ("3600s", 3600 * 10**9),
        ("0.001us", 1),
        ("1 ms", 10**6),
    ],
)
def test_slow(text: str, ns: int) -> None:
    assert live.parser().parse_args(["--slow", text]).slow == ns


@pytest.mark.parametrize(
    ("option", "text"),
    [
        *(
            ("--slow", text)
            for text in (
                "",
                "0",
                "0ms",
                "1",
                "ms",
                "-1ms",
                "1m",
                "1h",
                "nan",
                "inf s",
                "1e3ms",
                "3601s",
                "1ms2",
                "0.1ns",
                "9" * 5000 + "s",
                "1ms\x1b[31m",
                "1,5ms",
            )
        ),
        *(("--event", text) for text in ("", ",", "io,", "ports", "IO", "window", "all,x", "io msr", "\x1b[31mio")),
    ],
)
def test_nonsense_is_refused_in_a_sentence(
    option: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(live, "run", lambda options, bare: 0)
    assert cli.main([option + "=" + text]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err) < 400
    assert option in sentence(err) and sentence(err).removesuffix("\n").isprintable()
