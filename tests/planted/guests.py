"""Guests of raw code, each of which does one thing too often: a VM by the name that it is given.

    python -m tests.planted.guests rtc -name guest=shop01

Real-mode code with a flat data segment, as in tests/on_host/vmm.py; interrupts and #GP have handlers.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import mmap
import os
import signal
import struct
import threading
import time
from dataclasses import dataclass

from ..on_host import vmm

_GET_SUPPORTED_CPUID, _SET_CPUID2 = 0xC008AE05, 0x4008AE90
_SET_NAME = 15  # of prctl
HANDLERS = 0x600
VECTOR = 0x20
APIC = 0xFEE00000
EOI = APIC + 0xB0
# #GP's handler goes on behind two bytes: mov bp,sp; add word [bp+0],2; iret.
_SKIP = b"\x8b\xec\x83\x46\x00\x02\xcf"


def _turns(number: int) -> bytes:
    """It works, and not in one place: mov ecx,number; 50 jumps, each to the next one; dec ecx; jnz."""
    return b"\x66\xb9" + struct.pack("<I", number) + b"\xeb\x00" * 50 + b"\x66\x49\x75\x98"


def _read(address: int) -> bytes:
    return b"\x67\x66\xa1" + struct.pack("<I", address)  # mov eax,[address]


def _write(address: int, value: int) -> bytes:
    return b"\x67\x66\xc7\x05" + struct.pack("<II", address, value)  # mov dword [address],value


def _in(port: int, size: int = 1) -> bytes:
    return b"\xba" + struct.pack("<H", port) + (b"\xec" if size == 1 else b"\x66\xed")  # mov dx,port; in al or eax,dx


def _out(port: int, value: int) -> bytes:
    return b"\xb0" + bytes([value]) + b"\xba" + struct.pack("<H", port) + b"\xee"  # mov al,value; mov dx,port; out


def _msr(number: int, write: bool = False) -> bytes:
    zeros = b"\x66\x31\xc0\x66\x31\xd2" if write else b""  # xor eax,eax; xor edx,edx
    return b"\x66\xb9" + struct.pack("<I", number) + zeros + (b"\x0f\x30" if write else b"\x0f\x32")


def _wrmsr(number: int, value: int) -> bytes:
    return b"\x66\xb9" + struct.pack("<I", number) + b"\x66\xb8" + struct.pack("<I", value) + b"\x66\x31\xd2\x0f\x30"


@dataclass(frozen=True)
class Guest:
    """What a vCPU does over and over. interrupts: it takes them; ticks: ns from one of its timer to the next, which is set
    anew each time, as by Linux; x2apic: by MSRs."""

    loop: bytes
    setup: bytes = b""
    interrupts: bool = False
    ticks: int = 0
    x2apic: bool = False

    def _put(self, register: int, value: int) -> bytes:
        """Into the APIC."""
        return _wrmsr(0x800 + (register >> 4), value) if self.x2apic else _write(APIC + register, value)

    @property
    def first(self) -> bytes:
        """What it does once. KVM's APIC counts nanoseconds."""
        timer = self._put(0x3E0, 0xB) + self._put(0x320, VECTOR) + self._put(0x380, self.ticks)
        # The spurious-interrupt vector, with the APIC's enable bit: before it all of its interrupts are masked. Then sti.
        enable = (_wrmsr(0x1B, APIC | 0xD00) if self.x2apic else b"") + self._put(0xF0, 0x1FF) + b"\xfb"
        return (enable if self.interrupts or self.ticks else b"") + (timer if self.ticks else b"") + self.setup

    @property
    def handler(self) -> bytes:
        """Of its interrupts: iret at the end."""
        work = (self._put(0x380, self.ticks) if self.ticks else b"") + self._put(0xB0, 0)
        return (b"\x66\x60" + work + b"\x66\x61" if self.x2apic else work) + b"\xcf"  # pushad, popad


SOME = _turns(400)
GUESTS = {
    "mostly-halted": Guest(b"\xf4", ticks=50_000_000),  # the healthy neighbour: 20 timer interrupts a second
    "busy": Guest(_turns(20_000), ticks=10_000_000),  # healthy, too
    "pm-timer": Guest(SOME + _in(0x608, 4)),
    "hpet": Guest(SOME + _read(0xFED000F0)),
    "pit": Guest(SOME + _out(0x43, 0) + _in(0x40) + _in(0x40)),  # latch, and read both bytes
    "rtc": Guest(SOME + _out(0x70, 0xC) + _in(0x71)),
    "serial": Guest(SOME + _in(0x3FD) + _out(0x3F8, 0x2E)),
    # A sector as the BIOS reads it: the drive, the command, the status, and some words of data.
    "ide": Guest(SOME + _out(0x1F6, 0xE0) + _out(0x1F7, 0x20) + _in(0x1F7) + _in(0x1F0) * 8),
    "vga": Guest(SOME + (_write(0xA0000, 0x5A5A5A5A) + _out(0x3C4, 2)) * 2),
    "cpuid": Guest(SOME + b"\x66\x31\xc0\x0f\xa2"),
    "rdpmc": Guest(SOME + b"\x66\x31\xc9\x0f\x33"),
    "msr": Guest(SOME + _msr(0x1A0) + _msr(0x17)),  # IA32_MISC_ENABLE, IA32_PLATFORM_ID
    # K7's event selects and counters: what a perf or an NMI watchdog programs
    "pmu": Guest(SOME + _msr(0xC0010000, write=True) + _msr(0xC0010004, write=True) + _msr(0xC0010000)),
    "wbinvd": Guest(SOME + b"\x0f\x09"),
    "out": Guest(SOME + b"\xe6\x10"),
    "high-hz": Guest(_turns(2_000), ticks=250_000, x2apic=True),
    "short-halts": Guest(b"\xf4", ticks=3_000_000),
    # To all but itself, again and again
    "ipis": Guest(SOME + _wrmsr(0x830, 0xC0000 | VECTOR), interrupts=True, x2apic=True),
    "eois": Guest(SOME + _write(APIC + 0x80, 0) + _read(APIC + 0x20) + _write(EOI, 0), interrupts=True),
    "mwait": Guest(SOME + b"\x66\x31\xc0\x66\x31\xc9\x66\x31\xd2\x0f\x01\xc8\x66\x31\xc0\x66\x31\xc9\x0f\x01\xc9"),
    "debug-registers": Guest(SOME + b"\x0f\x21\xf8\x0f\x01\xd9"),  # mov eax,dr7; then an exit
    "spins": Guest(b"\xeb\xfe"),
    "halts": Guest(SOME + b"\xf4"),
    "dropped": Guest(vmm.GUESTS["dirty"]),
}
vmm.PAGED.add("dropped")


class Answer:
    """A VMM that takes its time for each port."""

    def __init__(self, spin: float, sleep: float, once: float) -> None:
        """Seconds: on a CPU, and asleep, each time; asleep once, in the first vCPU, after a SIGUSR2."""
        self.spin, self.sleep, self.once = spin, sleep, once
        self.now = threading.Event()
        signal.signal(signal.SIGUSR2, lambda *_: self.now.set())

    def meet(self) -> None:
        end = time.monotonic() + self.spin
        while time.monotonic() < end:
            pass
        if self.sleep:
            time.sleep(self.sleep)
        if self.once and self.now.is_set() and threading.current_thread().name.startswith("Thread-1 "):
            time.sleep(self.once)


class Dropped:
    """Takes what the guest has written away, each time that it is done."""

    vmm: vmm.Vmm

    def meet(self) -> None:
        self.vmm.memory.madvise(mmap.MADV_DONTNEED, vmm.MEMORY, vmm.PAGES * mmap.PAGESIZE)


class Vmm(vmm.Vmm):
    """A VM with KVM's idea of a processor, and handlers."""

    def __init__(self, guest: str, vcpus: int, unstarted: int, irqchip: bool, pit: bool, holder: vmm.Meets) -> None:
        vmm.GUESTS[guest], vmm.SETUP[guest] = GUESTS[guest].loop, GUESTS[guest].first
        super().__init__(guest, vcpus, irqchip, unstarted, halt=0.002, pit=pit, holder=holder)
        for number, (vector, code) in enumerate(((VECTOR, GUESTS[guest].handler), (13, _SKIP))):
            at = HANDLERS + 64 * number
            self.memory[at : at + len(code)] = code
            struct.pack_into("<HH", self.memory, 4 * vector, at, 0)
        cpuid = bytearray(struct.pack("<II", 256, 0) + bytes(256 * 40))
        with open("/dev/kvm", "rb") as kvm:
            fcntl.ioctl(kvm, _GET_SUPPORTED_CPUID, cpuid)
        for fd in self.vcpus:
            fcntl.ioctl(fd, _SET_CPUID2, cpuid)


def _name_thread(name: str) -> None:
    ctypes.CDLL(None).prctl(_SET_NAME, name.encode(), 0, 0, 0)


def _io_thread() -> None:
    """At its limit, without Python's lock."""
    _name_thread("IO iothread1")
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000)


def main() -> None:
    """`python -m tests.planted.guests`."""
    parser = argparse.ArgumentParser(prog="python -m tests.planted.guests", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("guest", choices=GUESTS)
    parser.add_argument("-name", help="guest=NAME, by which kvmtop knows the VM")
    parser.add_argument("--vcpus", type=int, default=1)
    parser.add_argument("--unstarted", type=int, default=0, help="so many vCPUs are never started")
    parser.add_argument("--no-irqchip", action="store_true", help="HLT and the APIC are the VMM's")
    parser.add_argument("--pit", action="store_true", help="KVM's own PIT")
    parser.add_argument("--spin", type=float, default=0, metavar="S", help="the VMM works so long for each port")
    parser.add_argument("--sleep", type=float, default=0, metavar="S", help="it sleeps so long")
    parser.add_argument(
        "--stick", type=float, default=0, metavar="S", help="so long in a port of the first vCPU, after a SIGUSR2"
    )
    parser.add_argument("--big-lock", action="store_true", help="the main thread holds a lock that a port needs")
    parser.add_argument("--io-thread", metavar="CPU", help="beside it a thread that is always busy, there")
    options = parser.parse_args()
    holder = vmm.Holder(1 << 40, 0.02) if options.big_lock else None
    dropped = Dropped() if options.guest == "dropped" else None
    meets = holder or dropped or Answer(options.spin, options.sleep, options.stick)
    one = Vmm(options.guest, options.vcpus, options.unstarted, not options.no_irqchip, options.pit, meets)
    if dropped:
        dropped.vmm = one
    signal.signal(signal.SIGUSR1, lambda *_: None)
    one.start()
    if options.io_thread:
        thread = threading.Thread(target=_io_thread, daemon=True)
        thread.start()
        if options.io_thread != "any":
            assert thread.native_id
            os.sched_setaffinity(thread.native_id, {int(options.io_thread)})
    if holder:
        holder.go.release()
    while True:
        time.sleep(1000)


if __name__ == "__main__":
    main()
