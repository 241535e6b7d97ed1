from __future__ import annotations

import pytest

from kvmtop.model.vocabulary import ABSENT, FETCH, KINDS, LOGGED, PRESENT, RESERVED, SAMPLED, WALK, WRITE, Names
from kvmtop.reference import qemu_mtree
from kvmtop.reference.guest_symbols import Symbols
from kvmtop.reference.labels import _KINDS, TITLES, Labels

from ..support.fake import NAMES
from ..support.mtree import MTREE


@pytest.mark.parametrize(
    ("kind", "value", "extra", "text"),
    [
        ("io", 0x3F8, 0x101, "port 0x3f8 COM1 out 1 B"),
        ("io", 0xABCD, 0x400, "port 0xabcd in 4 B"),
        ("msr", 0x6E0, 1, "MSR 0x6e0 IA32_TSC_DEADLINE write"),
        ("msr", 0xDEADBEEF, 0, "MSR 0xdeadbeef read"),
        ("mmio", 0xFEE000B0, 0x401, "MMIO 0xfee000b0 LAPIC EOI write 4 B"),
        ("mmio", 0x1234000, 0xFF01, "MMIO 0x1234000 fast write"),
        ("mmio", 0x1234000, 0x800, "MMIO 0x1234000 read 8 B"),
        ("cpuid", 1, 0, "leaf 0x1 family, features"),
        ("cpuid", 0x99, 0, "leaf 0x99"),
        ("hypercall", 5, 0, "hypercall 5 KICK_CPU"),
        ("hypercall", 999, 0, "hypercall 999"),
        ("hyperv", 0x5C, 0, "Hyper-V call 0x5c POST_MESSAGE"),
        ("fault", 0xFED00000, 1, "page 0xfed00000 HPET write"),
        ("fault", 0x1000, 0, "page 0x1000 read"),
        ("fault", 0x1000, ABSENT, "page 0x1000 read, not present"),
        ("fault", 0x1000, WRITE | ABSENT, "page 0x1000 write, not present"),
        ("fault", 0x1000, FETCH | ABSENT, "page 0x1000 execute, not present"),
        ("fault", 0x1000, WRITE | PRESENT, "page 0x1000 write, write-protected"),
        ("fault", 0x1000, WRITE | PRESENT | LOGGED, "page 0x1000 write, dirty logging"),
        ("fault", 0x1000, FETCH | PRESENT, "page 0x1000 execute, not executable"),
        ("fault", 0x1000, PRESENT, "page 0x1000 read, present"),
        ("fault", 0xFEE00000, WRITE | PRESENT | RESERVED, "page 0xfee00000 LAPIC write, marked as MMIO"),
        ("fault", 0x1000, WRITE | PRESENT | WALK, "page 0x1000 write by a page walk, write-protected"),
        ("vector", 14, 3, "vector 0xe #PF"),
        ("vector", 2, 2, "vector 0x2 NMI"),
        ("vector", 0xEC, 0, "vector 0xec"),
        ("vector", 14, 0, "vector 0xe"),
        ("user", 2, 0, "KVM_EXIT_IO"),
        ("user", 0, 1, "interrupted by a signal"),
        ("user", 0, 0, "KVM_EXIT_UNKNOWN"),
        ("user", 77, 0, "KVM_EXIT_77"),
        ("vmgexit", 0x72, 0, "VMGEXIT 0x72 cpuid"),
        ("vmgexit", 0x80000001, 0, "VMGEXIT 0x80000001"),
        ("cr", 4, 1, "CR4 write"),
        ("apic", 0x300, 1, "APIC 0x300 ICR write"),
        ("rip", 0x1000, 0, "0x1000 (user)"),
        ("rip", 0x1000, SAMPLED, "0x1000 (user, sampled)"),
        ("rip", 0xFFFFFFFF81000010, 0, "0xffffffff81000010 (kernel)"),
        ("rip", 2**64 - 1, 0, "0xffffffffffffffff (kernel)"),
        ("window", 5, 0, "window 0x5"),
        ("nonsense", 5, 0, "nonsense 0x5"),
    ],
)
def test_a_key_in_words(kind: str, value: int, extra: int, text: str) -> None:
    assert Labels(NAMES).what(kind, value, extra) == text


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("", "poll", "window")])
def test_every_kind_has_a_title_and_words(kind: str) -> None:
    assert TITLES[kind]
    assert kind in _KINDS
    for value in (0, 1, 0xFFFFFFFF, 2**64 - 1):
        for extra in (0, 1, 3, 0x101, 0xFF01, 0xFFFFFFFF):
            assert Labels().what(kind, value, extra).isprintable()


def test_no_title_is_of_a_kind_that_is_not() -> None:
    assert set(TITLES) == set(KINDS) - {"", "window"}
    assert set(_KINDS) < set(KINDS)


def test_the_guests_symbols_name_its_code() -> None:
    labels = Labels(symbols=Symbols([(0xFFFFFFFF81000000, "native_halt [m]")]))
    assert labels.what("rip", 0xFFFFFFFF8100000B, 0) == "0xffffffff8100000b native_halt+0xb [m] (kernel)"


def test_qemus_map_comes_before_what_every_pc_has() -> None:
    labels = Labels(memory=qemu_mtree.MemoryMap.parse(MTREE))
    assert labels.what("io", 0x600, 0x400) == "port 0x600 acpi-tmr in 4 B"
    assert labels.what("io", 0x3F8, 0x101) == "port 0x3f8 COM1 out 1 B"  # not in the map
    assert labels.what("mmio", 0xFEE000B0, 0x401) == "MMIO 0xfee000b0 LAPIC EOI write 4 B"
    text = labels.what("mmio", 0xFEBD0004, 0x401)
    assert text.isprintable() and "virtio-blk" in text and "[bold]" in text  # markup stays text
    assert "virtio-blk" in labels.what("fault", 0xFEBD0000, 0)


def test_without_names_there_are_numbers() -> None:
    assert Labels(Names()).what("vmgexit", 0x72, 0) == "VMGEXIT 0x72"
