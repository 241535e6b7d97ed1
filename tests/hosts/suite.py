"""Everything that needs an emulated host or a fresh Debian, two at a time, with what each took.

    python -m tests.hosts.suite              # what CI runs
    python -m tests.hosts.suite --all        # also what is long and rarely breaks (marked `long`)
    python -m tests.hosts.suite amd-6.12     # jobs by the start of their names

An AMD host keeps one core busy, a second one at moments; so does Bochs: one of each runs beside the other.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from . import amd, intel
from .host import DIED
from .kernels import HostUnavailable
from .two_guests import LOST

PYTEST = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--durations=15", "-rfEs", "--tb=short"]
# What hangs ends the run with the stack of each thread. Of the others, no test takes longer than 100 s.
HANGS = ["-o", "faulthandler_exit_on_timeout=true", "-o"]
TIMEOUT = 3000  # seconds, a job
LOSSES = 2  # of a guest or its host, after which a job is run again

# Bochs has one CPU and no QEMU in it, and takes 3 s for a second at work: what needs neither.
ON_BOTH_INTEL = [
    "tests/on_host/test_counts.py",
    "tests/on_host/test_kvm_exit.py::test_the_raw_one_takes_over_in_mid_run_and_every_exit_is_counted",
    "tests/on_host/test_details.py::test_the_guest_code_is_known_to_the_instruction",
]
ON_INTEL = [
    *ON_BOTH_INTEL,
    "tests/on_host/test_details.py::test_a_known_guest_touches_what_its_program_says",
    "tests/on_host/test_cli.py::test_ten_seconds_without_a_terminal",
    "tests/on_host/test_budget.py::test_a_halted_guest_is_idle",
    "tests/on_host/test_churn.py::test_a_reused_thread_id_is_another_thread",
    "tests/on_host/test_churn.py::test_full_maps_count_what_they_lose",
    "tests/on_host/test_states.py",
    "tests/on_host/test_dirty_log.py",
    "tests/on_host/test_zz_apicv.py",
]
# What depends on the kernel runs on both; what is kvmtop's own (signals, files, the network) on one.
ON_BOTH = (
    [
        f"tests/on_host/test_{name}.py"
        for name in (
            "budget",
            "counts",
            "culprits",
            "details",
            "dirty_log",
            "nested",
            "states",
            "zz_apicv",
        )
    ]
    + [
        f"tests/on_host/test_kvm_exit.py::test_{name}"
        for name in (
            "the_raw_one_takes_over_in_mid_run_and_every_exit_is_counted",
            "it_takes_over_while_guests_come_and_go",
            "it_takes_over_forty_times_and_misses_none",
            "a_wrong_place_is_found_out[vmcb]",
        )
    ]
    + [
        "tests/on_host/test_churn.py::test_a_reused_thread_id_is_another_thread",
        "tests/on_host/test_stacks.py::test_a_page_that_takes_5_ms_is_found_in_its_stack_and_to_5_percent[userfaultfd]",
        "tests/on_host/test_stacks.py::test_the_samples_own_timer_is_no_news",
        "tests/on_host/test_trace.py::test_every_exit_is_ftraces_one_by_one",
        "tests/on_host/test_trace.py::test_every_sleep_and_wait_is_ftraces_one_by_one[wait]",
        "--deselect=tests/on_host/test_details.py::test_one_vm_alone",
    ]
)


# Of all tests these run on 6.12 alone, where there is less to do. (On 6.1 no exit was lost in taking over, ever.)
ON_THE_OTHER = [
    f"--deselect=tests/on_host/test_{name}"
    for name in ("culprits.py", "nested.py", "kvm_exit.py::test_it_takes_over_forty_times_and_misses_none")
]


@dataclass
class Result:
    """How a job ended."""

    passed: bool
    output: str
    again: list[str] = field(default_factory=list)  # the tests that ran a second time, in a new host


def outcome(printed: str) -> tuple[list[str], list[str]]:
    """Which tests failed, and which passed, as `pytest -v -rfE` says; their parameters may have spaces."""
    return (
        re.findall(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", printed, re.MULTILINE),
        re.findall(r"^(tests/.+?) PASSED +\[", printed, re.MULTILINE),
    )


def in_host(vendor: str, kernel: str, tests: Sequence[str], long: bool) -> Result:
    """Run tests in a host; those that failed once more, in a new one. If it died, those that had not passed.

    What counts has no second chance: a wrong count is wrong.
    """
    host = {"amd": amd, "intel": intel}[vendor]
    some = ["faulthandler_timeout=400", "-m", "not long"]
    pytest = [*PYTEST, *HANGS, *(["faulthandler_timeout=600"] if long else some)]
    done: subprocess.CompletedProcess[str] = host.run([*pytest, *tests], kernel=kernel, timeout=TIMEOUT)
    failed, passed = outcome(done.stdout)
    if done.returncode == 0 or any(re.search("test_(counts|kvm_exit|nested)", test) for test in failed):
        return Result(done.returncode == 0, done.stdout)
    # Without a word on what failed it died: see its console.
    rest = failed or [*tests, *(f"--deselect={test}" for test in passed)]
    second: subprocess.CompletedProcess[str] = host.run([*pytest, *rest], kernel=kernel, timeout=TIMEOUT)
    again = failed or [f"what had not passed when the host died, after {passed[-1] if passed else 'nothing'}"]
    return Result(second.returncode == 0, done.stdout + second.stdout, again)


def here(*arguments: str, lost: Sequence[str] = ()) -> Result:
    """Run tests on this machine that start hosts or Debians of their own. lost: what a failure has in it, one of these,
    where the emulator lost a guest or its host, as it does now and then: then once more, LOSSES times at most."""
    argv, again = [*PYTEST, "-p", "no:xdist", "-s", *arguments], list[str]()
    run = partial(subprocess.run, argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    done: subprocess.CompletedProcess[str] = run(text=True)
    output = done.stdout
    while done.returncode and len(again) < LOSSES and (why := next(filter(done.stdout.__contains__, lost), "")):
        done = run(text=True)
        output += done.stdout
        again.append(f"{arguments[0]}: {why}")
    return Result(done.returncode == 0, output, again)


def jobs(long: bool) -> dict[str, Callable[[], Result]]:
    """All of them by name, in the order in which they are begun."""
    everything, some = ["tests/on_host"], [] if long else ["-m", "not long"]
    return {
        "amd-6.1": partial(in_host, "amd", "6.1", everything if long else [*everything, *ON_THE_OTHER], long),
        "amd-6.12": partial(in_host, "amd", "6.12", everything if long else ON_BOTH, long),
        "amd-terminal": partial(here, "tests/test_terminal.py", "-k", "on_a_real_host", lost=(LOST, DIED)),
        "intel-6.1": partial(in_host, "intel", "6.1", ON_INTEL, long),
        "intel-6.12": partial(in_host, "intel", "6.12", ON_INTEL if long else ON_BOTH_INTEL, long),
        "fresh-bookworm": partial(here, "tests/test_fresh_machine.py", "-k", "bookworm", *some),
        "fresh-trixie": partial(here, "tests/test_fresh_machine.py", "-k", "trixie", *some),
    }


class Suite:
    """Jobs in two lanes; a lane that has done its own takes of what is left."""

    def __init__(self, chosen: dict[str, Callable[[], Result]]) -> None:
        self.chosen = chosen
        self.results: dict[str, tuple[float, Result]] = {}
        self._lock = threading.Lock()
        self._lanes: dict[str, list[str]] = {"amd": [], "intel": [], "any": []}
        for name in chosen:
            self._lanes[name.partition("-")[0] if name.partition("-")[0] in self._lanes else "any"].append(name)

    def run(self) -> bool:
        """Whether all passed."""
        threads = [threading.Thread(target=self._lane, args=(lane,)) for lane in ("amd", "intel")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return all(result.passed for _, result in self.results.values())

    def _next(self, lane: str) -> str | None:
        with self._lock:
            for name in (lane, "any"):
                if self._lanes[name]:
                    return self._lanes[name].pop(0)
        return None

    def _lane(self, lane: str) -> None:
        while name := self._next(lane):
            self._say(f"{name}: begun")
            start = time.monotonic()
            try:
                result = self.chosen[name]()
            except (HostUnavailable, subprocess.TimeoutExpired) as error:
                result = Result(False, str(error))
            seconds = time.monotonic() - start
            self.results[name] = seconds, result
            self._say(f"===== {name}\n{result.output}\n{name}: {'passed' if result.passed else 'FAILED'}")

    def _say(self, text: str) -> None:
        with self._lock:
            print(text, flush=True)

    def report(self) -> str:
        """A line for each job, and one for each test that was run again."""
        lines = []
        for name in self.chosen:
            seconds, result = self.results[name]
            counted = re.findall(
                r"\d+ (?:passed|failed|skipped|deselected|errors?)", result.output.rsplit("\n=", 1)[-1]
            )
            lines.append(
                f"{seconds:6.0f} s  {name:<15} {'passed' if result.passed else 'FAILED'}  {', '.join(counted)}"
            )
            lines += [f"{'':>10}run again: {test}" for test in result.again]
        again = sum(len(result.again) for _, result in self.results.values())
        return "\n".join([*lines, f"run again in a new host: {again or 'none'}"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.suite", description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="also what is long and rarely breaks")
    parser.add_argument("job", nargs="*", default=[""], help="by the start of its name")
    options = parser.parse_args()
    os.environ.update(KVMTOP_ON_HOST="1", KVMTOP_REQUIRE_HOSTS="1")
    chosen = {name: job for name, job in jobs(options.all).items() if name.startswith(tuple(options.job))}
    if not chosen:
        parser.error(f"none of {', '.join(jobs(True))}")
    suite = Suite(chosen)
    passed = suite.run()
    print(suite.report())
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
