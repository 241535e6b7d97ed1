"""A guest without an operating system, whose exits are known beforehand, run through /dev/kvm.

    python -m kvmtop.host.selftest_guest --vcpus 2 cpuid:10000 out:50 mmio:5 hlt:1

Each vCPU executes the steps in order, in real mode, and ends with one more `out` (port 0xf4).
The self-test of `kvmtop doctor` and the tests compare what kvmtop counted with it.
Interface: Documentation/virt/kvm/api.rst and include/uapi/linux/kvm.h.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import mmap
import os
import select
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

_CREATE_VM, _VCPU_MMAP_SIZE = 0xAE01, 0xAE04
_CREATE_VCPU, _SET_MEMORY, _CREATE_IRQCHIP = 0xAE41, 0x4020AE46, 0xAE60
_RUN, _SET_REGS, _GET_SREGS, _SET_SREGS, _SET_MP_STATE = 0xAE80, 0x4090AE82, 0x8138AE83, 0x4138AE84, 0x4004AE99
_EXIT_IO, _EXIT_HLT, _EXIT_MMIO, _EXIT_INTR = 2, 5, 6, 10

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

PATIENCE = 60.0  # seconds for a guest: an emulated host needs some

MEMORY = 0x10000  # bytes of guest memory; what lies above is unmapped, so MMIO
CODE = 0x1000  # where the program starts
MMIO = 0x100000  # the physical address that the step "mmio" stores to
PORT, END_PORT = 0x10, 0xF4
LEAF = 0  # CPUID leaf
MSR_READ, MSR_WRITE = 0x1B, 0x8B  # IA32_APIC_BASE; IA32_BIOS_SIGN_ID, whose writes KVM ignores

# One turn of each step's loop: 16-bit code, 0x66 makes an operand 32 bits wide.
# ESI counts the turns, since CPUID and RDMSR overwrite EAX to EDX.
STEPS = {
    "cpuid": b"\x66\x31\xc0\x0f\xa2",  # xor eax,eax; cpuid
    "out": b"\xe6" + bytes([PORT]),  # out PORT,al
    "in": b"\xe4" + bytes([PORT]),  # in al,PORT
    "rdmsr": b"\x66\xb9" + struct.pack("<I", MSR_READ) + b"\x0f\x32",  # mov ecx,MSR; rdmsr
    "wrmsr": b"\x66\xb9" + struct.pack("<I", MSR_WRITE) + b"\x66\x31\xc0\x66\x31\xd2\x0f\x30",
    "mmio": b"\xa2\x00\x00",  # mov [ds:0],al with ds.base = MMIO
    "hlt": b"\xf4",
    "spin": b"\x90",  # no exit: time in the guest
}
END = b"\xe6" + bytes([END_PORT])
_START = struct.pack("<18Q", *[0] * 16, CODE, 2)  # registers: rip, rflags


@dataclass(frozen=True)
class Step:
    """A loop of the guest's program."""

    name: str  # a key of STEPS
    count: int  # turns; 0 means for ever

    @classmethod
    def parse(cls, text: str) -> Step:
        """ "cpuid:10000" → Step("cpuid", 10000). Raises ValueError."""
        name, _, count = text.partition(":")
        if name not in STEPS:
            raise ValueError(f"{name!r} is none of {', '.join(STEPS)}")
        turns = int(count or 1)
        if not 0 <= turns < 1 << 32:
            raise ValueError(f"{count} turns do not fit into 32 bits")
        return cls(name, turns)

    def code(self) -> bytes:
        """Its machine code."""
        body = STEPS[self.name]
        if not self.count:
            return body + b"\xeb" + struct.pack("b", -len(body) - 2)  # jmp body
        loop = body + b"\x66\x4e"  # dec esi
        return b"\x66\xbe" + struct.pack("<I", self.count) + loop + b"\x75" + struct.pack("b", -len(loop) - 2)


class Guest:
    """A VM of this process. Raises OSError where /dev/kvm cannot be used."""

    def __init__(self, steps: Sequence[Step], vcpus: int = 1, io_sleep: float = 0, irqchip: bool = False) -> None:
        """io_sleep: seconds that the VMM sleeps on each `out` and `in`; irqchip: HLT waits in the kernel."""
        self.io_sleep = io_sleep
        self.io_seconds = 0.0  # what those sleeps really took (right for one vCPU)
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        try:
            vm = fcntl.ioctl(kvm, _CREATE_VM, 0)
            if irqchip:
                fcntl.ioctl(vm, _CREATE_IRQCHIP, 0)
            self.memory = mmap.mmap(-1, MEMORY)
            code = b"".join(step.code() for step in steps) + END
            self.memory[CODE : CODE + len(code)] = code
            address = _address(self.memory)
            fcntl.ioctl(vm, _SET_MEMORY, struct.pack("<IIQQQ", 0, 0, 0, MEMORY, address))
            size = fcntl.ioctl(kvm, _VCPU_MMAP_SIZE, 0)
            self.vcpus = [self._vcpu(vm, number, irqchip) for number in range(vcpus)]
            self.runs = [mmap.mmap(fd, size) for fd in self.vcpus]
        finally:
            os.close(kvm)
        self.vm = vm

    @staticmethod
    def _vcpu(vm: int, number: int, irqchip: bool) -> int:
        fd = fcntl.ioctl(vm, _CREATE_VCPU, number)
        sregs = bytearray(312)
        fcntl.ioctl(fd, _GET_SREGS, sregs)
        struct.pack_into("<QIH", sregs, 0, 0, 0xFFFF, 0)  # cs: base, limit, selector
        struct.pack_into("<Q", sregs, 24, MMIO)  # ds.base
        fcntl.ioctl(fd, _SET_SREGS, bytes(sregs))
        fcntl.ioctl(fd, _SET_REGS, _START)
        if irqchip:
            fcntl.ioctl(fd, _SET_MP_STATE, struct.pack("<I", 0))  # KVM_MP_STATE_RUNNABLE, for APs too
        return fd

    def run(self) -> None:
        """Run all vCPUs, a thread each, to their ends. Raises RuntimeError if one ends otherwise."""
        failures: list[str] = []
        threads = [threading.Thread(target=self._loop, args=(n, failures), daemon=True) for n in range(len(self.vcpus))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise RuntimeError(failures[0])

    def again(self) -> float:
        """Run the first vCPU from start to end in this thread; how many seconds it had a CPU. Raises RuntimeError."""
        fcntl.ioctl(self.vcpus[0], _SET_REGS, _START)
        failures: list[str] = []
        start = time.thread_time_ns()
        self._loop(0, failures)
        spent = time.thread_time_ns() - start
        if failures:
            raise RuntimeError(failures[0])
        return spent / 1e9

    def _loop(self, number: int, failures: list[str]) -> None:
        fd, run = self.vcpus[number], self.runs[number]
        while True:
            try:
                fcntl.ioctl(fd, _RUN, 0)
            except InterruptedError:
                continue
            (reason,) = struct.unpack_from("<I", run, 8)
            if reason == _EXIT_IO:
                (port,) = struct.unpack_from("<H", run, 34)
                if port == END_PORT:
                    return
                if self.io_sleep:
                    left = time.monotonic()
                    self._sleep()
                    self.io_seconds += time.monotonic() - left
            elif reason not in (_EXIT_HLT, _EXIT_MMIO, _EXIT_INTR):
                failures.append(f"vCPU {number} left with KVM exit reason {reason}")
                return

    def _sleep(self) -> None:
        # A sleep may last some ms longer on a busy machine: the last ones are spent awake, to be exact.
        end = time.monotonic() + self.io_sleep
        time.sleep(max(0, self.io_sleep - 0.004))
        while time.monotonic() < end:
            pass

    def close(self) -> None:
        """Free the VM."""
        for fd in (*self.vcpus, self.vm):
            os.close(fd)
        for run in self.runs:
            run.close()


class Apart:
    """A guest of one vCPU in a process of its own: whatever that does, it can be killed, or left behind."""

    def __init__(self, steps: Sequence[Step]) -> None:
        """It is there, with its `pid`, and waits for `run`."""
        theirs, self._go = os.pipe()
        self._answer, answer = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            os.close(self._go)
            os.close(self._answer)
            _run_apart(steps, parent, theirs, answer)
        os.close(theirs)
        os.close(answer)

    def run(self, patience: float) -> float:
        """Run it to its end, once more each time; how many seconds it had a CPU.

        Raises RuntimeError, also after so many seconds of patience.
        """
        os.write(self._go, b"\0")
        if not self._answered(patience):
            raise RuntimeError(
                f"it did not end within {patience:g} s: KVM does not come back from it, or this host is very slow"
            )
        told = os.read(self._answer, 4096)  # less than a pipe takes at once
        if not told:
            raise RuntimeError("its process was killed")
        answer = json.loads(told)
        if "failure" in answer:
            raise RuntimeError(answer["failure"])
        return float(answer["seconds"])

    def _answered(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._answer, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def close(self) -> None:
        """Take the process away; not even SIGKILL does that while the kernel does not come back."""
        os.kill(self.pid, signal.SIGKILL)
        if self._answered(1):  # or its end of the pipe is closed, so that no vCPU is left in the kernel
            os.waitpid(self.pid, 0)
        os.close(self._go)
        os.close(self._answer)


def _run_apart(steps: Sequence[Step], parent: int, go: int, answer: int) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # it goes with whoever waits for it
        guest = None
        while os.getppid() == parent and os.read(go, 1):
            guest = guest or Guest(steps)
            os.write(answer, json.dumps({"seconds": guest.again()}).encode())
    except (OSError, RuntimeError) as error:
        os.write(answer, json.dumps({"failure": str(error)}).encode())
    finally:
        os._exit(0)


def _address(memory: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m kvmtop.host.selftest_guest`."""
    parser = argparse.ArgumentParser(
        prog="python -m kvmtop.host.selftest_guest", description="Run a guest whose exits are known."
    )
    parser.add_argument("steps", nargs="+", type=Step.parse, metavar="STEP:COUNT", help=f"one of {', '.join(STEPS)}")
    parser.add_argument("--vcpus", type=int, default=1)
    parser.add_argument("--io-sleep", type=float, default=0, metavar="S", help="the VMM sleeps so long on out and in")
    parser.add_argument("--irqchip", action="store_true", help="hlt waits in the kernel (for ever: nothing interrupts)")
    options = parser.parse_args(argv)
    guest = Guest(options.steps, options.vcpus, options.io_sleep, options.irqchip)
    guest.run()
    guest.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
