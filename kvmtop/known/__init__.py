"""Names for what an exit touched: ports, MSRs, memory, hypercalls. Unknown is "": a wrong name is worse than none."""

from __future__ import annotations

from .calls import hypercall, hyperv, userspace
from .cpu import apic, cpuid, cr, vector
from .memory import mmio
from .memorymap import MemoryMap
from .msrs import msr
from .ports import port

__all__ = ["MemoryMap", "apic", "cpuid", "cr", "hypercall", "hyperv", "mmio", "msr", "port", "userspace", "vector"]
