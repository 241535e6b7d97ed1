from __future__ import annotations

import itertools

import numpy as np

from kvmtop.model.exit_stats import counts
from kvmtop.model.interval import diff
from kvmtop.model.nesting import nested, nesting, together
from kvmtop.model.vocabulary import NESTED, REFLECTED, SVM

from ..support.fake import SECOND
from ..support.intervals import MS, one

CPUID, VMRUN = 0x72, 0x80
L2, L1 = SVM | NESTED, SVM | NESTED | REFLECTED


def test_what_was_open_counts_from_the_intervals_beginning_on() -> None:
    """And not before its end is known: the hypervisor may have left its guest for good."""
    host = one(2)
    vcpu = host.vcpus[101]
    host.exits(101, CPUID, 5_000, isa=L1)
    readings = [host.read()]
    for closed, opened in ((0, 300), (500, 0), (500, 0), (700, 40)):
        host.now += SECOND
        vcpu.nested, vcpu.out = closed * MS, opened * MS
        readings.append(host.read())
    found = [nesting(diff(before, after)).tolist() for before, after in itertools.pairwise(readings)]
    assert found == [[0, 0], [200 * MS, 0], [0, 0], [200 * MS, 0]]
    assert nesting(diff(None, readings[-1])).tolist() == [700 * MS, 0]


def test_entering_is_nesting_but_not_what_it_waits_for_a_cpu() -> None:
    host = one()
    before = host.read()
    host.now += SECOND
    host.exits(101, VMRUN, 30 * MS, wait=10 * MS)
    host.exits(101, VMRUN, 5 * MS, isa=L2)  # of the guest's guest: that is a reason like any other
    host.exits(101, CPUID, 70 * MS)
    assert nesting(diff(before, host.read())).tolist() == [20 * MS]


def test_a_host_nests_once_a_guests_guest_has_left() -> None:
    host = one()
    host.exits(101, VMRUN, 1000)
    assert not nested(diff(None, host.read()))
    host.exits(101, CPUID, 1000, isa=L2)
    assert nested(diff(None, host.read()))


def test_together_each_exit_is_one_of_its_reason() -> None:
    host = one()
    host.exits(101, CPUID, 1000, 3000)
    assert together(snapshot := host.read()) is snapshot
    host.exits(101, CPUID, 9000, isa=L2)
    host.exits(101, CPUID, 500, isa=L1)
    snapshot = host.read()
    assert counts(together(snapshot)) == {(SVM, CPUID): 4}
    assert counts(snapshot) == {(SVM, CPUID): 2, (L2, CPUID): 1, (L1, CPUID): 1}
    assert np.array_equal(together(snapshot).cells["count"], snapshot.cells["count"])
