"""Makes the recordings of `kvmtop demo` anew, on the emulated hosts: `python -m tools.demo [amd|intel]`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kvmtop
from kvmtop.host.live import Live
from kvmtop.recording.writer import Recorder
from tests.hosts import amd, intel, qemu

FOLDER = Path(kvmtop.__file__).parent / "demo"
# Bochs has no QEMU in it, and takes seconds for one of its host's at work.
HOSTS = {"amd": amd, "intel": intel}
TITLES = {
    "amd": "an emulated AMD host with two QEMU guests",
    "intel": "an emulated Intel host with two of kvmtop's test guests",
}


def two_guests() -> None:
    """web01 boots; then db01 boots beside it; web01 is stopped for some seconds; db01 ends."""
    time.sleep(0.5)
    with qemu.guest("web01", 2) as web:
        qemu.wait_until_up(web, 120)
        time.sleep(10)
        with qemu.guest("db01", 1) as db:
            qemu.wait_until_up(db, 120)
            time.sleep(20)
            qemu.monitor(web, "stop")
            time.sleep(6)
            qemu.monitor(web, "cont")
            time.sleep(10)
        time.sleep(10)


def small_guests() -> None:
    """Two, on one CPU: I/O that the VMM takes its time for, CPUID, MSRs, MMIO, HLT, in turns."""
    guest = [sys.executable, "-m", "kvmtop.host.selftest_guest", "--io-sleep", "0.02"]
    first = "out:250 cpuid:60000 mmio:5000 out:200 rdmsr:30000 hlt:10000 in:200"
    second = "wrmsr:20000 out:150 cpuid:30000 in:150 hlt:8000 out:100"
    with subprocess.Popen([*guest, *first.split()]):
        time.sleep(8)
        subprocess.run([*guest, *second.split()])


def record(path: Path, title: str, play: Callable[[], None]) -> None:
    """Record this host once a second while `play` runs."""
    recorder = Recorder(Live(), path, title)
    with ThreadPoolExecutor(1) as pool:
        actor = pool.submit(play)
        while not actor.done():
            time.sleep(1)
            snapshot = recorder.read()
            print(f"{int(snapshot.cells['count'].sum())} exits, {len(snapshot.threads)} vCPUs", flush=True)
        actor.result()
    recorder.close()
    assert not recorder.trouble, recorder.trouble


def main() -> int:
    if "HOST_OUT" in os.environ:
        out = Path(os.environ["HOST_OUT"]) / "keep"
        out.mkdir(exist_ok=True)
        which = sys.argv[1]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / f"{which}.kvmtop"
            record(file, TITLES[which], {"amd": two_guests, "intel": small_guests}[which])
            shutil.copy(file, out)
        return 0
    for which in sys.argv[1:] or HOSTS:
        done = HOSTS[which].run([sys.executable, "-m", "tools.demo", which], timeout=900, collect=FOLDER)
        print(done.stdout)
        if done.returncode:
            return int(done.returncode)
        (FOLDER / f"{which}.kvmtop").chmod(0o644)
    return 0


if __name__ == "__main__":
    sys.exit(main())
