from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.model.provenance import Origin
from kvmtop.model.snapshot import HEAD
from kvmtop.model.source import Wrapper
from kvmtop.model.vocabulary import SVM, UNKNOWN, VMX

from ..support.fake import Busy, Host


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
    host.origin, host.trouble, host.busy = Origin("elsewhere", "6.1"), "recording ended", "loading probes …"
    outer = Wrapper(Wrapper(host))
    assert (outer.origin, outer.trouble, outer.busy) == (host.origin, "recording ended", "loading probes …")
