"""What tells how the tests in an emulated host ended (tests/hosts/suite.py runs them)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .hosts import qemu, two_guests
from .hosts.host import DIED, status
from .hosts.suite import Result, Suite, here, outcome
from .hosts.two_guests import LOST


def test_outcome() -> None:
    """Of a run that failed, and of one that died."""
    printed = """\
tests/on_host/test_a.py::test_one[mmap raw-1] PASSED [  4%]
tests/on_host/test_a.py::test_two[-- -4] FAILED   [ 50%]
=========================== short test summary info ============================
FAILED tests/on_host/test_a.py::test_two[-- -4] - AssertionError: a - b
ERROR tests/on_host/test_b.py::test_three
"""
    a, b, c = (
        f"tests/on_host/test_{name}"
        for name in ("a.py::test_one[mmap raw-1]", "a.py::test_two[-- -4]", "b.py::test_three")
    )
    assert outcome(printed) == ([b, c], [a])
    assert outcome(printed[: printed.index("=")]) == ([], [a])


def test_a_job_that_fails_fails_the_suite_and_a_second_run_is_told() -> None:
    good = Result(True, "\n===== 7 passed, 1 skipped in 3.00s =====", ["tests/on_host/test_a.py::test_one"])
    suite = Suite({"amd-1": lambda: good, "intel-1": lambda: Result(True, ""), "fresh": lambda: Result(False, "no")})
    assert not suite.run()
    first, again, second, third, last = suite.report().splitlines()
    assert "amd-1" in first and first.endswith("passed  7 passed, 1 skipped")
    assert again.strip() == "run again: tests/on_host/test_a.py::test_one"
    assert "intel-1" in second and "passed" in second and "fresh" in third and "FAILED" in third
    assert last == "run again in a new host: 1"
    fine = Suite({"fresh": lambda: Result(True, "")})
    assert fine.run() and fine.report().endswith(": none")


@pytest.mark.parametrize(
    ("said", "runs", "passed"),
    [
        (["fine"], 1, True),
        (["web01 has ended meanwhile", "fine"], 2, True),
        (["web01 has ended meanwhile", "web01 has ended meanwhile", "fine"], 3, True),
        (["web01 has ended meanwhile"] * 4, 3, False),
        (["Kernel panic\n\nthe emulated host ended without a status", "fine"], 2, True),
        (["web01 has ended meanwhile", "the emulated host ended without a status", "fine"], 3, True),
        (["wrong", "fine"], 1, False),
        (["web01 has ended meanwhile", "wrong"], 2, False),
    ],
)
def test_a_lost_guest_or_host_alone_is_a_reason_to_run_again(
    said: list[str], runs: int, passed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(said)

    def run(argv: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        text = next(left)
        return subprocess.CompletedProcess(argv, int(text != "fine"), text)

    monkeypatch.setattr(subprocess, "run", run)
    result = here("tests/test_terminal.py", lost=(LOST, DIED))
    assert (result.passed, len(result.again) + 1) == (passed, runs)
    assert "".join(said[:runs]) == result.output


def test_a_guest_that_was_lost_is_told_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Below a console that is longer than the screen which the terminal's test looks at."""
    lost = subprocess.Popen(["false"])
    lost.wait()
    monkeypatch.setattr(two_guests, "Held", lambda: None)
    monkeypatch.setattr(two_guests, "up", lambda stack, name, cpus: lost)
    monkeypatch.setattr(qemu, "console", lambda process: "tick\n" * 500)
    monkeypatch.setattr(sys, "argv", ["two_guests", "true"])
    assert two_guests.main() == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("db01 has ended meanwhile, with status 1")


def test_a_host_that_died_is_told_last(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "console.log").write_text("panic\n" * 500)
    assert status(tmp_path) == 125
    assert capsys.readouterr().err.splitlines()[-1].startswith(DIED)
    (tmp_path / "status").write_text("3\n")
    assert status(tmp_path) == 3
