from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.insight.caveats import caveats, dropped, silence
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import DetailRequest, Vm

from ..support.fake import SECOND, Host
from ..support.intervals import one


def quiet(seconds: float, userspace: int = 0, vms: int = 0, ended: int = 0) -> Snapshot:
    host = Host()
    host.now += int(seconds * SECOND)
    host.counters["userspace"] = userspace
    host.vms = {pid: Vm(pid, "vm", ended=pid < ended) for pid in range(vms + ended)}
    return host.read()


@pytest.mark.parametrize(
    ("snapshot", "words"),
    [
        (quiet(4), "no VM runs here"),
        (quiet(4, ended=2), "no VM runs here"),
        (quiet(4, vms=1), "1 VM here, but "),
        (quiet(4, vms=2, ended=1), "2 VMs here, but "),
        (quiet(4, userspace=12, vms=1), "12 exits to user space seen"),
    ],
)
def test_silence(snapshot: Snapshot, words: str) -> None:
    said = silence(snapshot)
    assert said is not None
    assert words in said
    assert "VMs here" not in said or " its " not in said  # of theirs
    assert "\n" not in said


@pytest.mark.parametrize("snapshot", [quiet(0), quiet(2.9), quiet(2.9, userspace=5, vms=2)])
def test_too_early_to_say(snapshot: Snapshot) -> None:
    assert silence(snapshot) is None


def test_a_vcpu_that_is_known_to_be_halted_has_not_been_seen_to_exit() -> None:
    host = one()
    host.turn(101, "idle")
    host.counters["userspace"], host.now = 12, host.now + 4 * SECOND
    assert "emits no kvm_exit" in str(silence(host.read()))
    host.leave(101, 0x78)
    assert silence(host.read()) is None


def test_no_silence() -> None:
    host = one()
    host.now += 100 * SECOND
    assert silence(host.read()) is None


def test_what_was_not_counted_or_did_not_pair() -> None:
    host = Host()
    assert caveats(host.read()) == ""
    host.counters.update(lost=4, unpaired=5, overwritten=6, ended_threads=2)
    assert caveats(host.read()) == (
        "since the start: 4 exits lost (a map was full), 5 entries without an exit, 6 exits without an entry, 2 vCPU"
        " threads ended"
    )
    host.counters.update(lost=1, unpaired=1, overwritten=1, ended_threads=1)
    assert caveats(host.read()) == (
        "since the start: 1 exit lost (a map was full), 1 entry without an exit, 1 exit without an entry, 1 vCPU"
        " thread ended"
    )


def test_dropped_in_words() -> None:
    host = Host()
    host.look(DetailRequest(frozenset({"io"})))
    empty = host.read().details
    assert empty is not None and dropped(empty) == ""
    text = dropped(replace(empty, dropped={"rip": 12, "io": 5, "window": 9}, undelivered=3))
    assert text == (
        "5 I/O ports events of keys for which there was no room, 12 guest code events of keys for which there was no"
        " room, 3 more slow exits are not in the list: they came faster than they could be read (the counts have them)"
    )
    assert dropped(replace(empty, undelivered=1)).startswith("1 more slow exit is not")
