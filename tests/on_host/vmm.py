"""A small VMM for the tests: guests without an operating system that spend their time in one known way.

    python -m tests.on_host.vmm busy --vcpus 2

It says "vcpu TID" for each vCPU's thread, then "ready", and runs until it is killed.
Interface: Documentation/virt/kvm/api.rst, include/uapi/linux/kvm.h and userfaultfd.h.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import mmap
import multiprocessing
import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from typing import Protocol

from . import fuse

_CREATE_VM, _VCPU_MMAP_SIZE = 0xAE01, 0xAE04
_CREATE_VCPU, _SET_MEMORY, _CREATE_IRQCHIP, _ENABLE_CAP = 0xAE41, 0x4020AE46, 0xAE60, 0x4068AEA3
_RUN, _SET_REGS, _GET_SREGS, _SET_SREGS, _SET_MP_STATE = 0xAE80, 0x4090AE82, 0x8138AE83, 0x4138AE84, 0x4004AE99
_EXIT_IO, _EXIT_HLT, _EXIT_MMIO, _EXIT_INTR, _EXIT_RDMSR = 2, 5, 6, 10, 29
_CAP_USER_SPACE_MSR, _UNKNOWN_MSRS = 188, 2
_CREATE_PIT2 = 0x4040AE77
_GET_DIRTY_LOG, _LOG_DIRTY_PAGES = 0x4010AE42, 1
_RUNNABLE, _UNINITIALIZED = 0, 1  # mp_state
_USERFAULTFD, _UFFD_USER_MODE = 323, 0  # its system call
_UFFD_API, _UFFD_REGISTER, _UFFD_ZEROPAGE = 0xC018AA3F, 0xC020AA00, 0xC020AA04
_PAGE, _MAP_FIXED = 4096, 0x10
_SET_NAME = 15  # of prctl

MEMORY, CODE = 0x10000, 0x1000
FAR = 0x8000  # the page that "fault" reads
PAGES = 600  # behind MEMORY, of PAGED: more than a PML buffer (512) holds
PAGED = {"dirty"}
MSR = 0x12345678  # KVM knows none of this number

# 16-bit code; 0x66 makes an operand 32 bits wide. Each turns some thousand times between two exits: what lies between
# the readings of the clock of two tracers (some 300 instructions of kvm_exit) would show at 5,000 exits a second.


def _turns(number: int) -> bytes:
    return b"\x66\xb9" + struct.pack("<I", number) + b"\x66\x49\x75\xfc"  # mov ecx,number; dec ecx; jnz


_CPUID = b"\x66\x31\xc0\x0f\xa2"  # xor eax,eax; cpuid
GUESTS = {
    "busy": _turns(1_000_000) + _CPUID,  # few exits: what tracing adds to one must not show
    "jmp": b"\xeb\xfe",  # to itself
    "sled": b"\x90" * 0x4000,
    "hlt": b"\xf4",
    "mwait": _turns(200_000) + b"\x66\x31\xc0\x66\x31\xc9\x66\x31\xd2\x0f\x01\xc8"
    b"\x66\x31\xc0\x66\x31\xc9\x0f\x01\xc9",  # some turns; monitor; mwait
    "rdmsr": _turns(100_000) + b"\x66\xb9" + struct.pack("<I", MSR) + b"\x0f\x32",
    "out": _turns(100_000) + b"\xe6\x10",
    "held": _turns(20_000) + b"\xe6\x10",
    # mov edi,MEMORY; then of each page mov al,[edi]; mov byte [edi],1; out
    "dirty": b"\x66\xbf" + struct.pack("<I", MEMORY) + b"\x67\x8a\x07\x67\xc6\x07\x01\x66\x81\xc7\x00\x10\x00\x00"
    b"\x66\x81\xff" + struct.pack("<I", MEMORY + PAGES * _PAGE) + b"\x72\xe9\xe6\x10",
    "fault": b"\xa0\x00\x80\xe6\x10",  # mov al,[FAR]; out: then the page is taken away again
}
SETUP: dict[str, bytes] = {}  # what one of them does first, if not a CPUID


class Meets(Protocol):
    """What a vCPU meets at each OUT."""

    def meet(self) -> None:
        """In the vCPU's thread, which goes on when it may."""


class Holder:
    """A thread of the VMM that has what a vCPU needs, and lets go of it a while later: as QEMU's big lock."""

    name = "holder"

    def __init__(self, times: int, seconds: float = 0.005) -> None:
        self.times, self.seconds = times, seconds
        # They sleep in a futex each, without Python's lock.
        self.go, self._wanted, self._asked, self._free = (
            multiprocessing.get_context("fork").Semaphore(0) for _ in range(4)
        )
        threading.Thread(target=self._run, daemon=True).start()
        self._asked.acquire()  # it has its name before there is a vCPU

    def meet(self) -> None:
        """The vCPU's thread, which goes on when it may."""
        if self._wanted.acquire(False):
            self._asked.release()
            self._free.acquire()

    def _run(self) -> None:
        ctypes.CDLL(None).prctl(_SET_NAME, self.name.encode(), 0, 0, 0)
        self._asked.release()
        self.go.acquire()
        for _ in range(self.times):
            self._wanted.release()
            self._asked.acquire()
            time.sleep(self.seconds)
            self._free.release()
        print("released", flush=True)
        time.sleep(1000)


class DirtyLog:
    """Turns the dirty log of a VM's memory on after the first round of "dirty", and reads it after each one since."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.vmm: Vmm | None = None
        self.found: list[int] = []  # pages

    def meet(self) -> None:
        """The vCPU's thread, at the end of a round."""
        assert self.vmm
        if self.vmm.flags:
            bitmap = ctypes.create_string_buffer(1 << 10)
            request = struct.pack("<IIQ", 0, 0, ctypes.addressof(bitmap))
            fcntl.ioctl(self.vmm.vm, _GET_DIRTY_LOG, request)
            self.found.append(sum(byte.bit_count() for byte in bitmap.raw))
        else:
            self.vmm.set_memory(_LOG_DIRTY_PAGES)
        if len(self.found) == self.rounds:
            print("rounds", *self.found, flush=True)
            time.sleep(1000)


class Vmm:
    """One VM of this process."""

    def __init__(
        self,
        guest: str,
        vcpus: int = 1,
        irqchip: bool = False,
        unstarted: int = 0,
        halt: float = 0.02,
        fault: float = 0.3,
        faults: int = 0,
        from_fuse: bool = False,
        pit: bool = False,
        holder: Meets | None = None,
    ) -> None:
        """unstarted: so many of the vCPUs (the last ones) are never started; halt: seconds that the VMM sleeps where
        HLT comes to it; fault: seconds until a page comes by userfaultfd, or from a FUSE file (from_fuse); faults: after so
        many (0: never) it is over; holder: whom a vCPU meets at each OUT."""
        self.halt, self.fault, self.holder, self.faults = halt, fault, holder, faults
        # How many pages were served, and ns that they took by the handler's own clock; it may be a child's.
        self.served = memoryview(mmap.mmap(-1, 16)).cast("Q")
        self._drop: Callable[[], object] | None = None
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self.vm = fcntl.ioctl(kvm, _CREATE_VM, 0)
        if irqchip:
            fcntl.ioctl(self.vm, _CREATE_IRQCHIP, 0)
        if pit:
            fcntl.ioctl(self.vm, _CREATE_PIT2, bytes(64))
        if guest == "rdmsr":
            cap = struct.pack("<IIQ", _CAP_USER_SPACE_MSR, 0, _UNKNOWN_MSRS).ljust(104, b"\0")
            fcntl.ioctl(self.vm, _ENABLE_CAP, cap)
        size = MEMORY + (PAGES * _PAGE if guest in PAGED else 0)
        self.memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory.madvise(mmap.MADV_NOHUGEPAGE)
        code = SETUP.get(guest, _CPUID) + GUESTS[guest]
        code += b"\xe9" + struct.pack("<h", -len(GUESTS[guest]) - 3)  # jmp, to where the setup ends
        self.memory[CODE : CODE + len(code)] = code
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.set_memory(0)
        if isinstance(holder, DirtyLog):
            holder.vmm = self
        if guest == "fault":
            self._from_file() if from_fuse else self._take_pages()
        size = fcntl.ioctl(kvm, _VCPU_MMAP_SIZE, 0)
        self.vcpus = [fcntl.ioctl(self.vm, _CREATE_VCPU, number) for number in range(vcpus)]
        self.runs = [mmap.mmap(fd, size) for fd in self.vcpus]
        for number, fd in enumerate(self.vcpus):
            sregs = bytearray(312)
            fcntl.ioctl(fd, _GET_SREGS, sregs)
            struct.pack_into("<QIH", sregs, 0, 0, 0xFFFF, 0)  # cs: base, limit, selector
            # ds: all of 4 GB, by its granularity
            struct.pack_into("<QIH8B", sregs, 24, 0, 0xFFFFFFFF, 0, 3, 1, 0, 0, 1, 0, 1, 0)
            fcntl.ioctl(fd, _SET_SREGS, bytes(sregs))
            fcntl.ioctl(fd, _SET_REGS, struct.pack("<18Q", *[0] * 16, CODE, 2))
            if irqchip:
                state = _UNINITIALIZED if number >= vcpus - unstarted else _RUNNABLE
                fcntl.ioctl(fd, _SET_MP_STATE, struct.pack("<I", state))
        self.threads: list[threading.Thread] = []

    def set_memory(self, flags: int) -> None:
        """All of it as slot 0, with these of KVM_MEM_*."""
        self.flags = flags
        fcntl.ioctl(self.vm, _SET_MEMORY, struct.pack("<IIQQQ", 0, flags, 0, len(self.memory), self.address))

    def start(self) -> None:
        """A thread for each vCPU, for ever."""
        for number in range(len(self.vcpus)):
            thread = threading.Thread(target=self._loop, args=(number,), daemon=True)
            thread.start()
            self.threads.append(thread)
            print(f"vcpu {thread.native_id}", flush=True)
        print("ready", flush=True)

    def kick(self) -> None:
        """A signal to each vCPU's thread: KVM_RUN returns, and is entered again."""
        for thread in self.threads:
            assert thread.ident is not None
            signal.pthread_kill(thread.ident, signal.SIGUSR1)

    def _loop(self, number: int) -> None:
        fd, run = self.vcpus[number], self.runs[number]
        reason = memoryview(run)[8:12].cast("I")
        while True:
            try:
                fcntl.ioctl(fd, _RUN, 0)
            except InterruptedError:
                continue
            if reason[0] == _EXIT_HLT:
                time.sleep(self.halt)
            elif reason[0] == _EXIT_IO:
                if self._drop:
                    if self.served[0] == self.faults > 0:
                        print(f"served {self.faults} in {self.served[1]} ns", flush=True)
                        time.sleep(1000)
                    self.memory.madvise(mmap.MADV_DONTNEED, FAR, _PAGE)
                    self._drop()
                if self.holder:
                    self.holder.meet()
            elif reason[0] not in (_EXIT_MMIO, _EXIT_RDMSR, _EXIT_INTR):
                os.write(2, f"vCPU {number} left with KVM exit reason {reason[0]}\n".encode())
                os._exit(1)

    def _take_pages(self) -> None:
        fd = ctypes.CDLL(None, use_errno=True).syscall(_USERFAULTFD, os.O_CLOEXEC)
        if fd < 0:
            raise OSError(ctypes.get_errno(), "userfaultfd")
        fcntl.ioctl(fd, _UFFD_API, struct.pack("<QQQ", 0xAA, 0, 0))
        fcntl.ioctl(fd, _UFFD_REGISTER, struct.pack("<QQQQ", self.address + FAR, _PAGE, 1, 0))
        self._uffd, self._drop = fd, bool
        threading.Thread(target=self._give_pages, daemon=True).start()

    def _give_pages(self) -> None:
        while os.read(self._uffd, 32):
            start = time.monotonic_ns()
            time.sleep(self.fault)
            self.served[0] += 1
            self.served[1] += time.monotonic_ns() - start
            fcntl.ioctl(self._uffd, _UFFD_ZEROPAGE, struct.pack("<QQQq", self.address + FAR, _PAGE, 0, 0))

    def _from_file(self) -> None:
        file = fuse.File(self.fault, self.served)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype, libc.mmap.argtypes = (
            ctypes.c_void_p,
            (*(ctypes.c_void_p,) * 2, *(ctypes.c_int,) * 3, ctypes.c_long),
        )
        at = libc.mmap(self.address + FAR, _PAGE, mmap.PROT_READ, mmap.MAP_SHARED | _MAP_FIXED, file.fd, 0)
        assert at == self.address + FAR, os.strerror(ctypes.get_errno())
        self.memory.madvise(mmap.MADV_RANDOM, FAR, _PAGE)  # it is read when it is needed
        self._drop = lambda: os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)


def _churn(make: Callable[[], Vmm], every: float, life: float) -> None:
    """VMs that start and end, each in a process of its own."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    while True:
        if not os.fork():
            signal.alarm(30)  # whatever happens
            make().start()
            time.sleep(life)
            os._exit(0)
        time.sleep(every)


def main() -> None:
    """`python -m tests.on_host.vmm`."""
    parser = argparse.ArgumentParser(prog="python -m tests.on_host.vmm")
    parser.add_argument("guest", choices=GUESTS)
    parser.add_argument("-name", help="guest=NAME, by which kvmtop knows the VM")
    parser.add_argument("--vcpus", type=int, default=1)
    parser.add_argument("--irqchip", action="store_true", help="HLT waits in the kernel, and nothing ends it")
    parser.add_argument("--unstarted", type=int, default=0, help="so many vCPUs are never started")
    parser.add_argument("--kick", type=float, default=0, metavar="S", help="a signal to each vCPU every S seconds")
    parser.add_argument(
        "--churn", type=float, default=0, metavar="S", help="a new VM every S seconds, for 1.5 times that"
    )
    parser.add_argument("--fault", type=float, default=0.3, metavar="S", help="a page takes so long")
    parser.add_argument("--faults", type=int, default=0, help="after so many, tell how long they took, and sleep")
    parser.add_argument("--fuse", action="store_true", help="pages come from a FUSE file, not by userfaultfd")
    parser.add_argument("--hold", type=int, default=0, help="at SIGUSR1 hold vCPU 0 up so many times")
    parser.add_argument("--hold-for", type=float, default=0.005, metavar="S", help="so long each time")
    parser.add_argument("--rounds", type=int, default=3, help="of the dirty log, of the guest dirty")
    options = parser.parse_args()
    if options.hold:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # no thread but ours, when it waits for it
    holder: Meets | None = Holder(options.hold, options.hold_for) if options.hold else None
    if options.guest == "dirty":
        holder = DirtyLog(options.rounds)

    def make() -> Vmm:
        return Vmm(
            *(options.guest, options.vcpus, options.irqchip, options.unstarted),
            fault=options.fault,
            faults=options.faults,
            from_fuse=options.fuse,
            holder=holder,
        )

    if options.churn:
        _churn(make, options.churn, 1.5 * options.churn)
    vmm = make()
    signal.signal(signal.SIGUSR1, lambda *_: None)
    vmm.start()
    if isinstance(holder, Holder):
        signal.sigwait([signal.SIGUSR1])
        holder.go.release()
    while True:
        time.sleep(options.kick or 1000)
        vmm.kick()


if __name__ == "__main__":
    main()
