"""What an exit touched, in words: with the kernel's names, ours, the guest's symbols and QEMU's memory map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ..model.vocabulary import ABSENT, FETCH, LOGGED, PRESENT, RESERVED, SAMPLED, SVM, WALK, WRITE, Names
from . import calls, cpu, mmio, msrs, ports, qemu_mtree
from .guest_symbols import Symbols, half

# What each kind is called, in the order in which people ask for them.
TITLES = {
    "io": "I/O ports",
    "msr": "MSRs",
    "mmio": "MMIO addresses",
    "cpuid": "CPUID leaves",
    "hypercall": "hypercalls",
    "hyperv": "Hyper-V hypercalls",
    "fault": "page faults",
    "vector": "vectors",
    "user": "returns to user space",
    "vmgexit": "VMGEXIT codes",
    "cr": "control registers",
    "apic": "APIC registers",
    "rip": "guest code",
    "poll": "halt polling",
}
_FAST = 0xFF  # a fast write's size is not known
_NMI, _EXCEPTION = 2, 3  # interruption types: Intel SDM vol. 3, 25.9.2; AMD APM vol. 2, 15.7.2


@dataclass(frozen=True)
class Labels:
    """Where names come from."""

    names: Names = field(default_factory=Names)
    symbols: Symbols = field(default_factory=Symbols)
    memory: qemu_mtree.MemoryMap | None = None

    def what(self, kind: str, value: int, extra: int) -> str:
        """A key in words: "port 0x3f8 COM1 out 1 B"."""
        known_as = _KINDS.get(kind)
        return " ".join(filter(None, known_as(self, value, extra))) if known_as else f"{kind} 0x{value:x}"

    def _place(self, address: int) -> str:
        return (self.memory.name(address) if self.memory else "") or mmio.mmio(address)

    def _port(self, number: int) -> str:
        return (self.memory.port(number) if self.memory else "") or ports.port(number)

    def _vmgexit(self, code: int) -> str:
        return self.names.reasons.get(SVM, {}).get(code, "")


def _access(extra: int, write: str = "write", read: str = "read") -> str:
    size = extra >> 8 & 0xFF
    word = write if extra & WRITE else read
    return f"fast {word}" if size == _FAST else f"{word} {size} B" if size else word


def _fault(extra: int) -> str:
    """What was tried, and why that was no use: "write, write-protected"."""
    access = "execute" if extra & FETCH else _access(extra)
    if extra & ABSENT:
        why = "not present"
    elif not extra & PRESENT:
        why = ""
    elif extra & RESERVED:
        why = "marked as MMIO"  # KVM sets reserved bits for nothing else
    elif extra & LOGGED:
        why = "dirty logging"
    else:
        why = "not executable" if extra & FETCH else "write-protected" if extra & WRITE else "present"
    return ", ".join(filter(None, (f"{access} by a page walk" if extra & WALK else access, why)))


_KINDS: dict[str, Callable[[Labels, int, int], tuple[str, ...]]] = {
    "io": lambda at, v, e: (f"port 0x{v:x}", at._port(v), _access(e, "out", "in")),
    "msr": lambda at, v, e: (f"MSR 0x{v:x}", msrs.msr(v), _access(e)),
    "mmio": lambda at, v, e: (f"MMIO 0x{v:x}", at._place(v), _access(e)),
    "cpuid": lambda at, v, e: (f"leaf 0x{v:x}", cpu.cpuid(v)),
    "hypercall": lambda at, v, e: (f"hypercall {v}", calls.hypercall(v)),
    "hyperv": lambda at, v, e: (f"Hyper-V call 0x{v:x}", calls.hyperv(v)),
    "fault": lambda at, v, e: (f"page 0x{v:x}", at._place(v), _fault(e)),
    "vector": lambda at, v, e: (f"vector 0x{v:x}", cpu.vector(v, True) if e in (_NMI, _EXCEPTION) else ""),
    "user": lambda at, v, e: ("interrupted by a signal" if e else f"KVM_EXIT_{calls.userspace(v) or v}",),
    "vmgexit": lambda at, v, e: (f"VMGEXIT 0x{v:x}", at._vmgexit(v)),
    "cr": lambda at, v, e: (f"CR{v}", _access(e)),
    "apic": lambda at, v, e: (f"APIC 0x{v:x}", cpu.apic(v), _access(e)),
    "rip": lambda at, v, e: (f"0x{v:x}", at.symbols.name(v), f"({half(v)}{', sampled' if e & SAMPLED else ''})"),
}
