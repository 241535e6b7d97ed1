from __future__ import annotations

import pytest

from kvmtop.model.vocabulary import NESTED, REFLECTED, SVM, UNKNOWN, VMX, Names, isa_name

from ..support.fake import NAMES


@pytest.mark.parametrize(("isa", "name"), [(VMX, "VMX"), (SVM, "SVM"), (UNKNOWN, "–"), (7, "–")])
def test_isa_name(isa: int, name: str) -> None:
    assert isa_name(isa) == name


@pytest.mark.parametrize(
    ("isa", "code", "name"),
    [
        (SVM, 0x78, "hlt"),
        (SVM, 0x0A, "0x00a"),
        (SVM, 0x80000011, "0x80000011"),
        (SVM, 0xFFFFFFFF, "0xffffffff"),
        (VMX, 12, "HLT"),
        (VMX, 0, "EXCEPTION_NMI"),
        (VMX, 77, "77"),
        (VMX, 12 | 1 << 31, "HLT|FAILED_VMENTRY"),
        (VMX, 12 | 1 << 27, "HLT|ENCLAVE_MODE"),
        (VMX, 77 | 1 << 20 | 1 << 26, "77|bit 20|BUS_LOCK"),
        (VMX, 0xFFFFFFFF, "0xffffffff"),
        (UNKNOWN, 96, "96"),
        (3, 96, "96"),
    ],
)
def test_name(isa: int, code: int, name: str) -> None:
    assert NAMES.name(isa, code) == name


def test_flags_are_called_as_the_kernel_calls_them() -> None:
    assert Names({}, {1 << 26: "OF_THE_KERNEL"}).name(VMX, 1 << 26 | 3) == "3|OF_THE_KERNEL"


def test_a_nested_guests_reason_says_whose_it_is() -> None:
    names = Names({SVM: {0x72: "cpuid"}, VMX: {10: "CPUID"}}, {1 << 31: "FAILED_VMENTRY"})
    assert names.name(SVM | NESTED, 0x72) == "cpuid (L2)"
    assert names.name(SVM | NESTED | REFLECTED, 0x72) == "cpuid (L2→L1)"
    assert names.name(VMX | NESTED, 10 | 1 << 31) == "CPUID|FAILED_VMENTRY (L2)"
    assert names.name(SVM | NESTED, 0x123) == "0x123 (L2)"
    assert names.name(SVM, 0x72) == "cpuid"
    assert isa_name(SVM | NESTED | REFLECTED) == "SVM" and isa_name(NESTED) == "–"
