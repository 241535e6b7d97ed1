"""Boots the emulated hosts and runs the tests of on_host/ in them."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from .hosts import amd, intel
from .hosts.kernels import HostUnavailable

REQUIRED = os.environ.get("KVMTOP_REQUIRE_HOSTS") == "1"
PYTEST = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--durations=15", "-rfEs", "--tb=short"]
# The longest test takes 235 s. What hangs ends the run with the stack of each thread.
PYTEST += ["-o", "faulthandler_timeout=400", "-o", "faulthandler_exit_on_timeout=true"]
KERNELS = ("6.1", "6.12")

# Bochs has one CPU and no QEMU in it, and takes 3 s for a second at work: what needs neither.
ON_INTEL = [
    "tests/on_host/test_counts.py",
    "tests/on_host/test_percentiles.py",
    "tests/on_host/test_cli.py::test_ten_seconds_without_a_terminal",
    "tests/on_host/test_budget.py::test_a_halted_guest_is_idle",
    "tests/on_host/test_churn.py::test_a_reused_thread_id_is_another_thread",
    "tests/on_host/test_churn.py::test_full_maps_count_what_they_lose",
    "tests/on_host/test_details.py::test_a_known_guest_touches_what_its_program_says",
    "tests/on_host/test_details.py::test_the_guest_code_is_known_to_the_instruction",
]
# What depends on the kernel runs on both; what is kvmtop's own (signals, files, the network) on one.
ON_BOTH = [f"tests/on_host/test_{name}.py" for name in ("budget", "churn", "counts", "details", "percentiles")]
JOBS = {
    ("amd", "6.1"): ["tests/on_host"],
    ("amd", "6.12"): ON_BOTH,
    ("intel", "6.1"): ON_INTEL,
    ("intel", "6.12"): ON_INTEL,
}


def outcome(printed: str) -> tuple[list[str], list[str]]:
    """Which tests failed, and which passed, as `pytest -v -rfE` says; their parameters may have spaces."""
    return (
        re.findall(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", printed, re.MULTILINE),
        re.findall(r"^(tests/.+?) PASSED +\[", printed, re.MULTILINE),
    )


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


def boot(vendor: str, kernel: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a host; in a new one, those that failed, or if it died what it had not passed (twice at most).

    An emulated host now and then stands still for seconds, which what waits for something cannot tell from a
    fault. What counts has no second chance: a wrong count is wrong.
    """
    os.environ["KVMTOP_ON_HOST"] = "1"
    host, tests = {"amd": amd, "intel": intel}[vendor], JOBS[vendor, kernel]
    for attempt in range(3):
        done: subprocess.CompletedProcess[str] = host.run([*PYTEST, *tests], kernel=kernel, timeout=3000)
        print(done.stdout)
        failed, passed = outcome(done.stdout)
        if done.returncode == 0 or any("test_counts" in test for test in failed) or (failed and attempt):
            break
        # Without a word on what failed it died: see its console.
        tests = failed or [*tests, *(f"--deselect={test}" for test in passed)]
        print(f"{vendor} {kernel}: once more: {tests}")
    return done


@functools.cache
def intel_hosts() -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """Both at once: each has one CPU, and a clock that does not care how fast it is."""
    pool = ThreadPoolExecutor(len(KERNELS))
    return {kernel: pool.submit(boot, "intel", kernel) for kernel in KERNELS}


@pytest.mark.skipif(not REQUIRED, reason="half an hour of emulated hosts: set KVMTOP_REQUIRE_HOSTS=1 (make hosts)")
@pytest.mark.parametrize(("vendor", "kernel"), JOBS)
def test_host(vendor: str, kernel: str) -> None:
    try:
        done = intel_hosts()[kernel].result() if vendor == "intel" else boot(vendor, kernel)
    except HostUnavailable as error:
        pytest.fail(str(error))
    assert done.returncode == 0, done.stdout[max(0, done.stdout.find("= FAILURES =")) :][-6_000:]
