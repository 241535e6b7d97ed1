"""The help: it fits a small screen, has everything, and is quick."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from kvmtop import cli
from kvmtop.commands import live

from ..support.program import ROOT, run, sentence


def test_help_is_quick_and_fits_a_small_screen() -> None:
    took = []
    for _ in range(3):
        start = os.times()
        done = run("--help", COLUMNS="200")
        end = os.times()  # of its own: a busy machine lets it wait
        took.append(end.children_user + end.children_system - start.children_user - start.children_system)
        assert (done.returncode, done.stderr) == (0, "")
    assert min(took) < 1
    lines = done.stdout.splitlines()
    assert len(lines) + 1 <= 24 and max(map(len, lines)) <= 80  # and the prompt
    assert re.findall(r"^  ([a-z]+) .*  +\w", done.stdout, re.MULTILINE) == [
        name for name in cli.parsers() if name != "help"
    ]
    # What it names is there, and where the others are is said.
    options = {name for action in live.parser()._actions for name in action.option_strings}
    assert len(named := set(re.findall(r"--[a-z]+", done.stdout))) > 5 and named <= options
    assert "kvmtop help live" in done.stdout


@pytest.mark.parametrize("command", cli.parsers())
def test_help_of_a_command(command: str) -> None:
    done = run("help", command, COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    assert run(command, "--help", COLUMNS="80").stdout == done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    for action in cli.parsers()[command]._actions:
        assert all(name in done.stdout for name in action.option_strings)
        assert not action.help or action.help.split()[0] in done.stdout


def test_help_alone_and_with_what_is_no_command() -> None:
    assert run("help").stdout == run("--help").stdout == run("-h").stdout != ""
    done = run("help", "repaly")
    assert (done.returncode, done.stdout) == (2, "") and "did you mean replay?" in sentence(done.stderr)
    assert "examples:\n  sudo kvmtop " in run("help", "live").stdout


def test_nothing_slow_is_imported_for_the_help() -> None:
    code = "import sys, kvmtop.cli; print(*{'numpy', 'textual', 'rich', 'plotext', 'bcc'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "\n"
