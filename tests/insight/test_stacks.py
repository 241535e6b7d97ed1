"""What the exits' time went to, by stacks: what is measured adds up, what is sampled is divided."""

from __future__ import annotations

import pytest

from kvmtop.insight.stacks import Spent, causes, path, spent, tree
from kvmtop.model.scope import Scope
from kvmtop.model.selection import only
from kvmtop.model.vocabulary import SVM

from ..support.fake import Host
from ..support.stacks import COMPACTION, FAULT, MMU_LOCK, RUN, USERFAULT, Seen

NPF, HLT = 0x400, 0x78
MS = 1_000_000


@pytest.fixture
def host() -> Host:
    one = Host()
    one.add(4000, "web01", 2)
    one.add(4100, "db01", 1)
    return one


@pytest.fixture
def seen(host: Host) -> Seen:
    """vCPU 0 of web01: ten page faults of 10 ms, of which 7.1 ms are asleep for userfaultfd, 0.5 ms a wait after that."""
    host.exits(4001, NPF, *[50 * MS] * 3)  # before anybody looked
    host.now += 10**9
    one = Seen(host)
    host.exits(4001, NPF, *[10 * MS] * 10, blocked=int(7.1 * MS), wait=int(0.5 * MS))
    one.slept(4001, NPF, USERFAULT, *[int(7.6 * MS)] * 10, waited=5 * MS)
    one.ran(4001, NPF, COMPACTION, 3)
    one.ran(4001, NPF, MMU_LOCK, 1)
    host.now += 10**9
    return one


def npf(host: Host, scope: Scope | None = None) -> Spent:
    (one,) = [one for one in spent(host.read(), scope or Scope()) if one.key == (SVM, NPF)]
    return one


def test_nothing_while_nobody_looks(host: Host) -> None:
    assert spent(host.read()) == []


def test_what_is_off_the_cpu_is_as_measured_and_what_is_on_it_as_sampled(host: Host, seen: Seen) -> None:
    one = npf(host)
    assert (one.name, one.exits, one.time, one.samples) == ("npf", 10, 100 * MS, 4)
    assert one.states == {"kernel": 24 * MS, "user": 0, "idle": 0, "blocked": 71 * MS, "wait": 5 * MS}
    parts = {(part.state, part.frames): (part.ns, part.times) for part in one.parts}
    assert parts == {
        ("blocked", USERFAULT): (71 * MS, 10),
        ("wait", USERFAULT): (5 * MS, 0),
        ("kernel", COMPACTION): (18 * MS, 3),
        ("kernel", MMU_LOCK): (6 * MS, 1),
    }
    assert sum(part.ns for part in one.parts) == one.time


def test_of_the_vms_at_which_somebody_looks(host: Host, seen: Seen) -> None:
    seen.pids = frozenset({4100})
    seen.tell()
    assert {one.key for one in spent(host.read(), Scope(4000))} == set()
    host.exits(4101, HLT, 9 * MS)
    (one,) = spent(host.read())
    assert (one.key, one.time) == ((SVM, HLT), 9 * MS)


def test_it_says_in_words_what_the_time_went_to(host: Host, seen: Seen) -> None:
    found = [(one.state, one.what, one.function, round(one.share, 3)) for one in causes(npf(host))]
    assert found == [
        ("blocked", "userfaultfd", "handle_userfault", 0.71),
        ("kernel", "compaction", "compact_zone", 0.18),
        ("kernel", "mmu_lock", "queued_write_lock_slowpath", 0.06),
    ]


def test_the_tree_begins_at_kvm_run_and_each_frame_has_what_it_called(host: Host, seen: Seen) -> None:
    root = tree(npf(host).parts)
    assert root.ns == 100 * MS and [one.name for one in root.called] == ["kvm_mmu_page_fault [kvm]"]
    (fault,) = root.called
    assert fault.ns == 100 * MS and fault.samples == 4 and fault.times == 14
    assert [(one.name, one.ns) for one in fault.called] == [
        ("hva_to_pfn [kvm]", 94 * MS),
        ("kvm_tdp_mmu_map [kvm]", 6 * MS),
    ]
    assert fault.state == "blocked" and fault.called[1].state == "kernel"
    userfault = fault.called[0].called[0].called[0]
    assert (userfault.name, userfault.ns) == ("handle_userfault", 76 * MS)
    assert [(one.name, one.state, one.ns) for one in userfault.called] == [
        ("(blocked)", "blocked", 71 * MS),
        ("(waits for a CPU)", "wait", 5 * MS),
    ]


def test_what_has_no_sample_or_began_before_is_told_as_such(host: Host) -> None:
    one = Seen(host)
    host.exits(4001, NPF, 10 * MS, blocked=7 * MS)
    host.exits(4002, HLT, 30 * MS)
    one.slept(4001, NPF, USERFAULT, 4 * MS)
    host.now += 10**9
    parts = {(part.state, path(part)[-2:]): part.ns for part in npf(host).parts}
    assert parts == {
        ("blocked", ("handle_userfault", "(blocked)")): 4 * MS,
        ("blocked", ("(not known)", "(blocked)")): 3 * MS,
        ("kernel", ("(no sample)",)): 3 * MS,
    }
    hlt, _ = spent(host.read())
    assert [(path(part), part.ns) for part in hlt.parts] == [(("(not known)", "(halted)"), 30 * MS)]


def test_user_space_is_apart(host: Host) -> None:
    one = Seen(host)
    host.exits(4001, 0x7B, 10 * MS, user=8 * MS)
    one.ran(4001, 0x7B, (), 3, state="user")
    one.ran(4001, 0x7B, ("tcp_sendmsg", "do_syscall_64"), 1, state="user")
    one.ran(4001, 0x7B, RUN, 1)
    host.now += 10**9
    (io,) = spent(host.read())
    assert {path(part): part.ns for part in io.parts} == {
        ("(VMM)",): 6 * MS,
        ("(VMM)", "do_syscall_64", "tcp_sendmsg"): 2 * MS,
        RUN[::-1]: 2 * MS,
    }
    assert [(one.name, one.ns) for one in tree(io.parts).called] == [("(VMM)", 8 * MS), (RUN[0], 2 * MS)]


def test_a_scope_has_its_own(host: Host, seen: Seen) -> None:
    host.exits(4101, NPF, 10 * MS)
    seen.ran(4101, NPF, FAULT, 1)
    assert npf(host).time == 110 * MS and npf(host).samples == 5
    assert npf(host, Scope(4100)).parts[0].frames == FAULT and npf(host, Scope(4100)).time == 10 * MS
    assert spent(host.read(), Scope(4000, 4002)) == []
    assert npf(host, Scope(4000, 4001)).time == 100 * MS
    (db,) = spent(only(host.read(), [4100]))
    assert (db.time, db.samples) == (10 * MS, 1)


def test_a_look_at_one_reason_says_nothing_of_others(host: Host) -> None:
    one = Seen(host, (SVM, HLT))
    host.exits(4001, NPF, 10 * MS)
    host.exits(4001, HLT, 10 * MS)
    one.tell()
    host.now += 10**9
    assert [found.key for found in spent(host.read())] == [(SVM, HLT)]
