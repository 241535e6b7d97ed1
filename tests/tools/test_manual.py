"""The manual page and the completion say what there is, all of it."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

from kvmtop import cli
from kvmtop.output.prometheus import Exporter
from kvmtop.recording import format as recorded
from kvmtop.tables.exit_reasons import COLUMNS
from tools import manual

from ..support.fake import Busy
from ..support.program import ROOT
from ..support.scraped import scraped


@pytest.fixture(scope="module")
def page() -> str:
    return manual.page()


def section(page: str, title: str) -> str:
    """A section's plain text."""
    found = page.partition(f"\n.SH {title}\n")[2].partition("\n.SH ")[0]
    return re.sub(r"\\f[BIR]", "", found).replace(r"\-", "-").replace(r"\e", "\\").replace(r"\(ti", "~")


def test_every_option_of_help(page: str) -> None:
    text = subprocess.run([sys.executable, "-m", "kvmtop", "--help"], capture_output=True, text=True, cwd=ROOT).stdout
    names = set(
        re.findall(r"(?<=[ ,])--?[A-Za-z][a-z-]*", " ".join(re.findall(r"^ {2}-.*?(?= {2}|$)", text, re.MULTILINE)))
    )
    described = re.findall(r"^\.TP\n(-.*)\n(.+)$", section(page, "OPTIONS"), re.MULTILINE)
    assert len(names) > 25
    assert names <= {re.sub(r"[ [].*", "", name) for names, _ in described for name in names.split(", ")}
    words = " ".join(text.split())
    assert all(" ".join(help.split()) in words for _, help in described)


def test_columns_and_exit_status(page: str) -> None:
    assert re.findall(r"^\.TP\n(.*)$", section(page, "COLUMNS"), re.MULTILINE) == [column.title for column in COLUMNS]
    assert re.findall(r"^\.TP\n(.*)$", section(page, "EXIT STATUS"), re.MULTILINE) == ["0", "1", "2"]


def test_every_metric(page: str) -> None:
    exporter = Exporter(Busy())
    exporter.read()
    served = {(re.sub("_(bucket|count|sum)$", "", name), tuple(sorted(dict(labels)))) for name, labels in
              scraped(exporter) if not re.search("_(count|sum)$", name)}  # fmt: skip
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
    [["groff", "-K", "utf8", "-T", "utf8", "-z", "-ww", "-man"], ["man", "--warnings", "-l", "-"],
     ["mandoc", "-T", "lint", "-W", "warning"]], ids=lambda command: command[0])  # fmt: skip
def test_nothing_to_warn_of(page: str, command: list[str]) -> None:
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, input=page, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert command[0] == "man" or done.stdout == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--rec", ["--record"]),
        ("--demo ", ["amd", "intel"]),
        ("--demo = i", ["intel"]),
        ("--kvm =", ["intel", "amd"]),
        ("--event io,ms", ["io,msr"]),
        ("-G kvm=a", ["kvm=amd"]),
        ("--explain EPT_V", ["EPT_VIOLATION"]),
        ("--json --s", ["--sort", "--slow"]),
        ("--replay x", []),  # bash's own completion of file names
    ],
)
def test_completion(line: str, words: list[str]) -> None:
    typed = ["kvmtop", *line.split()] + ([""] if line.endswith(" ") else [])
    script = f'{manual.bash()}\nCOMP_WORDS=("$@") COMP_CWORD=$(($# - 1)); _kvmtop; printf \'%s\\n\' "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script, "-", *typed], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (words, "")


def test_completion_knows_every_option() -> None:
    every = {name for action in cli.parser()._actions for name in action.option_strings}
    assert every == set(
        re.findall(r"--?[A-Za-z][a-z-]*", manual.bash().partition("== -* ]] && values='")[2].partition("'")[0])
    )
