"""Why KVM does without APICv or AVIC: its reasons (enum kvm_apicv_inhibit in arch/x86/include/asm/kvm_host.h, whose
comments say more), and what to try."""

from __future__ import annotations

from collections.abc import Sequence

_OFF = ("as for all VMs of this host", "load kvm_amd with avic=1 or kvm_intel with enable_apicv=1, if the CPU has it")
INHIBITS = {  # without APICV_INHIBIT_REASON_; none: nothing to try
    "DISABLE": _OFF,
    "DISABLED": _OFF,  # as later kernels call it
    "ABSENT": ("the VM has no APIC in the kernel", "kernel_irqchip=on or split"),
    "HYPERV": ("the guest uses Hyper-V's AutoEOI", "-cpu …,hv-avic=on, which advises it not to"),
    "BLOCKIRQ": ("a debugger holds its interrupts back", ""),
    "NESTED": ("a vCPU runs guests of its own", ""),
    "IRQWIN": ("the PIC is about to interrupt a vCPU, which AVIC cannot do", ""),
    "PIT_REINJ": ("PIT reinjection", "kernel_irqchip=split or -global kvm-pit.lost_tick_policy=discard"),
    "X2APIC": ("the guest uses x2APIC, which this CPU's AVIC cannot", "-cpu …,-x2apic"),
    "SEV": ("the guest is encrypted (SEV)", ""),
    "APIC_ID_MODIFIED": ("the guest has changed an APIC ID", ""),
    "APIC_BASE_MODIFIED": ("the guest has moved its APIC's registers", ""),
    "PHYSICAL_ID_ALIASED": ("two vCPUs have one APIC ID", "fewer than 256 vCPUs, or x2APIC"),
    "LOGICAL_ID_ALIASED": ("two vCPUs have one logical APIC ID", ""),
    "PHYSICAL_ID_TOO_BIG": ("a vCPU's APIC ID is too big for AVIC", "fewer vCPUs"),
}


def why(inhibits: Sequence[str]) -> str:
    """In words; names that nobody here knows as they are."""
    return ", ".join(dict.fromkeys(INHIBITS.get(name, (name, ""))[0] for name in _decisive(inhibits)))


def advice(inhibits: Sequence[str]) -> str:
    """What to try, empty where nobody here knows."""
    found = (INHIBITS.get(name, ("", ""))[1] for name in _decisive(inhibits))
    return "; ".join(dict.fromkeys(filter(None, found)))


def _decisive(inhibits: Sequence[str]) -> Sequence[str]:
    """Where KVM was loaded without, it keeps no account of others (kvm_set_or_clear_apicv_inhibit in x86.c)."""
    return [name for name in inhibits if INHIBITS.get(name) == _OFF] or inhibits
