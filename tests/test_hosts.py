"""Boots the emulated hosts and runs the tests of on_host/ in them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType

import pytest

from .hosts import amd, intel
from .hosts.kernels import HostUnavailable

REQUIRED = os.environ.get("KVMTOP_REQUIRE_HOSTS") == "1"
PYTEST = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--durations=8", "-rs", "-s"]
KERNELS = ("6.1", "6.12")
DIED = 125  # the host's own kernel or its emulator failed, not a test

# Bochs has one CPU and no QEMU in it, and takes 3 s for a second at work: what needs neither.
ON_INTEL = [
    "tests/on_host/test_counts.py",
    "tests/on_host/test_percentiles.py",
    "tests/on_host/test_cli.py::test_ten_seconds_without_a_terminal",
    "tests/on_host/test_budget.py::test_a_halted_guest_is_idle",
    "tests/on_host/test_churn.py::test_a_reused_thread_id_is_another_thread",
    "tests/on_host/test_churn.py::test_full_maps_count_what_they_lose",
]


def boot(host: ModuleType, tests: list[str], kernel: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a host, once more if it died."""
    for _ in range(2):
        done: subprocess.CompletedProcess[str] = host.run([*PYTEST, *tests], kernel=kernel, timeout=1500)
        print(done.stdout)
        if done.returncode != DIED:
            break
        print("the emulated host died (see its console above)")
    return done


@functools.cache
def beside_each_other() -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """Both Intel hosts at once: each has one CPU, and a clock that does not care how fast it is."""
    pool = ThreadPoolExecutor(len(KERNELS))
    return {kernel: pool.submit(boot, intel, ON_INTEL, kernel) for kernel in KERNELS}


def in_turn(host: ModuleType, tests: list[str], kernel: str) -> subprocess.CompletedProcess[str]:
    return beside_each_other()[kernel].result() if host is intel else boot(host, tests, kernel)


@pytest.mark.skipif(not REQUIRED, reason="half an hour of emulated hosts: set KVMTOP_REQUIRE_HOSTS=1 (make hosts)")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("host", "tests"), [(amd, ["tests/on_host"]), (intel, ON_INTEL)], ids=["amd", "intel"])
def test_host(host: ModuleType, tests: list[str], kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVMTOP_ON_HOST", "1")

    try:
        done = in_turn(host, tests, kernel)
    except HostUnavailable as error:
        pytest.fail(str(error))
    assert done.returncode == 0, done.stdout[-20_000:]
