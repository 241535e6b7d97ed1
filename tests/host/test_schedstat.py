from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.host import processes
from kvmtop.host import schedstat as module
from kvmtop.host.schedstat import Delays


class Proc:
    """/proc with the schedstat of some threads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, tid: int, waited: int) -> None:
        (self.path / str(tid)).mkdir(exist_ok=True)
        (self.path / str(tid) / "schedstat").write_text(f"123 {waited} 4\n")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    return Proc(tmp_path)


@pytest.fixture
def delays() -> Iterator[Delays]:
    delays = Delays({7: 100})
    yield delays
    delays.close()


def test_since_counting_began(proc: Proc, delays: Delays) -> None:
    proc.add(7, 250)
    proc.add(8, 40)
    assert delays.read([7, 8, 9]) == {7: 150, 8: 40}
    proc.add(7, 300)
    assert delays.read([7, 8]) == {7: 200, 8: 40}


def test_a_kernel_that_does_not_tell(proc: Proc, delays: Delays) -> None:
    proc.add(7, 1)
    (proc.path / "7" / "schedstat").write_text("0 0 0\n")
    assert delays.read([7]) == {}


def test_files_stay_open_while_their_threads_are_wanted(proc: Proc, delays: Delays) -> None:
    proc.add(7, 1)
    proc.add(8, 1)
    before = len(os.listdir("/proc/self/fd"))
    delays.read([7, 8])
    kept = dict(delays._files)
    delays.read([7, 8])
    assert delays._files == kept and len(os.listdir("/proc/self/fd")) == before + 2
    delays.read([8])
    assert list(delays._files) == [8] and len(os.listdir("/proc/self/fd")) == before + 1
    delays.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_too_few_descriptors(proc: Proc, delays: Delays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_descriptors", lambda wanted: module.RESERVE + 1)
    for tid in range(20, 30):
        proc.add(tid, tid)
    assert delays.read(range(20, 30)) == {tid: tid for tid in range(20, 30)}
    assert len(delays._files) == 1


def test_the_limit_is_raised_as_far_as_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2_000:
        pytest.skip("this process may have few files only")
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_000, hard))
        assert module._descriptors(900) == 1_000
        assert module._descriptors(1_500) == 1_500
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1_500, hard)
        if hard != resource.RLIM_INFINITY:
            assert module._descriptors(hard + 10) == hard
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_real_threads_as_schedstat_has_them() -> None:
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    tids = [thread.native_id or 0 for thread in threads]
    delays = Delays({})
    before, found = {tid: processes.schedstat(tid) or 0 for tid in tids}, delays.read(tids)
    assert list(found) == tids  # which may still be on their way to wait
    assert all(before[tid] <= found[tid] <= (processes.schedstat(tid) or 0) for tid in tids)
    stop.set()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{tid}").exists() for tid in tids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert delays.read(tids) == {} and not delays._files  # ended: their files tell nothing, and are closed
    delays.close()


def test_a_process_that_ends_between_two_readings() -> None:
    process = subprocess.Popen(["sleep", "60"])
    delays = Delays({})
    time.sleep(0.1)
    assert list(delays.read([process.pid])) == [process.pid]
    process.kill()
    process.wait()
    assert delays.read([process.pid]) == {}
    delays.close()
