"""The manual page and the completion say what there is, all of it."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from dataclasses import replace

import pytest

from kvmtop import cli
from kvmtop.commands import help
from kvmtop.model.apic import Apic
from kvmtop.model.price import Price, Taken
from kvmtop.model.vocabulary import NESTED, SVM
from kvmtop.output.prometheus import Exporter
from kvmtop.recording import format as recorded
from kvmtop.tables.exit_reasons import COLUMNS
from tools import manual

from ..support.fake import Busy
from ..support.others import Others
from ..support.scraped import scraped


@pytest.fixture(scope="module")
def page() -> str:
    return manual.page()


def section(page: str, title: str) -> str:
    """A section's plain text."""
    found = page.partition(f"\n.SH {title}\n")[2].partition("\n.SH ")[0]
    return re.sub(r"\\f[BIR]", "", found).replace(r"\-", "-").replace(r"\e", "\\").replace(r"\(ti", "~")


@pytest.mark.parametrize("command", cli.parsers())
def test_every_option_of_every_command(page: str, command: str) -> None:
    text = cli.parsers()[command].format_help()
    listed = re.findall(r"^ {2}-.*?(?= {2}|$)", text, re.MULTILINE)
    names = set(re.findall(r"(?<=[ ,])--?[A-Za-z][a-z-]*", " ".join(listed)))
    found = re.findall(
        rf'^\.SS "(kvmtop {command}(?: .*)?)"\n(.*\n(?:(?!\.S).*\n)*)', section(page, "COMMANDS") + "\n", re.MULTILINE
    )
    (title, part), *_ = found
    given = help.operands(cli.parsers()[command]).split()
    assert title.split()[2:] == given
    described = re.findall(r"^\.TP\n(.*)\n(.+)$", part, re.MULTILINE)
    assert len(names) >= (25 if command == "live" else 2)
    assert names <= {re.sub(r"[ [].*", "", name) for names, _ in described for name in names.split(", ")}
    assert given == [name for name, _ in described if not name.startswith("-")]
    words = " ".join(text.split())
    assert all(" ".join(said.split()) in words for _, said in described)


def test_the_synopsis_has_every_command(page: str) -> None:
    lines = section(page, "SYNOPSIS").splitlines()
    assert lines[1] == "kvmtop [OPTION]..." and "kvmtop record [FILE|DIR] [OPTION]..." in lines
    assert [line.split()[1] for line in lines[2:-1]] == list(cli.parsers())[1:]


def test_columns_and_exit_status(page: str) -> None:
    assert re.findall(r"^\.TP\n(.*)$", section(page, "COLUMNS"), re.MULTILINE) == [column.title for column in COLUMNS]
    assert re.findall(r"^\.TP\n(.*)$", section(page, "EXIT STATUS"), re.MULTILINE) == ["0", "1", "2"]


def test_every_metric(page: str) -> None:
    host, others = Busy(), Others()
    others.add(4000, 4000, "main", "qemu")
    host.others = others.rows(host.now)
    host.exits(4001, 0x72, 1000, isa=SVM | NESTED)
    host.vcpus[4001].nested = 1000
    host.apic = Apic({4000: ("SEV",)})
    host.counters["price"] = Price(10, 10, Taken(1, 1), {"sched": Taken(1, 1)})
    host.vms[4100] = replace(host.vms[4100], paused=True)  # a finding
    exporter = Exporter(host)
    exporter.read()
    served = {
        (re.sub("_(bucket|count|sum)$", "", name), tuple(sorted(dict(labels))))
        for name, labels in scraped(exporter)
        if not re.search("_(count|sum)$", name)
    }
    told = re.findall(r"^\.TP\n(\w+)(?:\{(.*)\})?$", section(page, "METRICS"), re.MULTILINE)
    assert {(name, tuple(sorted(labels.split(", ") if labels else ()))) for name, labels in told} == served


def test_every_table_of_a_recording(page: str) -> None:
    database = sqlite3.connect(":memory:")
    database.executescript(recorded.SCHEMA)
    for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        columns = ", ".join(column for _, column, *_ in database.execute(f"PRAGMA table_info({name})"))
        assert f"\n{name}: {columns}\n" in section(page, "RECORDINGS")
        assert re.search(rf"^    {name} ", recorded.__doc__ or "", re.MULTILINE)


def test_every_key_of_the_json(page: str) -> None:
    told = re.findall(r"^\.TP\n(.*)$", section(page, "JSON"), re.MULTILINE)
    assert {"schema", "type", "reasons", "vms", "findings"} < set(told)  # test_json_lines.py: the schema has them all
    assert set(told) == {key for key, _ in manual.fields()}


@pytest.mark.parametrize(
    "command",
    [
        ["groff", "-K", "utf8", "-T", "utf8", "-z", "-ww", "-man"],
        ["man", "--warnings", "-l", "-"],
        ["mandoc", "-T", "lint", "-W", "warning"],
    ],
    ids=lambda command: command[0],
)
def test_nothing_to_warn_of(page: str, command: list[str]) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, input=page, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert command[0] == "man" or done.stdout == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "",
            [
                "live",
                "diagnose",
                "record",
                "replay",
                "demo",
                "compare",
                "report",
                "serve",
                "trace",
                "list",
                "doctor",
                "explain",
                "config",
                "help",
            ],
        ),
        ("re", ["record", "replay", "report"]),
        ("--rec", ["--record"]),
        ("record --rec", []),
        ("record --du", ["--duration", "--dump"]),
        ("replay run --du", ["--dump"]),
        ("demo ", ["amd", "intel"]),
        ("demo i", ["intel"]),
        ("demo amd --kvm =", ["intel", "amd"]),
        ("--kvm =", ["intel", "amd"]),
        ("--event io,ms", ["io,msr"]),
        ("-b -G kvm=a", ["kvm=amd"]),
        ("replay run --sort p9", ["p99"]),
        ("compare a b --sort rate_", ["rate_a", "rate_b", "rate_change"]),
        ("explain EPT_V", ["EPT_VIOLATION"]),
        ("explain thr", ["throttled"]),
        ("help rep", ["replay", "report"]),
        ("--json --s", ["--sort", "--slow", "--stacks"]),
        ("replay x", []),  # bash's own completion of file names
        ("record demo", []),
        ("--vm list --dump ", []),
    ],
)
def test_completion(line: str, words: list[str]) -> None:
    assert completed(line) == words


def completed(line: str) -> list[str]:
    typed = ["kvmtop", *line.split()] + ([""] if not line or line.endswith(" ") else [])
    script = f'{manual.bash()}\nCOMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _kvmtop; printf \'%s\\n\' "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "-", *typed], capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("command", cli.parsers())
def test_completion_knows_every_option(command: str) -> None:
    every = {name for action in cli.parsers()[command]._actions for name in action.option_strings}
    assert set(completed(f"{command} -")) == every
