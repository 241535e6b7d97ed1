from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.model.provenance import Origin
from kvmtop.model.snapshot import HEAD, SVM, UNKNOWN, VMX, Names
from kvmtop.model.source import Wrapper

from ..support.fake import NAMES, Busy, Host


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


@pytest.mark.parametrize("isa", [UNKNOWN, VMX, SVM])
def test_isa_is_that_of_the_exits(isa: int) -> None:
    host = Host(isa=isa)
    assert host.read().isa == UNKNOWN
    host.add(1, "a")
    assert host.read().isa == isa  # an open exit tells it, too
    host.exits(2, 12, 5)
    assert host.read().isa == isa


def test_heads_are_the_cells_without_histograms() -> None:
    snapshot = Busy(2, 2).read()
    for cells in (snapshot.cells, snapshot.cells[::2], snapshot.cells[:0]):
        heads = replace(snapshot, cells=cells).heads
        assert heads.flags.c_contiguous and heads.dtype == HEAD
        for name in HEAD.names or ():
            assert heads[name].tolist() == cells[name].tolist()


def test_reasons_of_the_cells() -> None:
    snapshot = Busy(2, 2).read()
    keys, column = snapshot.reasons
    assert keys.tolist() == sorted({int(c["isa"]) << 32 | int(c["reason"]) for c in snapshot.cells})
    assert keys[column].tolist() == [int(c["isa"]) << 32 | int(c["reason"]) for c in snapshot.cells]


def test_a_wrapper_tells_whose_figures_they_are_and_what_failed() -> None:
    """Whoever shows a Source need not know what it is made of."""
    host = Host()
    host.origin, host.trouble = Origin("elsewhere", "6.1"), "recording ended"
    outer = Wrapper(Wrapper(host))
    assert (outer.origin, outer.trouble) == (host.origin, "recording ended")
