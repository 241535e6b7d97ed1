"""Stories from a symptom to a cause, each played on the emulated AMD host: `python -m tools.stories [NAME...]`.

Each leaves tests/data/stories/NAME.kvmtop; docs/stories.md quotes its replay.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import amd, qemu
from tests.hosts.held import Held

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "stories"
VIRTIO = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_blk")


@dataclass(frozen=True)
class Story:
    """play: the guests, from when there is something to see; options: kvmtop's."""

    play: Callable[[], AbstractContextManager[object]]
    options: str


@contextlib.contextmanager
def console() -> Iterator[None]:
    """web01 writes its kernel's log to the serial console again and again."""
    with qemu.guest("web01", 2, work="while :; do dmesg; done") as vm:
        qemu.wait_until_up(vm, 120)
        time.sleep(2)
        yield


# Four processes with one memory, which take a spinlock in turn as databases do, with PAUSE in the loop.
SPINLOCK = bytes.fromhex(
    "bb02000000 bf11010000 31f6 b838000000 0f05 ffcb 75ee"  # twice: clone(CLONE_VM | SIGCHLD)
    "b801000000 870522000000 85c0 7404 f390 ebed"  # take: 1 xchg [lock]; pause and again, unless it was free
    "b9204e0000 ffc9 75fc"  # hold it for 20,000 turns
    "890d0b000000 b960ea0000 ffc9 75fc ebd3 00000000"  # free it; 60,000 turns without; again; the lock
)


def program(code: bytes) -> bytes:
    """An executable of x86-64 Linux that may change itself."""
    start, head = 0x400000, 64 + 56  # Elf64_Ehdr and one Elf64_Phdr
    return (
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, start + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
        + struct.pack("<IIQQQQQQ", 1, 7, 0, start, start, head + len(code), head + len(code), 0x1000)
        + code
    )


@contextlib.contextmanager
def lock() -> Iterator[None]:
    """db02 has four vCPUs on one CPU of the host, and a spinlock in it goes from one to the other."""
    with qemu.guest("db02", 4, work="/spinlock; wait", files={"spinlock": program(SPINLOCK)}) as vm:
        qemu.wait_until_up(vm, 180)
        for thread in os.listdir(f"/proc/{vm.pid}/task"):
            os.sched_setaffinity(int(thread), {1})
        time.sleep(3)
        yield


@contextlib.contextmanager
def disk() -> Iterator[None]:
    """Two guests read blocks of 4 KiB: nvme01 from an emulated NVMe disk, virtio01 from a virtio disk."""
    drive = ("-blockdev", "null-co,node-name=disk,size=1073741824", "-device")
    nvme, virtio = (*drive, "nvme,drive=disk,serial=1"), (*drive, "virtio-blk-pci,drive=disk")
    read = "dd if=/dev/{} of=/dev/null bs=4k iflag=direct"
    with (
        qemu.guest("nvme01", 1, 192, "6.1", *nvme, work=read.format("nvme0n1")) as first,
        qemu.guest("virtio01", 1, 192, "6.1", *virtio, work=read.format("vda"), modules=VIRTIO) as second,
    ):
        for vm in (first, second):
            qemu.wait_until_up(vm, 120)
        time.sleep(2)
        yield


@contextlib.contextmanager
def idle() -> Iterator[None]:
    """old01 and new01 have nothing to do; old01's kernel ticks nevertheless."""
    with (
        qemu.guest("old01", work="", boot="nohz=off highres=off") as old,
        qemu.guest("new01", work="") as new,
    ):
        for vm in (old, new):
            qemu.wait_until_up(vm, 180)
        time.sleep(8)
        yield


@contextlib.contextmanager
def stall() -> Iterator[None]:
    """app01 is busy, and its VMM is stopped for 6 s in every 10, as by a debugger that dumps it."""
    with qemu.guest("app01", 2, work="while :; do dmesg >/dev/null; done") as vm:
        qemu.wait_until_up(vm, 120)

        def stop() -> None:
            while vm.poll() is None:
                time.sleep(4)
                vm.send_signal(signal.SIGSTOP)
                time.sleep(6)
                vm.send_signal(signal.SIGCONT)

        threading.Thread(target=stop, daemon=True).start()
        yield


STORIES = {
    "console": Story(console, "--duration 10 --interval 2 --event io"),
    "lock": Story(lock, "--duration 10 --interval 2"),
    "disk": Story(disk, "--duration 10 --interval 2 --event mmio"),
    "idle": Story(idle, "--duration 20 --interval 5 --event msr"),
    "stall": Story(stall, "--duration 20 --interval 2"),
}


def tell(name: str, out: Path) -> None:
    """In the host: play a story under kvmtop."""
    story = STORIES[name]
    with tempfile.TemporaryDirectory() as folder, story.play():  # SQLite's locks: not on the shared file system
        file = Path(folder) / f"{name}.kvmtop"
        command = [sys.executable, "-m", "kvmtop", "--batch", "--record", str(file), *story.options.split()]
        subprocess.run(command, check=True)
        shutil.copy(file, out)


def main() -> int:
    names = sys.argv[1:] or list(STORIES)
    if unknown := set(names) - STORIES.keys():
        print(f"no story {', '.join(unknown)}; there are {', '.join(STORIES)}", file=sys.stderr)
        return 2
    if "HOST_OUT" in os.environ:
        out = Path(os.environ["HOST_OUT"]) / "keep"
        out.mkdir(exist_ok=True)
        Held()
        tell(names[0], out)
        return 0
    for name in names:
        done = amd.run([sys.executable, "-m", "tools.stories", name], timeout=600, collect=FOLDER)
        print(done.stdout)
        if done.returncode:
            return int(done.returncode)
        (FOLDER / f"{name}.kvmtop").chmod(0o644)
    return 0


if __name__ == "__main__":
    sys.exit(main())
