"""Every option with nonsense, with extremes and with the others: what each yields, and that it is always a sentence."""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvmtop import cli
from kvmtop.bpf import privileges
from kvmtop.commands import demo
from kvmtop.commands.headless import Schedule
from kvmtop.host import doctor, live, processes
from kvmtop.recording.writer import Recorder

from .support.fake import Busy
from .support.program import sentence

LONG = "x" * 65536
# What does not take long: no machine is asked, no time passes, no name of a host is looked up.
YIELDS = [
    # argv                                   status, words on stderr ("" for none)
    ("-p 0", 2, "is not a process id"),
    ("-p 4194303 -p x", 2, "'x' is not a process id"),
    ("-p 7", 0, ""),
    ("-p 4194303,1", 0, ""),
    ("--pid=-1", 2, "is not a process id"),
    (f"-p {'9' * 5000}", 2, "is not a process id"),
    ("-T 0.1", 0, ""),
    ("-T 1e308", 0, ""),
    ("-T 1e309", 2, "not a number of seconds of at least 0.1"),
    ("-T nan", 2, "number of seconds"),
    ("-T ''", 2, "number of seconds"),
    ("-T", 2, "expected one argument"),
    ("-i 3600", 0, ""),
    ("-i 3600.1", 2, "from 0.1 to 3600"),
    ("-i -0", 2, "from 0.1"),
    ("-i 1_0", 0, ""),
    ("-i ٢", 2, "'٢' is not a number of seconds"),
    ("-T ١٠", 2, "number of seconds"),
    ("-T 1٫5", 2, "number of seconds"),
    ("-i ２", 2, "number of seconds"),
    ("-p ١٢", 2, "is not a process id"),
    ("--openmetrics ٩٩٦٠", 2, "[ADDR:]PORT"),
    ("--slow ١ms", 2, "is not a time"),
    ("--slow 1　ms", 2, "is not a time"),
    ("--slow 1.٥s", 2, "is not a time"),
    ("compare good@٠..٢ good", 2, "'٠' is no moment"),
    ("compare good good@..٢.٠", 2, "'٢.٠' is no moment"),
    ("explain ٤٨", 2, ""),
    ("-o /dev/fd/²", 1, "cannot write /dev/fd/²"),
    ("-o /dev/fd/٩", 1, "cannot write /dev/fd/٩"),
    (f"-o /proc/self/fd/{'9' * 200}", 1, "No such file"),
    ("-o far", 0, ""),
    ("--json=far", 0, ""),
    ("-o out", 0, ""),
    ("-o none/out", 2, "there is no directory none"),
    ("-o .", 2, "it is a directory"),
    ("-o ''", 2, "it is a directory"),
    (f"-o {LONG}", 1, "File name too long"),
    ("-o file/x", 2, "no directory file"),
    ("-o /dev/full", 1, "No space left"),
    ("-o /dev/null", 0, ""),
    ("-o pipe", 1, "No such device or address"),
    ("--vm web01 --vm 'x*'", 0, "no VM is called web01 or x*"),
    ("--vm ''", 2, "no VM's name"),
    (f"--vm {LONG}", 2, "VM's name"),
    ("--vm \x1b", 2, "no VM's name"),
    ("replay good --vm x", 2, "no VM is called x"),
    ("compare good good --vm x", 2, "x"),
    ("--reason io", 0, ""),
    ("--reason '('", 2, "is no regular expression"),
    (f"--reason {LONG}", 2, "more than 200"),
    ("--sort p99", 0, ""),
    ("--sort x", 2, "no column to sort by"),
    ("compare good good --sort p99_b", 0, ""),
    ("compare good good --sort p99", 2, "no column to sort by"),
    ("compare good good --sort ''", 2, "no column"),
    ("--sort ''", 2, "no column"),
    ("--top 1", 0, ""),
    ("--top 0", 2, "number of reasons"),
    ("--top ٣", 2, "number of reasons"),
    ("--no-idle", 0, ""),
    ("--idle", 0, ""),
    ("--idle --no-idle", 2, "not allowed with"),
    ("replay good -b --idle", 0, ""),
    ("demo intel -b --idle", 0, ""),
    ("compare good good --idle", 2, "unrecognized arguments"),
    ("--kvm amd", 0, ""),
    ("--kvm AMD", 2, "invalid choice: 'AMD'"),
    ("-G kvm=amd --kvm intel", 0, ""),
    ("-G kvm=\x1b[2J", 2, "is neither kvm=intel nor kvm=amd"),
    (f"-G {LONG}", 2, "is neither"),
    ("-b", 0, ""),
    ("-bb", 0, ""),
    ("-b=1", 2, "ignored explicit argument"),
    ("--bat", 2, "unrecognized arguments"),
    ("--record rec", 0, ""),
    ("--record file", 2, "file exists"),
    ("--record none/rec", 1, "cannot record to none/rec"),
    ("--record link", 2, "link exists"),
    ("--record /dev/null", 2, "/dev/null exists"),
    ("--record ''", 2, ". exists"),
    ("replay good", 0, ""),
    ("replay file", 2, "is not a recording"),
    ("replay none", 2, "there is no file"),
    ("replay pipe", 2, "is not a file"),
    ("replay ''", 2, "has no recordings"),
    ("replay good -p 9", 2, "9"),
    ("replay good --record rec", 2, "unrecognized arguments: --record rec (kvmtop help replay lists"),
    ("replay /dev/zero", 2, "not a file"),
    ("demo", 0, ""),
    ("demo intel", 0, ""),
    ("demo arm", 2, "invalid choice"),
    ("demo --live", 2, "unrecognized"),
    ("demo -T 1", 2, "amd|intel: invalid choice"),
    ("demo amd -T 1", 2, "unrecognized"),
    ("demo --json", 0, ""),
    ("compare good", 2, "required: B"),
    ("compare good good", 0, ""),
    ("compare good none", 2, "no file"),
    ("compare good good --by vm --reason io", 0, ""),
    ("compare good good --by x", 2, "invalid choice: 'x'"),
    ("compare good@9..1 good", 2, "no whole"),
    ("compare good@0..1 good@1..2", 0, ""),
    ("compare good good@0..1e99", 2, "'1e99' is no moment"),
    ("compare good@nan..x file", 2, ""),
    ("compare good@0:1 good", 2, "no file"),
    ("compare good good -b --top 1 --reason x --no-idle", 0, ""),
    ("--live", 0, ""),
    ("--live --live", 0, ""),
    ("--live=1", 2, "ignored explicit argument"),
    ("--event all", 0, ""),
    ("--event io,io", 0, ""),
    ("--event sched,all --slow 1ms", 0, ""),
    ("--event io,", 2, "'' is none of all"),
    (f"--event {LONG}", 2, "is none of all"),
    ("--event \x1b[31mio", 2, "is none of all"),
    ("--slow 1ms", 0, ""),
    ("--slow 0.0000001s --event rip", 0, ""),
    ("--slow 3601s", 2, "up to an hour"),
    ("--slow -1ms", 2, "expected one argument"),
    (f"--slow {'9' * 5000}s", 2, "is not a time"),
    ("--stacks", 0, ""),
    ("--stacks -T 1", 0, ""),
    ("--stacks=folded --json", 0, ""),
    ("--stacks=-", 0, ""),
    ("--stacks=", 2, "no name of a file"),
    ("--stacks=.", 2, "is a directory"),
    ("--stacks=none/folded", 2, "there is no directory none"),
    ("--stacks=out --dump out", 2, "out"),
    ("--stacks --json", 2, "cannot share standard output with --json"),
    ("--stacks --batch --event sched", 0, ""),
    ("--guest-kallsyms file", 2, "has no symbols"),
    ("--guest-kallsyms .", 2, "Is a directory"),
    ("--memory-map file", 2, "file"),
    ("--memory-map none", 2, "No such file"),
    ("--memory-map /dev/null", 2, "/dev/null"),
    ("--memory-map /dev/zero", 2, "has more than 4 MB: it is not what QEMU"),
    ("diagnose", 1, "no VM runs here"),
    ("diagnose --vm web01 -T 20 --json", 1, "no VM is called web01"),
    ("diagnose -p 7 --json=out --no-config", 1, "no VM runs here"),
    ("diagnose --earlier none", 1, "no VM runs here"),
    ("diagnose --duration 1", 2, "not a number of seconds of at least 2"),
    ("diagnose --json=.", 2, "it is a directory"),
    ("diagnose --guest-kallsyms none --memory-map none", 2, "none"),
    ("diagnose --config none", 2, "cannot read none"),
    ("diagnose --batch", 2, "unrecognized"),
    ("list", 1, "no VM runs here"),
    ("list -T 0", 2, "unrecognized"),
    ("list=x", 2, "no command"),
    ("list --json", 1, "no VM"),
    ("doctor", 0, ""),
    ("doctor --json", 0, ""),
    ("doctor --cost", 0, ""),
    ("doctor --cost --json", 0, ""),
    ("doctor --cost=x", 2, "ignored explicit argument"),
    ("doctor x", 2, "unrecognized"),
    ("explain hlt", 0, ""),
    ("explain", 0, ""),
    ("explain list", 0, ""),
    ("explain ''", 2, ""),
    (f"explain {LONG}", 2, ""),
    ("explain \x1b[2J", 2, ""),
    ("config", 0, ""),
    ("config --no-config", 0, ""),
    ("config --config toml", 0, ""),
    ("config --config file", 1, "cannot read file: "),
    ("config --config none", 2, "cannot read none: No such file"),
    ("config --config .", 2, "cannot read ."),
    ("config --config pipe", 2, "cannot read pipe: it is no file"),
    ("config --config /dev/zero", 2, "cannot read /dev/zero: it is no file"),
    ("config --config ''", 2, "is no name of a file"),
    (f"config --config {LONG}", 2, "File name too long"),
    ("config --config good", 1, "it has more than 16 kB"),
    ("config --config toml --no-config", 2, "not allowed with"),
    ("--config none", 0, ""),  # without a dashboard, nobody asks how it shall look
    ("--no-config -b", 0, ""),
    ("replay good --config none", 0, ""),
    ("replay good --no-config", 0, ""),
    ("demo --config none", 0, ""),
    ("demo --no-config", 0, ""),
    ("compare good good --config none", 0, ""),
    ("compare good good --no-config", 0, ""),
    ("--json", 0, ""),
    ("--json=out", 0, ""),
    ("--json=''", 2, "is no name of a file"),
    ("--json --csv", 2, "cannot share"),
    ("--json=-", 0, ""),
    ("--json=none/out", 2, "no directory"),
    ("--json=/dev/full", 1, "No space left"),
    ("--csv", 0, ""),
    ("--csv=.", 2, "it is a directory"),
    ("--csv=pipe", 1, "cannot write pipe"),
    ("-b --csv", 2, "share"),
    (f"--csv={LONG}", 1, "File name too long"),
    ("--csv=link", 0, ""),
    ("--csv=out --json=out", 2, "are one file"),
    ("--openmetrics 0", 2, "[ADDR:]PORT"),
    ("--openmetrics 65536", 2, "[ADDR:]PORT"),
    ("--openmetrics x:9", 1, "x port 9"),
    ("--openmetrics 256.1.1.1:80", 1, "cannot serve metrics on 256.1.1.1"),
    (f"--openmetrics {LONG}:9", 2, "no name of a host"),
    ("--openmetrics .:9960", 2, "'.' is no address"),
    ("--openmetrics a..b:9", 2, "'a..b' is no address"),
    (f"--openmetrics {'h' * 300}:9", 2, "no name of a host"),
    ("--openmetrics \udcff:9", 2, "is no address"),
    (f"--openmetrics {'.'.join(['h' * 60] * 9)}:9", 1, "cannot serve"),
    ("record rec", 0, "recording to rec"),
    ("record", 2, "name a FILE or a DIR"),
    ("record file", 2, "file exists"),
    ("record ''", 2, "'' is no name of a file"),
    ("record folder --keep 1h --max-size 20M --details io,msr --slow 10ms", 0, "recording to folder"),
    ("record folder --keep x", 2, "--keep"),
    ("record folder --thin 1h:10s,2d:5min", 0, "recording to folder"),
    ("record folder --thin never", 0, "recording to folder"),
    ("record folder --thin 1d", 2, "--thin: '1d' is neither 'never' nor ages"),
    ("record folder --thin 7d:10s,1d:1min", 2, "each with a longer step"),
    ("record file --thin never", 2, "is a file"),
    ("record folder --max-size 1", 2, "--max-size"),
    ("record --status folder", 0, ""),
    ("record rec --anonymous", 0, "recording to rec"),
    ("replay good --at noon", 2, "'noon' is no moment"),
    ("replay good --from 2020-01-01 --to 2020-01-02", 2, "is not in good"),
    ("replay good --stacks", 2, "nobody looked at stacks"),
    ("replay good --guest-kallsyms none --memory-map none", 2, "none"),
    ("demo --guest-kallsyms none --memory-map none --stacks", 2, "none"),
    ("report good -o page", 0, ""),
    ("report good -o good", 2, "it is the recording"),
    ("report good -p 4000 --vm web01 --no-config", 0, ""),
    ("report good --config none", 2, "none"),
    ("report good --at noon", 2, "'noon' is no moment"),
    ("report good --from 2020-01-01 --to 2020-01-02", 2, "is not in good"),
    ("report", 2, "required: FILE"),
    ("record none/rec -p 7 -T 1 -i 1", 1, "cannot record to"),
    ("record rec --vm web01", 0, "waiting for one"),
    ("record rec -o rec", 2, "are one file"),
    ("record rec --kvm amd -G kvm=intel", 0, "recording"),
    ("record rec --batch", 2, "unrecognized"),
    ("record rec -T 0", 2, "number of seconds"),
    ("record a\x1bb --dump out", 0, "recording to a?b"),
    ("serve", 2, "required: [ADDR:]PORT"),
    ("serve 0", 2, "[ADDR:]PORT"),
    ("serve x:9 -p 7 --vm web01 -T 1 -i 1 -o out", 1, "x port 9"),
    ("serve 9960 --json", 2, "unrecognized"),
    ("serve x:9 --kvm amd -G kvm=intel", 1, "x port 9"),
    ("trace", 2, "required: FILE"),
    ("trace out", 1, "no VM runs here"),
    ("trace out.json.gz -p 7 -T 0.5 --slow 1ms --around 5ms", 1, "no VM runs here"),
    ("trace out --vm 'web*'", 1, "no VM is called web*"),
    ("trace out --around 5ms", 2, "say how slow"),
    ("trace out --slow 0ms", 2, "is not a time"),
    ("trace out -T 0", 2, "from 0.01 to 3600"),
    ("trace out -T 1e9", 2, "from 0.01 to 3600"),
    ("trace out --guest-kallsyms file --memory-map none", 2, "has no symbols"),
    ("trace ''", 2, "is no name of a file"),
    ("trace .", 2, "it is a directory"),
    ("trace none/out", 2, "there is no directory none"),
    ("trace pipe", 1, "cannot write pipe"),
    ("trace -", 1, "no VM runs here"),
    (f"trace {LONG}", 1, "File name too long"),
    ("replay good -b -p 4000 --vm web01 --reason io --sort p99 --top 1 --no-idle -o out --kvm amd -G kvm=amd", 0, ""),
    ("replay good --json=out --csv", 0, ""),
    ("replay --json good", 2, "write it before --json"),
    ("replay good --openmetrics x:9", 1, "x port 9"),
    ("demo intel -b -p 4000 --vm web01 --reason io --sort p99 --top 1 --no-idle -o out --kvm amd -G kvm=amd", 0, ""),
    ("demo --csv", 0, ""),
    ("demo --openmetrics x:9", 1, "x port 9"),
    ("compare good good --vm web01", 0, ""),
    ("live", 0, ""),
    ("live -b", 0, ""),
    ("live x", 2, "unrecognized"),
    ("help", 0, ""),
    ("help demo", 0, ""),
    ("help x", 2, "no command"),
    ("--version", 0, ""),
    ("--help", 0, ""),
    ("-h --nonsense", 0, ""),
    ("-", 2, "unrecognized"),
    ("''", 2, "no command"),
    ("-- x", 2, "unrecognized"),
    ("\udcff", 2, "no command"),
    (f"--{LONG}", 2, "unrecognized"),
    ("a\nb", 2, "no command"),
    ("--demo", 2, "is a command"),
    ("-T 1 record rec", 2, "is a command"),
    ("-\u202e", 2, "unrecognized"),
    ("-T 1 -T 0", 2, "number of seconds"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a recording and what is none, on a host where reading takes no time."""
    folder = tmp_path_factory.mktemp("argv")
    recorder = Recorder(Busy(), folder / "good")
    for _ in range(3):
        recorder.read()
    recorder.close()
    (folder / "demo").mkdir()
    for name in ("amd", "intel"):
        (folder / "demo" / f"{name}.kvmtop").write_bytes((folder / "good").read_bytes())

    def resolve(host: str, port: int, **_: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    def readings(self: Schedule, source: Busy, ending: object, slow: object = None) -> object:
        yield source.read()

    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "FOLDER", folder / "demo")
        patch.setattr(Schedule, "readings", readings)
        patch.setattr(socket, "getaddrinfo", resolve)
        patch.setattr(doctor, "report", lambda as_json, out: bool(out.write("all is well\n")))
        patch.setattr(doctor, "cost", lambda as_json, out: None)
        patch.setattr(processes, "PROC", folder)
        patch.setattr(privileges, "may_load_bpf", lambda: True)
        patch.setattr(processes, "pids", lambda: iter(()))
        patch.setattr(live, "Live", lambda pids=(), flags=(), look=None: Busy())
        os.chdir(folder)
        yield folder
        os.chdir(before)


def clear(folder: Path) -> None:
    """As it was before the last run."""
    for name in ("out", "rec", "link", "pipe", "file", "far", "toml"):
        (folder / name).unlink(missing_ok=True)
    (folder / "file").write_text("mine\n")
    (folder / "toml").write_text('sort = "p99"\n')
    (folder / "link").symlink_to("file")
    (folder / "far").symlink_to(f"/proc/self/fd/{10**30}")
    os.mkfifo(folder / "pipe")


def outcome(argv: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status and what is on stderr; that all is as it should be, whatever it is."""
    clear(folder)
    try:
        status = cli.main(argv)
    except SystemExit as end:  # --help and --version
        status = end.code  # type: ignore[assignment]
    out, err = capsys.readouterr()
    assert status in (0, 1, 2) and "a fault of its own" not in err, (argv, err)
    assert status == 0 or len(sentence(err)) < 2050, argv
    assert status != 2 or not out, argv
    assert all(c.isprintable() or c == "\n" for c in out + err), argv
    assert (folder / "file").read_text() == "mine\n" or "file" in " ".join(argv), argv  # not through the link
    return status, err


@pytest.mark.parametrize(("argv", "status", "words"), YIELDS, ids=range(len(YIELDS)))
def test_what_it_yields(argv: str, status: int, words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, err = outcome(shlex.split(argv) if "\n" not in argv else [argv], here, capsys)
    assert found == status, err
    assert words in err and (words or status or not err), err


@pytest.mark.parametrize("command", cli.parsers())
def test_the_table_has_all_options(command: str) -> None:
    lines = [words for argv, _, _ in YIELDS if (words := argv.split())]
    given = {
        word.partition("=")[0]
        for words in lines
        if words[0] == command or (command == "live" and words[0] not in cli.parsers())
        for word in words
    }
    for action in cli.parsers()[command]._actions:
        if action.option_strings and action.dest != "help":
            assert given & set(action.option_strings), action.option_strings


OPTIONS = sorted(
    {name for parser in cli.parsers().values() for action in parser._actions for name in action.option_strings}
    - {"-h", "--help"}
)
WORDS = [
    "",
    "-",
    "--",
    "0",
    "1",
    "-1",
    "7,8",
    "0.1",
    "1e308",
    "nan",
    "inf",
    "1ms",
    "9" * 400,
    "all",
    "io,msr",
    "kvm=amd",
    "intel",
    "amd",
    "good",
    "good@0..2",
    "good@2..0",
    "file",
    "link",
    "pipe",
    "out",
    "rec",
    "none",
    "none/x",
    ".",
    "..",
    "/dev/null",
    "/dev/full",
    "9960",
    "x:1",
    "[::1]:0",
    "hlt",
    "list",
    "0x78",
    "\x1b[2J",
    "a\nb",
    "\udcff",
    "\u202e",
    "[red]",
    "%s%n{}",
    "²",
    "x" * 5000,
]
ARGUMENT = st.one_of(
    st.sampled_from(OPTIONS),
    st.sampled_from(WORDS),
    st.sampled_from([*cli.parsers()]),
    st.builds("{}={}".format, st.sampled_from(OPTIONS), st.sampled_from(WORDS)),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8),
)


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(command=st.sampled_from([*cli.parsers(), ""]), argv=st.lists(ARGUMENT, max_size=5))
def test_any_arguments(command: str, argv: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome([command, *argv] if command else argv, here, capsys)
