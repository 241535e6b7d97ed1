from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from kvmtop.reference import calls, cpu, mmio, msrs, ports
from kvmtop.reference.lookup import Ranges, names
from kvmtop.reference.qemu_mtree import MemoryMap

from ..support.formats import X86, parsed

MTREE = Path(__file__).parents[1] / "data" / "mtree"


# Numbers and names


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0x3F8, "COM1"),
        (0x3FF, "COM1"),
        (0x3F7, "floppy"),
        (0x2F8, "COM2"),
        (0x60, "keyboard data"),
        (0x64, "keyboard command"),
        (0x70, "CMOS RTC"),
        (0x71, "CMOS RTC"),
        (0x20, "PIC 1"),
        (0xA1, "PIC 2"),
        (0x40, "PIT"),
        (0x43, "PIT"),
        (0x80, "POST code, I/O delay"),
        (0xCF8, "PCI config address"),
        (0xCF9, "reset control"),
        (0xCFC, "PCI config data"),
        (0x1F0, "IDE primary"),
        (0x3D5, "VGA"),
        (0x402, "firmware debug"),
        (0x510, "fw_cfg"),
        (0x514, "fw_cfg DMA"),
        (0x608, "ACPI PM timer"),
        (0xB008, "ACPI PM timer"),
        (0x604, "ACPI PM"),
        (0x5658, "VMware backdoor"),
        (0xAF00, "CPU hotplug"),
        (0xE9, "Bochs debug"),
        (0xC3, "DMA controller 2"),
        (0x44, ""),
        (0x400, ""),
        (0xC000, ""),
        (0xFFFF, ""),
        (-1, ""),
        (1 << 40, ""),
    ],
)
def test_port(number: int, name: str) -> None:
    assert ports.port(number) == name


def test_serial_ports_and_disks_go_by_their_names() -> None:
    named = [{n for n in range(1 << 16) if ports.port(n).startswith(word)} for word in ("COM", "IDE")]
    assert named == [ports.SERIAL, ports.IDE]


def test_ports_do_not_overlap() -> None:
    end = -1
    for first, last, name in ports.port:
        assert end < first <= last < 1 << 16
        assert name
        end = last


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_ports_are_where_qemu_has_them(machine: str) -> None:
    found = MemoryMap.parse((MTREE / f"{machine}.flat.txt").read_text())
    qemu = [found.port(n) for n in range(1 << 16)]
    same = {
        "COM1": "serial",
        "PIT": "pit",
        "PIC 1": "pic",
        "PIC 2": "pic",
        "PIC ELCR": "elcr",
        "LPT1": "parallel",
        "keyboard data": "i8042-data",
        "keyboard command": "i8042-cmd",
        "speaker, NMI status": "pcspk",
        "fw_cfg": "fwcfg",
        "fw_cfg DMA": "fwcfg.dma",
        "ACPI PM timer": "acpi-tmr",
        "A20, fast reset": "port92",
        "APM, SMI": "apm-io",
        "kvmvapic": "kvmvapic",
        "VMware backdoor": "vmport",
        "Bochs VBE": "vbe",
        "POST code, I/O delay": "ioport80",
        "PCI config data": "pci-conf-data",
    }
    seen = {ports.port(n): qemu[n] for n in range(0xB000) if ports.port(n) in same and qemu[n]}
    assert seen == same
    hotplug = {ports.port(n) for n in range(1 << 16) if qemu[n] in ("acpi-cpu-hotplug", "acpi-pci-hotplug")}
    assert {"CPU hotplug", "PCI hotplug"} <= hotplug
    for device, name in {
        "vga": "VGA",
        "dma-chan": "DMA",
        "dma-cont": "DMA",
        "dma-page": "DMA",
        "rtc": "CMOS",
        "rtc-index": "CMOS",
    }.items():
        where = [n for n in range(1 << 16) if qemu[n] == device]
        assert where
        assert all(ports.port(n).startswith(name) for n in where)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        (0x10, "IA32_TSC"),
        (0x11, "KVM_WALL_CLOCK"),
        (0x12, "KVM_SYSTEM_TIME"),
        (0x1B, "IA32_APICBASE"),
        (0x3B, "IA32_TSC_ADJUST"),
        (0x48, "IA32_SPEC_CTRL"),
        (0x49, "IA32_PRED_CMD"),
        (0x6E0, "IA32_TSC_DEADLINE"),
        (0x802, "X2APIC_ID"),
        (0x808, "X2APIC_TASKPRI"),
        (0x80B, "X2APIC_EOI"),
        (0x80F, "X2APIC_SPIV"),
        (0x830, "X2APIC_ICR"),
        (0x832, "X2APIC_LVTT"),
        (0x838, "X2APIC_TMICT"),
        (0x83F, "X2APIC_SELF_IPI"),
        (0x817, "X2APIC_ISR"),
        (0x831, ""),
        (0x80E, ""),
        (0x8FF, ""),
        (0x800, ""),
        (0xC1, "ARCH_PERFMON_PERFCTR0"),
        (0x187, "ARCH_PERFMON_EVENTSEL1"),
        (0x38F, "CORE_PERF_GLOBAL_CTRL"),
        (0x200, "MTRRphysBase0"),
        (0x203, "MTRRphysMask1"),
        (0x2FF, "MTRRdefType"),
        (0x277, "IA32_CR_PAT"),
        (0x280, "IA32_MC0_CTL2"),
        (0x400, "IA32_MC0_CTL"),
        (0x401, "IA32_MC0_STATUS"),
        (0x47F, "IA32_MC31_MISC"),
        (0x480, "IA32_VMX_BASIC"),
        (0x40000000, "HV_X64_MSR_GUEST_OS_ID"),
        (0x40000070, "HV_X64_MSR_EOI"),
        (0x4000009F, "HV_X64_MSR_SINT15"),
        (0x400000B1, "HV_X64_MSR_STIMER0_COUNT"),
        (0x4B564D01, "KVM_SYSTEM_TIME_NEW"),
        (0x4B564D05, "KVM_POLL_CONTROL"),
        (0x4B564D08, "KVM_MIGRATION_CONTROL"),
        (0x4B564D09, ""),
        (0xC0000080, "EFER"),
        (0xC0000103, "TSC_AUX"),
        (0xC0010015, "K7_HWCR"),
        (0xC0010117, "VM_HSAVE_PA"),
        (0xC0010130, "AMD64_SEV_ES_GHCB"),
        (0xC0010200, "F15H_PERF_CTL0"),
        (0xC001020B, "F15H_PERF_CTR5"),
        (0xC0011029, "AMD64_DE_CFG"),
        (0xC0002011, "AMD64_SMCA_MC1_STATUS"),
        (0xC0002007, ""),
        (0xFFFFFFFF, ""),
        (-1, ""),
    ],
)
def test_msr(index: int, name: str) -> None:
    assert msrs.msr(index) == name


def test_msr_table_is_sound() -> None:
    assert len(msrs._MSRS) > 300
    for index, name in msrs._MSRS.items():
        assert re.fullmatch(r"[A-Za-z0-9_]+", name)
        assert msrs.msr(index) == name  # no row hides it
    assert len(set(msrs._MSRS.values())) == len(msrs._MSRS)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (0xFEE000B0, "LAPIC EOI"),
        (0xFEE00300, "LAPIC ICR"),
        (0xFEE00310, "LAPIC ICR2"),
        (0xFEE00380, "LAPIC TMICT"),
        (0xFEE00000, "LAPIC"),
        (0xFEE01000, "MSI"),
        (0xFEC00000, "IOAPIC IOREGSEL"),
        (0xFEC00010, "IOAPIC IOWIN"),
        (0xFEC00020, "IOAPIC"),
        (0xFED000F0, "HPET"),
        (0xFED00400, ""),
        (0xFED40000, "TPM"),
        (0xA0000, "VGA memory"),
        (0xBFFFF, "VGA memory"),
        (0xC0000, ""),
        (0xFFFFFFF0, "firmware flash"),
        (1 << 32, ""),
        (0, ""),
        (0xB0000000, ""),
        ((1 << 64) - 1, ""),
        (-1, ""),
    ],
)
def test_mmio(address: int, name: str) -> None:
    assert mmio.mmio(address) == name


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_memory_is_where_qemu_has_it(machine: str) -> None:
    qemu = MemoryMap.parse((MTREE / f"{machine}.flat.txt").read_text())
    for address, region in {
        0xFEC00000: "ioapic",
        0xFED00000: "hpet",
        0xFEE00000: "apic-msi",
        0xA0000: "vga-lowmem",
        0xFFFC0000: "pc.bios",
    }.items():
        assert qemu.name(address) == region
        assert mmio.mmio(address)


def test_userspace_is_what_the_kernel_calls_it() -> None:
    for kernel in X86:
        (table,) = parsed(kernel, "kvm_userspace_exit").tables
        named = {code: name for code, name in table.names.items() if code <= 41}
        assert len(named) > 20
        for code, name in named.items():
            assert f"KVM_EXIT_{calls.userspace(code)}" == name
    assert [calls.userspace(n) for n in (6, 28, 39, 40, 41)] == ["MMIO", "ARM_NISV", "MEMORY_FAULT", "TDX", "ARM_SEA"]
    assert calls.userspace(42) == calls.userspace(-1) == calls.userspace(1 << 31) == ""


def test_calls() -> None:
    assert [calls.hypercall(n) for n in range(14)] == [
        "",
        "VAPIC_POLL_IRQ",
        "MMU_OP",
        "FEATURES",
        "PPC_MAP_MAGIC_PAGE",
        "KICK_CPU",
        "MIPS_GET_CLOCK_FREQ",
        "MIPS_EXIT_VM",
        "MIPS_CONSOLE_OUTPUT",
        "CLOCK_PAIRING",
        "SEND_IPI",
        "SCHED_YIELD",
        "MAP_GPA_RANGE",
        "",
    ]
    assert calls.hyperv(0xB) == "SEND_IPI"
    assert calls.hyperv(0x2) == "FLUSH_VIRTUAL_ADDRESS_SPACE"
    assert calls.hyperv(0x15) == "SEND_IPI_EX"
    assert calls.hyperv(0x5D) == "SIGNAL_EVENT"
    assert calls.hyperv(0) == calls.hyperv(0xFFFF) == ""


def test_cpu() -> None:
    assert [cpu.apic(r) for r in (0x20, 0xB0, 0x170, 0x180, 0x270, 0x300, 0x320, 0x3F0)] == [
        "ID",
        "EOI",
        "ISR",
        "TMR",
        "IRR",
        "ICR",
        "LVTT",
        "SELF_IPI",
    ]
    assert cpu.apic(0x304) == "ICR"  # a byte within the register
    assert cpu.apic(0) == cpu.apic(0x500) == cpu.apic(-1) == cpu.apic(1 << 20) == ""
    assert [cpu.cr(n) for n in range(-1, 10)] == ["", "CR0", "", "CR2", "CR3", "CR4", "", "", "", "CR8", ""]
    assert [cpu.vector(n, True) for n in (0, 1, 2, 3, 6, 13, 14, 15, 17, 18, 29)] == [
        "#DE",
        "#DB",
        "NMI",
        "#BP",
        "#UD",
        "#GP",
        "#PF",
        "",
        "#AC",
        "#MC",
        "#VC",
    ]
    assert cpu.vector(0xEC, False) == "vector 0xec"
    assert cpu.vector(14, False) == "vector 0x0e"
    assert cpu.vector(256, False) == cpu.vector(-1, True) == cpu.vector(256, True) == ""
    assert cpu.cpuid(0x40000000) == "hypervisor vendor"
    assert cpu.cpuid(0xB) == "CPU topology"
    assert cpu.cpuid(0x80000007) == "power management, invariant TSC"
    assert cpu.cpuid(0x40000011) == cpu.cpuid(0x2FFFFFFF) == ""
    assert all(len(text) < 40 for text in cpu._CPUID.values())


def test_tables() -> None:
    assert names("10 A ff B") == {0x10: "A", 0xFF: "B"}
    with pytest.raises(ValueError, match="shorter"):
        names("10 A ff")
    ranges = Ranges([(5, 9, "x"), (1, 2, "y")])
    assert [ranges(n) for n in range(11)] == ["", "y", "y", "", "", *"xxxxx", ""]


# QEMU's map


def maps(machine: str) -> tuple[MemoryMap, MemoryMap]:
    """Of the same machine, from the flat view and from the tree."""
    flat, tree = (MemoryMap.parse((MTREE / f"{machine}.{kind}.txt").read_text()) for kind in ("flat", "tree"))
    return flat, tree


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_devices(machine: str) -> None:
    for found in maps(machine):
        assert found.name(0xFE003000) == "virtio-pci-notify-virtio-blk"
        assert found.name(0xFE007FFF) == "virtio-pci-notify-virtio-net"
        assert found.name(0xFEC00010) == "ioapic"
        assert found.name(0xFED000F0) == "hpet"
        assert found.name(0x1000) == "pc.ram"
        assert found.name(0xCB000) == "pc.ram"  # shadowed by the firmware
        assert found.name(0xFFFFFFF0) == "pc.bios"
        assert found.name(0x80000000) == found.name(1 << 40) == found.name(-1) == found.name(1 << 64) == ""
        assert found.port(0x608) == "acpi-tmr"
        assert found.port(0x3F8) == "serial"
        assert found.port(0x44) == found.port(0xFFFF) == ""
        assert found.port(0xC000) in ("virtio-pci", "piix-bmdma", "pm-smbus")


@pytest.mark.parametrize("machine", ["q35", "pc"])
def test_tree_and_flat_view_agree(machine: str) -> None:
    """QEMU has resolved priorities and aliases in the flat view; the tree must give the same."""
    flat, tree = maps(machine)
    containers = {"ich9-pm", "piix4-pm", "virtio-pci", "vga.mmio", "virtio-blk-pci-msix", "virtio-net-pci-msix"}
    edges = {
        int(edge, 16) + step
        for text in MTREE.glob(f"{machine}.*.txt")
        for step in (-1, 0, 1)
        for edge in re.findall(r"[0-9a-f]{16}", text.read_text())
    }
    compared = 0
    for address in edges:
        if address >= 0:
            assert tree.name(address) in (flat.name(address), *(containers if not flat.name(address) else ()))
            compared += bool(flat.name(address))
    assert compared > 50
    for number in range(1 << 16):
        assert tree.port(number) in (flat.port(number), *(containers if not flat.port(number) else ()))


HEAD = 'FlatView #0\n AS "memory", root: system\n Root memory region: system\n'
LINE = "  00000000fe000000-00000000fe000fff (prio 0, i/o): {}\n"


@pytest.mark.parametrize(
    ("printed", "name"),
    [
        ("vga", "vga"),
        ("pc.ram @0000000000100000 KVM", "pc.ram"),
        ("pc.ram KVM", "pc.ram"),
        ("/objects/mem 0 @0000000000100000", "/objects/mem 0"),
        ("vga owner:{obj path=/machine/vga}", "vga"),
        ("vga parent:{obj path=/machine}", "vga"),
        ("a\x1b[31mb\u202ec", "a [31mb c"),
        ("x" * 390, "x" * 200),
        ("x" * 500, ""),
        ("vga [disabled]", ""),
        ("system", ""),
        ("\x07", ""),
    ],
)
def test_names_are_clean(printed: str, name: str) -> None:
    assert MemoryMap.parse(HEAD + LINE.format(printed)).name(0xFE000010) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "(qemu) ",
        "unknown command: 'info mtree -f'",
        HEAD,
        LINE.format("vga"),
        "memory-region: system\n" + LINE.format("vga"),
        HEAD + "  fe000000-fe00000g (prio 0, i/o): x\n",
        HEAD + "  " + "0" * 17 + "-" + "f" * 17 + " (prio 0, i/o): x\n",
        'FlatView #0\n AS "I/O", root: io\n' + LINE.format("vga"),
        HEAD + "FlatView #1\n" + LINE.format("vga"),
        "address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): alias loop @loop 0000000000000000-ffffffffffffffff\n",
    ],
)
def test_nothing_to_read(text: str) -> None:
    assert MemoryMap.parse(text).name(0xFE000010) in ("", "loop")


def test_carriage_returns_of_a_terminal() -> None:
    assert MemoryMap.parse((HEAD + LINE.format("vga")).replace("\n", "\r\n")).name(0xFE000000) == "vga"


def test_priority_beats_size() -> None:
    text = (
        "address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n"
        "    0000000000000000-0000000000000fff (prio 1, i/o): below\n"
        "    0000000000000000-00000000ffffffff (prio 2, i/o): above\n"
        "      0000000000000100-00000000000001ff (prio -5, i/o): within\n"
        "    0000000000000200-00000000000002ff (prio 9, i/o): off [disabled]\n"
        "      0000000000000200-00000000000002ff (prio 9, i/o): off too\n"
    )
    found = MemoryMap.parse(text)
    assert [found.name(a) for a in (0, 0x100, 0x200, 0x1000, 1 << 32)] == ["above", "within", "above", "above", ""]


def test_a_ring_of_aliases_ends() -> None:
    whole = "0000000000000000-ffffffffffffffff"
    ring = "".join(f"    {whole} (prio {n}, i/o): alias a{n} @ring {whole}\n" for n in range(100))
    text = f"address-space: memory\n  {whole} (prio 0, i/o): alias x @ring {whole}\n\nmemory-region: ring\n  {whole} (prio 0, i/o): pci\n{ring}"
    start = time.process_time()
    assert MemoryMap.parse(text).name(0) == ""
    assert time.process_time() - start < 5


def test_a_flood_is_read_up_to_a_bound() -> None:
    text = HEAD + "".join(f"  {n:016x}-{n:016x} (prio 0, i/o): r{n}\n" for n in range(0, 100_000))
    start = time.process_time()
    found = MemoryMap.parse(text)
    assert found.name(7) == "r7"
    assert found.name(99_999) == ""  # beyond the bound
    deep = "address-space: memory\n" + "".join(
        f"{' ' * n}{0:016x}-{9:016x} (prio 0, i/o): d{n}\n" for n in range(1, 200)
    )
    assert MemoryMap.parse(deep).name(5) in ("", *(f"d{n}" for n in range(200)))
    assert time.process_time() - start < 10


def test_damage_never_raises() -> None:
    text = (MTREE / "q35.tree.txt").read_text()
    chance = random.Random(1)
    for _ in range(60):
        cut = list(text)
        for _ in range(40):
            cut[chance.randrange(len(cut))] = chance.choice("\n \x1b@-()0fz:")
        found = MemoryMap.parse("".join(cut))
        for address in (0, 0xFE003000, 0xFEE00000, 1 << 63):
            assert isinstance(found.name(address), str)
            assert isinstance(found.port(address), str)
