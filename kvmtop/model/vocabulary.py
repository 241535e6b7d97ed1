"""The words: instruction sets, kinds of accesses, names of reasons, VMs, what somebody asks for. Without numpy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

# The tracepoint's `isa`: KVM_ISA_VMX, KVM_ISA_SVM in arch/x86/kvm/trace.h; 0 where it has no such field.
UNKNOWN, VMX, SVM = 0, 1, 2
# Bits beside it (bpf/thread.h), which make reasons of their own: the exit was a nested guest's (L2), and its hypervisor
# (L1, the guest of this host) was given it.
NESTED, REFLECTED = 0x100, 0x200
_LEVELS = {NESTED: " (L2)", NESTED | REFLECTED: " (L2→L1)"}


def vendor(isa: int) -> int:
    """The isa without what tells whose exit it was."""
    return isa & (NESTED - 1)


def isa_name(isa: int) -> str:
    """How people call it."""
    return {VMX: "VMX", SVM: "SVM", UNKNOWN: "–"}.get(vendor(isa), "–")


def level(isa: int) -> str:
    """What a reason's name has behind it where the exit was a nested guest's: " (L2)" if KVM dealt with it itself,
    " (L2→L1)" if the hypervisor in the VM got it."""
    return _LEVELS.get(isa - vendor(isa), "")


# What a vCPU's thread does, in this order everywhere: it runs the guest, KVM and the kernel, or the VMM; it is halted
# (asleep in KVM); asleep for anything else; it could run but does not, or may not, by its cgroup's CPU quota.
# bpf/thread.h numbers them so.
STATES = ("guest", "kernel", "user", "idle", "blocked", "wait", "throttled")
OUTSIDE = STATES[1:]  # the guest: what an exit's duration is divided into

# What an exit may touch, and how its halt was polled: the numbers are those of bpf/detail.bpf.c.
KINDS = (
    "",
    "io",
    "msr",
    "mmio",
    "cpuid",
    "hypercall",
    "hyperv",
    "fault",
    "vector",
    "user",
    "vmgexit",
    "cr",
    "apic",
    "rip",
    "poll",
    "window",
)

# Bits of `extra`: a write; and of a "fault". Where neither PRESENT nor ABSENT is set, only WRITE is known. LOGGED: the
# page was write-protected for KVM's dirty log, and for nothing else.
WRITE, FETCH, PRESENT, ABSENT, RESERVED, WALK, LOGGED = (1 << bit for bit in range(7))
SAMPLED = 1  # the same of a "rip": where the guest was at an interrupt of the host, that is at any moment

HIT, WASTED, UNPOLLED = range(3)  # the value of a "poll" row

Key = tuple[int, int]  # isa, code


@dataclass(frozen=True)
class Names:
    """What the running kernel calls its exit reasons, per isa, and VMX's flag bits."""

    reasons: Mapping[int, Mapping[int, str]] = field(default_factory=dict)
    flags: Mapping[int, str] = field(default_factory=dict)

    def name(self, isa: int, code: int) -> str:
        """The kernel's name of a 32-bit code; its number, as the vendor writes it, where it has none. With level()."""
        return self.plain(vendor(isa), code) + level(isa)

    def plain(self, isa: int, code: int) -> str:
        """The same without regard to nested guests."""
        table = self.reasons.get(isa, {})
        if isa != VMX:
            return table.get(code) or (f"0x{code:03x}" if isa == SVM else str(code))
        if code == 0xFFFFFFFF:  # TDX reports it for "no exit reason"
            return "0xffffffff"
        # Bits 15:0 are the basic reason, the others flags (Intel SDM vol. 3, 25.9.1).
        flags = [
            self.flags.get(1 << bit) or _VMX_FLAGS.get(bit, f"bit {bit}") for bit in range(16, 32) if code >> bit & 1
        ]
        return "|".join([table.get(code & 0xFFFF) or str(code & 0xFFFF), *flags])


_VMX_FLAGS = {26: "BUS_LOCK", 27: "ENCLAVE_MODE", 28: "SMI_PENDING_MTF", 29: "SMI_VMX_ROOT", 31: "FAILED_VMENTRY"}

MOST_ALIASES = 8


@dataclass(frozen=True)
class Vm:
    """A process with vCPU threads. Its names are untrusted but hold no control characters.

    aliases: what else its owners may call it, such as Proxmox's VMID or its UUID. ended: its process has, or has closed
    the VM. stopped: all of its threads are, by a signal, or by a debugger (traced). paused: its VMM keeps all of its
    vCPUs out of KVM_RUN, and had at least one leave that needed nothing. All false where that is not known.
    quota: while its cgroup's CPU quota holds it back, "group: quota of period". unstarted: numbers of the vCPUs that
    its guest has not started, as far as is known.
    """

    pid: int
    name: str
    comm: str = ""
    ended: bool = False
    aliases: tuple[str, ...] = ()
    stopped: bool = False
    paused: bool = False
    traced: bool = False
    quota: str = ""
    unstarted: tuple[int, ...] = ()


MOST_PIDS = 8  # VMs that somebody may choose to look at


def looks_at(pids: Collection[int], pid: int | None) -> bool:
    """Whether a look at these VMs (none: at all) is one at this VM; None: at all of them."""
    return not pids or pid in pids


@dataclass(frozen=True)
class DetailRequest:
    """What somebody wants to look at: kinds (of KINDS) of what exits touch; the exits of one reason (isa, code) only;
    single exits that last slow_ns or longer; what the scheduler does with the vCPUs of a VM, by its pid, or of all (0);
    numa: on which nodes their memory is; stacks: where in the kernel the exits spend their time; every single exit of
    a VM, by its pid (0: of all), with what is around those that last so many ns; price: what counting alone takes (that
    of what is looked at is told anyway); pids: of whose exits kinds,
    slow_ns and stacks tell, at most MOST_PIDS; none for all VMs'."""

    kinds: frozenset[str] = frozenset()
    only: tuple[int, int] | None = None
    slow_ns: int | None = None
    sched: int | None = None
    numa: bool = False
    stacks: bool = False
    timeline: tuple[int, int] | None = None
    price: bool = False
    pids: frozenset[int] = frozenset()

    @property
    def of_exits(self) -> bool:
        """Whether it asks for anything that bpf/detail.bpf.c tells."""
        return bool(self.kinds or self.slow_ns)


@dataclass(frozen=True)
class Sleeper:
    """A vCPU thread that sleeps in KVM_RUN; halted: because its guest waits for an interrupt."""

    pid: int
    tid: int
    vcpu: int
    halted: bool
