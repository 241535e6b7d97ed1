"""I/O ports of a PC, as QEMU and other VMMs give it to a guest."""

from __future__ import annotations

from .lookup import Ranges

SERIAL = frozenset(first + n for first in (0x2E8, 0x2F8, 0x3E8, 0x3F8) for n in range(8))
IDE = frozenset([*range(0x170, 0x178), 0x376, *range(0x1F0, 0x1F8), 0x3F6])

# The PC's own: Ralf Brown's PORTS.LST and Linux's arch/x86/kernel/setup.c (standard_io_resources). QEMU's: fw_cfg in
# docs/specs/fw_cfg.rst; hotplug in docs/specs/acpi_{cpu,mem,pci}_hotplug.rst; power management at 0x600 by SeaBIOS's
# src/config.h (PORT_ACPI_PM_BASE) and hw/acpi/{piix4,ich9}.c, at 0xb000 by OVMF on the pc machine; 0x5658 in
# hw/i386/vmport.c; 0x505 in hw/misc/pvpanic-isa.c; 0x7e in hw/i386/kvmvapic.c.
port = Ranges(
    [
        (0x00, 0x0F, "DMA controller 1"),
        (0x20, 0x21, "PIC 1"),
        (0x2E, 0x2F, "Super I/O"),
        (0x40, 0x43, "PIT"),
        (0x4E, 0x4F, "Super I/O 2"),
        (0x60, 0x60, "keyboard data"),
        (0x61, 0x61, "speaker, NMI status"),
        (0x62, 0x62, "ACPI EC data"),
        (0x64, 0x64, "keyboard command"),
        (0x66, 0x66, "ACPI EC command"),
        (0x70, 0x71, "CMOS RTC"),
        (0x72, 0x73, "CMOS, extended"),
        (0x7E, 0x7F, "kvmvapic"),
        (0x80, 0x80, "POST code, I/O delay"),
        (0x81, 0x8F, "DMA page"),
        (0x92, 0x92, "A20, fast reset"),
        (0xA0, 0xA1, "PIC 2"),
        (0xB2, 0xB3, "APM, SMI"),
        (0xC0, 0xDF, "DMA controller 2"),
        (0xE9, 0xE9, "Bochs debug"),
        (0xED, 0xED, "I/O delay"),
        (0xF0, 0xF1, "FPU error"),
        (0xF4, 0xF4, "isa-debug-exit"),
        (0x170, 0x177, "IDE secondary"),
        (0x1CE, 0x1D1, "Bochs VBE"),
        (0x1F0, 0x1F7, "IDE primary"),
        (0x200, 0x207, "game port"),
        (0x278, 0x27F, "LPT2"),
        (0x2E8, 0x2EF, "COM4"),
        (0x2F8, 0x2FF, "COM2"),
        (0x376, 0x376, "IDE secondary control"),
        (0x378, 0x37F, "LPT1"),
        (0x3B0, 0x3BB, "VGA, mono"),
        (0x3C0, 0x3DF, "VGA"),
        (0x3E8, 0x3EF, "COM3"),
        (0x3F0, 0x3F5, "floppy"),
        (0x3F6, 0x3F6, "IDE primary control"),
        (0x3F7, 0x3F7, "floppy"),
        (0x3F8, 0x3FF, "COM1"),
        (0x402, 0x402, "firmware debug"),
        (0x4D0, 0x4D1, "PIC ELCR"),
        (0x505, 0x505, "pvpanic"),
        (0x510, 0x511, "fw_cfg"),
        (0x514, 0x51B, "fw_cfg DMA"),
        (0x600, 0x607, "ACPI PM"),
        (0x608, 0x60B, "ACPI PM timer"),
        (0x60C, 0x67F, "ACPI PM"),
        (0xA00, 0xA17, "memory hotplug"),
        (0xCC0, 0xCD7, "PCI hotplug"),
        (0xCD8, 0xCE3, "CPU hotplug"),
        (0xCF8, 0xCF8, "PCI config address"),
        (0xCF9, 0xCF9, "reset control"),
        (0xCFC, 0xCFF, "PCI config data"),
        (0x5658, 0x5659, "VMware backdoor"),
        (0xAE00, 0xAE17, "PCI hotplug"),
        (0xAF00, 0xAF1F, "CPU hotplug"),
        (0xAFE0, 0xAFE3, "ACPI GPE"),
        (0xB000, 0xB007, "ACPI PM"),
        (0xB008, 0xB00B, "ACPI PM timer"),
    ]
)
