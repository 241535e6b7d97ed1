"""Parts of a virtual CPU: local APIC registers, CPUID leaves, control registers, vectors."""

from __future__ import annotations

from .lookup import names

# Offsets in the APIC page: arch/x86/include/asm/apicdef.h, named as the kvm_apic tracepoint does (AREG() in
# arch/x86/kvm/trace.h). ISR, TMR and IRR are eight registers each.
_APIC = names("""
    20 ID 30 LVR 80 TASKPRI 90 ARBPRI a0 PROCPRI b0 EOI c0 RRR d0 LDR e0 DFR f0 SPIV 280 ESR 2f0 LVTCMCI 300 ICR
    310 ICR2 320 LVTT 330 LVTTHMR 340 LVTPC 350 LVT0 360 LVT1 370 LVTERR 380 TMICT 390 TMCCT 3e0 TDCR 3f0 SELF_IPI
    400 EFEAT 410 ECTRL
""")

# Intel SDM volume 2, CPUID; AMD APM volume 3, appendix E; Hyper-V: include/hyperv/hvgdk_mini.h; KVM:
# Documentation/virt/kvm/x86/cpuid.rst, which moves to 0x40000100 in a guest that sees Hyper-V.
_CPUID = {
    0x0: "vendor, highest leaf",
    0x1: "family, features",
    0x2: "cache and TLB descriptors",
    0x3: "serial number",
    0x4: "cache topology",
    0x5: "MONITOR/MWAIT",
    0x6: "thermal and power",
    0x7: "extended features",
    0xA: "performance monitoring",
    0xB: "CPU topology",
    0xD: "XSAVE",
    0xF: "RDT monitoring",
    0x10: "RDT allocation",
    0x12: "SGX",
    0x14: "Processor Trace",
    0x15: "TSC frequency",
    0x16: "CPU frequency",
    0x17: "SoC vendor",
    0x18: "TLB",
    0x19: "Key Locker",
    0x1A: "hybrid",
    0x1B: "PCONFIG",
    0x1C: "last branch records",
    0x1D: "AMX tiles",
    0x1E: "AMX TMUL",
    0x1F: "CPU topology, V2",
    0x20: "HRESET",
    0x21: "TDX",
    0x23: "performance monitoring, extended",
    0x24: "AVX10",
    0x40000000: "hypervisor vendor",
    0x40000001: "KVM features or Hyper-V interface",
    0x40000002: "Hyper-V version",
    0x40000003: "Hyper-V features",
    0x40000004: "Hyper-V recommendations",
    0x40000005: "Hyper-V limits",
    0x4000000A: "Hyper-V nested features",
    0x4000000C: "Hyper-V isolation",
    0x40000010: "TSC and bus frequency (VMware)",
    0x40000100: "KVM signature beside Hyper-V",
    0x40000101: "KVM features beside Hyper-V",
    0x80000000: "highest extended leaf",
    0x80000001: "extended features (AMD)",
    0x80000002: "brand string 1",
    0x80000003: "brand string 2",
    0x80000004: "brand string 3",
    0x80000005: "L1 cache and TLB (AMD)",
    0x80000006: "L2 and L3 cache",
    0x80000007: "power management, invariant TSC",
    0x80000008: "address sizes",
    0x8000000A: "SVM",
    0x80000019: "TLB of 1 GiB pages",
    0x8000001A: "performance hints (AMD)",
    0x8000001B: "IBS (AMD)",
    0x8000001C: "LWP (AMD)",
    0x8000001D: "cache topology (AMD)",
    0x8000001E: "CPU topology (AMD)",
    0x8000001F: "SEV",
    0x80000020: "QoS (AMD)",
    0x80000021: "extended features 2 (AMD)",
    0x80000022: "performance monitoring (AMD)",
    0x80000026: "CPU topology, extended (AMD)",
}

# Intel SDM volume 3, "Protected-Mode Exceptions and Interrupts"; AMD APM volume 2, table 8-1, for #HV, #VC, #SX.
_EXCEPTIONS = names("""
    0 #DE 1 #DB 2 NMI 3 #BP 4 #OF 5 #BR 6 #UD 7 #NM 8 #DF a #TS b #NP c #SS d #GP e #PF 10 #MF 11 #AC 12 #MC
    13 #XM 14 #VE 15 #CP 1c #HV 1d #VC 1e #SX
""")


def apic(register: int) -> str:
    """The name of a local APIC register by its offset in the APIC page (0x300: "ICR"); "" if unknown."""
    for first, name in ((0x100, "ISR"), (0x180, "TMR"), (0x200, "IRR")):
        if first <= register < first + 0x80:
            return name
    return _APIC.get(register & ~0xF, "")


def cpuid(leaf: int) -> str:
    """What a CPUID leaf (eax) tells; "" if unknown."""
    return _CPUID.get(leaf, "")


def cr(n: int) -> str:
    """The name of a control register; "" for one that does not exist."""
    return f"CR{n}" if n in (0, 2, 3, 4, 8) else ""


def vector(n: int, is_exception: bool) -> str:
    """The name of an exception, or of an interrupt's vector, whose meaning is the guest's own."""
    if not 0 <= n < 256:
        return ""
    return _EXCEPTIONS.get(n, "") if is_exception else f"vector 0x{n:02x}"
