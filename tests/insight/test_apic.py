"""Whether a VM's APIC is accelerated, how many exits are for it, and from when on that is worth a sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.insight.apic import apic_exits, verdict
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.apic import Apic
from kvmtop.model.interval import Interval
from kvmtop.model.scope import Scope
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import SVM, VMX, DetailRequest
from kvmtop.reference import apicv
from kvmtop.tables.lower_pane import brief, row_lines

from ..support.fake import SECOND, Host
from .test_findings import Run

MSR, CPUID, AVIC = 0x7C, 0x72, 0x401
PIT = Apic({100: (), 200: ("PIT_REINJ",)})
EOI, ICR, TPR, TIMER = 0xB0, 0x300, 0x80, 0x380
LOOK = DetailRequest(frozenset({"apic"}))


def interval(run: Run) -> Interval:
    run.host.now += SECOND
    return run.session.add(run.host.read())


@pytest.fixture
def run() -> Run:
    run = Run()
    run.host.apic = PIT
    return run


def test_the_verdict(run: Run) -> None:
    run.host.exits(101, MSR, 2_000)
    found = interval(run)
    on, off = verdict(found, 100), verdict(found, 200)
    assert (on.on, on.words, on.advice) == (True, "AVIC is on", "")
    assert (off.on, off.words) == (False, "AVIC is off: PIT reinjection")
    assert off.advice == "kernel_irqchip=split or -global kvm-pit.lost_tick_policy=discard"
    unknown = verdict(found, 300)
    assert (unknown.on, unknown.words) == (None, "AVIC: – (not in recordings)")


def test_how_the_vendors_call_it() -> None:
    for isa, what in ((VMX, "APICv"), (SVM, "AVIC")):
        run = Run(isa)
        run.host.apic = PIT
        assert verdict(interval(run), 100).words == f"{what} is on"
    assert verdict(Session().add(Host().read()), 100).what == "APICv or AVIC"  # no exit yet


@pytest.mark.parametrize(
    ("inhibits", "why", "advice"),
    [
        (("PIT_REINJ", "HYPERV"), "PIT reinjection, the guest uses Hyper-V's AutoEOI", "discard; -cpu …,hv-avic=on"),
        (("DISABLE", "ABSENT"), "as for all VMs of this host", "load kvm_amd with avic=1"),
        (("ABSENT", "DISABLED"), "as for all VMs of this host", "load kvm_amd with avic=1"),
        (("SOMETHING_NEW", "bit 40"), "SOMETHING_NEW, bit 40", ""),
        ((), "", ""),
    ],
)
def test_the_reasons_in_words(inhibits: tuple[str, ...], why: str, advice: str) -> None:
    assert apicv.why(inhibits) == why
    assert advice in apicv.advice(inhibits) and bool(advice) == bool(apicv.advice(inhibits))


def test_every_reason_of_6_12_has_words() -> None:
    names = "DISABLED HYPERV ABSENT BLOCKIRQ PHYSICAL_ID_ALIASED APIC_ID_MODIFIED APIC_BASE_MODIFIED NESTED IRQWIN"
    for name in [*names.split(), "PIT_REINJ", "SEV", "LOGICAL_ID_ALIASED"]:
        assert apicv.why([name]) != name


def test_exits_by_the_registers_that_are_looked_at(run: Run) -> None:
    run.host.look(LOOK)
    run.session.add(run.host.read())
    run.host.exits(201, MSR, *[2_000] * 500)
    for register, times in ((EOI, 100), (ICR, 40), (TPR, 3), (TIMER, 200)):
        run.host.touch(201, "apic", register, 1, *[2_000] * times)
    found = apic_exits(interval(run))
    assert (found[200].rate, found[200].what, found[200].whole) == (143, "for EOI, ICR or TPR", True)
    assert found[100].rate == 0 and set(found) == {100, 200}


@pytest.mark.parametrize(
    "look", [DetailRequest(frozenset({"apic"}), only=(SVM, MSR)), DetailRequest(frozenset({"msr"}))]
)
def test_exits_of_which_there_may_be_more(run: Run, look: DetailRequest) -> None:
    run.host.look(look)
    run.session.add(run.host.read())
    run.host.touch(201, *(("apic", EOI) if "apic" in look.kinds else ("msr", 0x80B)), 1, *[2_000] * 7)
    run.host.touch(201, "msr", 0x838, 1, *[2_000] * 9)  # the timer
    found = apic_exits(interval(run))[200]
    assert (found.rate, found.whole) == (7, False)


def test_of_a_vm_at_which_nobody_looks_by_their_reasons(run: Run) -> None:
    run.host.look(replace(LOOK, pids=frozenset({200})))
    run.session.add(run.host.read())
    for tid in (101, 201):
        run.host.exits(tid, AVIC, 2_000)
        run.host.touch(tid, "apic", EOI, 1, *[2_000] * 7)
    found = apic_exits(interval(run))
    assert {pid: (one.rate, one.what) for pid, one in found.items()} == {
        100: (1, "APIC exits"),
        200: (7, "for EOI, ICR or TPR"),
    }


def test_exits_by_their_reasons_where_nobody_looks() -> None:
    run = Run(VMX)
    assert apic_exits(interval(run)) == {}
    for code in (43, 44, 45, 56, 44 | 1 << 31, 30):
        run.host.exits(101, code, 2_000)
    found = apic_exits(interval(run))
    assert {pid: (one.rate, one.what, one.whole) for pid, one in found.items()} == {100: (5, "APIC exits", False)}
    run.host.look(LOOK)
    run.session.add(run.host.read())
    run.host.exits(101, 43, 2_000)  # of no register
    run.host.exits(101, 44, 2_000)
    run.host.touch(101, "apic", EOI, 1, 2_000)
    assert apic_exits(interval(run))[100].rate == 2


def test_a_finding_from_a_hundred_a_second_and_a_tenth_on(run: Run) -> None:
    run.host.look(LOOK)
    run.session.add(run.host.read())
    for times, others, ns, there in (
        (99, 0, 600_000, False),
        (100, 900, 600_000, True),
        (100, 901, 600_000, False),
        (4100, 1200, 12_000, False),  # 4.9 % of a vCPU's time
        (4100, 1200, 13_000, True),
    ):
        for tid in (101, 201):
            run.host.exits(tid, MSR, *[ns] * times)
            run.host.exits(tid, CPUID, *[2_000] * others)
            run.host.touch(tid, "apic", EOI, 1, *[ns] * times)
        found = run.second()
        assert len(found) == there, (times, others)
    assert found[0].text == (
        "AVIC is off for db: PIT reinjection; 4.10k of 5.30k exits/s are for EOI, ICR or TPR; try"
        " kernel_irqchip=split or -global kvm-pit.lost_tick_policy=discard"
    )
    assert (found[0].scope, found[0].short) == (Scope(200), "db: AVIC is off")
    run.host.apic = Apic({}, "the kernel is locked down")
    run.host.exits(201, MSR, *[2_000] * 4100)
    run.host.touch(201, "apic", EOI, 1, *[2_000] * 4100)
    assert run.second() == []


def test_on_the_vms_own_place(run: Run) -> None:
    run.host.exits(201, MSR, *[2_000] * 10)
    found = interval(run)
    rows = {(row.scope.pid, row.scope.thread is None): row for row in vcpu_rows(run.session, found)}

    def told(pid: int, of_vm: bool = True) -> tuple[str, list[tuple[str, str]]]:
        widths = {"others": 40, "slowest": 40}
        one = brief(run.session, found, rows[pid, of_vm], None, widths, 10, None)  # type: ignore[arg-type]
        return one.place, [(part.head, part.rest) for part in one.paragraphs]

    assert told(100) == ("pid 100 · 1 vCPU · AVIC on", [])
    assert told(200) == ("pid 200 · 2 vCPUs · AVIC off", [("AVIC is off", "PIT reinjection")])
    assert told(200, False)[1] == []
    words = "".join(text for line in row_lines(found, rows[200, True]) for text, _ in line)
    assert "AVIC is off" in words and "lost_tick_policy=discard" in words
    run.host.apic = Apic({}, "not here")
    run.host.exits(201, MSR, 2_000)
    found = interval(run)
    assert told(200) == ("pid 200 · 2 vCPUs", [])
