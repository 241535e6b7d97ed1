"""Guest-physical addresses that are the same in every PC."""

from __future__ import annotations

from .cpu import apic
from .lookup import Ranges

# QEMU's include/hw/i386/{apic,ioapic,hpet}-*.h and hw/i386 (TPM: hw/acpi/tpm.h; VT-d: hw/pci-host/q35.h), as on real
# PCs. PCIe's configuration space is left out: its place is the firmware's choice (0xb0000000, 0xe0000000 …).
_RANGES = Ranges(
    [
        (0xA0000, 0xBFFFF, "VGA memory"),
        (0xFEC00000, 0xFEC00FFF, "IOAPIC"),
        (0xFED00000, 0xFED003FF, "HPET"),
        (0xFED1C000, 0xFED1FFFF, "ICH9 RCBA"),
        (0xFED40000, 0xFED44FFF, "TPM"),
        (0xFEE00000, 0xFEE00FFF, "LAPIC"),
        (0xFEE01000, 0xFEEFFFFF, "MSI"),
        (0xFFC00000, 0xFFFFFFFF, "firmware flash"),
    ]
)
_IOAPIC = {0x00: "IOREGSEL", 0x10: "IOWIN", 0x40: "EOI"}  # arch/x86/kvm/ioapic.h


def mmio(address: int) -> str:
    """What stands at a guest-physical address of any PC ("LAPIC EOI", "HPET"); "" if that differs or is unknown."""
    name = _RANGES(address)
    if name == "LAPIC":
        return f"LAPIC {apic(address & 0xFFF)}".rstrip()
    if name == "IOAPIC":
        return f"IOAPIC {_IOAPIC.get(address & 0xFF, '')}".rstrip()
    return name
