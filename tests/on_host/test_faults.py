"""What goes wrong around a kvmtop that counts: it says so, or nobody notices; the counts are the kernel's own.

VMs killed in the middle of an exit are test_soak's, a terminal that vanishes test_terminal's.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kvmtop.bpf import collector, syscalls
from kvmtop.host.selftest_guest import Step
from kvmtop.model.exit_stats import counts
from kvmtop.model.snapshot import Snapshot
from kvmtop.recording.reader import Recording

from . import truth
from .exact import SCRIPT, exact, intervals_fit
from .run import KVMTOP, PATIENCE, Run

pytestmark = pytest.mark.long

CPU = Path("/sys/devices/system/cpu/cpu1/online")
CGROUPS = Path("/sys/fs/cgroup")
PROG_GET_NEXT_ID = 11


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One kvmtop that lives through all of it."""
    folder = tmp_path_factory.mktemp("run")
    run = Run(folder / "log", "--record", str(folder / "record"))
    yield run
    run.process.kill()


def programs() -> int:
    """How many BPF programs the kernel has."""
    attributes, count = (ctypes.c_uint32 * 3)(), 0
    with contextlib.suppress(FileNotFoundError):
        while True:
            syscalls._syscall(syscalls._SYS_BPF, PROG_GET_NEXT_ID, ctypes.byref(attributes), ctypes.sizeof(attributes))
            attributes[0], count = attributes[1], count + 1
    return count


def until(done: Callable[[], bool]) -> None:
    """The kernel frees programs a moment later."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, programs()
        time.sleep(0.2)


@contextlib.contextmanager
def nothing_stays() -> Iterator[None]:
    before = programs()
    yield
    until(lambda: programs() == before)
    assert not os.listdir("/sys/fs/bpf")


def test_stopped_and_continued(run: Run) -> None:
    with exact(run):
        run.process.send_signal(signal.SIGSTOP)
        truth.run_guest(*SCRIPT)
        time.sleep(3)
        run.process.send_signal(signal.SIGCONT)
    intervals_fit(run)
    longest = max(run.intervals(), key=lambda interval: float(interval["length"]))
    assert longest["length"] > 3 and longest["totals"]["exits"] > 1000


def test_the_clock_is_stepped_by_hours(run: Run) -> None:
    began, wall = time.monotonic(), time.time()
    first = len(run.intervals())
    try:
        with exact(run):
            for hours in (5, -3):
                time.clock_settime(time.CLOCK_REALTIME, wall + hours * 3600)
                truth.run_guest(*SCRIPT)
                run.wait()
    finally:
        time.clock_settime(time.CLOCK_REALTIME, wall + time.monotonic() - began)
    intervals_fit(run)
    assert sum(interval["length"] for interval in run.intervals()[first:]) < time.monotonic() - began + 2


@pytest.mark.skipif(not CPU.exists(), reason="needs a CPU that can be taken away")
def test_a_cpu_goes_and_comes_back(run: Run) -> None:
    with exact(run):
        guest = truth.start([Step("cpuid", 0)], vcpus=2)
        try:
            run.wait()
            for online in ("0", "1"):
                CPU.write_text(online)
                truth.run_guest(*SCRIPT)
                run.wait()
        finally:
            CPU.write_text("1")
            os.kill(guest, signal.SIGKILL)
            os.waitpid(guest, 0)
    intervals_fit(run)


@pytest.mark.skipif(not shutil.which("perf"), reason="perf is not installed (Debian's linux-perf)")
def test_two_kvmtops_and_a_perf(run: Run, tmp_path: Path) -> None:
    other = Run(tmp_path / "log")
    perf = subprocess.Popen(
        [
            "perf",
            "stat",
            "-a",
            "-x,",
            "-e",
            "kvm:kvm_exit",
            "--",
            sys.executable,
            "-m",
            "kvmtop.host.selftest_guest",
            *SCRIPT,
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    with exact(run, other) as known:
        _, said = perf.communicate(timeout=PATIENCE)
    other.end(signal.SIGTERM)
    match = re.search(r"^(\d+),.*kvm:kvm_exit", said, re.MULTILINE)
    assert match and int(match[1]) == sum(known.values()), said


def test_killed_at_any_moment(tmp_path: Path) -> None:
    with nothing_stays():
        for turn in range(5):  # while it imports, compiles, attaches
            kvmtop = subprocess.Popen([*KVMTOP, "--batch", "-T", "60"], stdout=subprocess.DEVNULL)
            time.sleep(1 + turn)
            kvmtop.kill()
            kvmtop.wait()


def limited(limit: int) -> list[str]:
    """Runs what follows with so many bytes of memory at the most."""
    (CGROUPS / "cgroup.subtree_control").write_text("+memory")
    group = CGROUPS / "limited"
    group.mkdir(exist_ok=True)
    (group / "memory.max").write_text(str(limit))
    return ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"]


def test_the_memory_limit_is_hit(tmp_path: Path) -> None:
    """The kernel kills it as kill -9 does: what was recorded is there."""
    with nothing_stays():
        first = Run(tmp_path / "log", "--record", str(tmp_path / "record"), before=limited(1 << 30))
        truth.run_guest(*SCRIPT)
        first.wait(2)
        (CGROUPS / "limited/memory.max").write_text(str(8 << 20))
        assert first.process.wait(PATIENCE) == -signal.SIGKILL
    recording = Recording(tmp_path / "record")
    assert len(recording) - len(first.intervals()) in (0, 1)
    assert sum(counts(recording.close()).values()) == first.counted().total() - first.counted()["expired"] > 1000


def test_the_compiler_is_killed() -> None:
    """As the kernel does where memory is short: it is the largest process."""
    with nothing_stays():
        kvmtop = subprocess.Popen([*KVMTOP, "-b", "-T", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children = Path(f"/proc/{kvmtop.pid}/task/{kvmtop.pid}/children")
        until(lambda: bool(children.read_text()))
        os.kill(int(children.read_text()), signal.SIGKILL)
        out, err = kvmtop.communicate(timeout=PATIENCE)
    assert (kvmtop.returncode, out) == (1, "") and err.count("\n") == 1
    assert err.startswith("kvmtop: the BPF compiler was killed")


def test_a_reader_that_leaves(tmp_path: Path) -> None:
    with nothing_stays():
        done = subprocess.run(
            f"{' '.join(KVMTOP)} --batch --record {tmp_path}/record | head -1",
            shell=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1
    assert len(Recording(tmp_path / "record")) >= 1


def test_full_cells_count_what_they_lose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "CELLS_PER_THREAD", 1)
    counter = collector.Collector(threads=2)
    with truth.counting() as known:
        truth.run_guest("--vcpus", "2", *SCRIPT)
        known.read()
    snapshot: Snapshot = counter.close()
    assert snapshot.lost > 0
    assert sum(truth.counted(snapshot).values()) + snapshot.lost == sum(known.values())


def test_at_last_it_ends_with_all_of_it(run: Run) -> None:
    before = programs()
    out, err = run.end(signal.SIGQUIT)
    until(lambda: programs() < before)
    counted = Counter({code: count for code, count in run.counted().items() if code != "expired" and count})
    assert err == "" and "\n# " in out
    summary = run.objects()[-1]
    assert Counter({reason["code"]: reason["count"] for reason in summary["reasons"]}) == counted
    assert summary["honesty"]["lost"] == summary["honesty"]["unpaired"] == summary["honesty"]["overwritten"] == 0
    recording = Recording(run.log.parent / "record")
    assert len(recording) == len(run.intervals())
    assert sum(counts(recording.close()).values()) == counted.total()
