"""From symptom to cause, on a host that does as it is told: what is looked at, in which order, and what comes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmtop.insight.closer import looks
from kvmtop.insight.diagnosis import Diagnosis, Doctor
from kvmtop.insight.finding import Limits
from kvmtop.insight.rules import BY_NAME, RULES
from kvmtop.insight.rules.rule import View
from kvmtop.model.keys import pack
from kvmtop.model.scheduling import BEHIND, TASK, Placement
from kvmtop.model.vocabulary import LOGGED, PRESENT, UNPOLLED, WRITE, DetailRequest, Vm
from kvmtop.output.diagnosis import as_json, lines
from kvmtop.reference.labels import Labels

from ..support.exported import VALIDATOR
from ..support.fake import SECOND, Host
from ..support.scheduling import Scheduler

MS = 1_000_000
CPUID, HLT, IO, MSR, NPF = 0x72, 0x78, 0x7B, 0x7C, 0x400
PM_TIMER = 0x608
Plant = Callable[[Host], None]


def pm_timer(host: Host) -> None:
    """web reads its clock a hundred times a second, which takes 16 % of its time."""
    host.exits(101, IO, *[1_600_000] * 100, user=1_500_000)
    if host.wish and "io" in host.wish.kinds:
        host.touch(101, "io", PM_TIMER, 0x400, *[1_600_000] * 100, user=1_500_000)


def cpuid(host: Host) -> None:
    host.exits(101, CPUID, *[10_000] * 9_000)
    if host.wish and "rip" in host.wish.kinds:
        host.touch(101, "rip", 0x401136, 0, *[10_000] * 9_000)


def dirty_log(host: Host) -> None:
    """KVM logs what web writes: nothing but what it touches tells of that."""
    host.exits(101, NPF, *[40_000] * 4_000)
    if host.wish and "fault" in host.wish.kinds:
        host.touch(101, "fault", 0x10000, WRITE | PRESENT | LOGGED, *[40_000] * 4_000)


def healthy(host: Host) -> None:
    for tid in host.vcpus:
        host.exits(tid, HLT, *[70 * MS] * 10)


def viewed(host: Host, plant: Plant) -> View:
    """A second of it."""
    before = host.read()
    host.now += SECOND
    plant(host)
    return View.between(before, host.read(), Labels(host.names))


def diagnosed(
    plant: Plant, seconds: float = 20.0, wanted: Callable[[Vm], bool] = lambda vm: True
) -> tuple[Diagnosis, list[DetailRequest | None]]:
    """What comes of it, and what was looked at at each reading."""
    host = Host()
    host.add(100, "web")
    host.add(200, "mail")
    doctor = Doctor(seconds, Labels(host.names), wanted=wanted)
    looked: list[DetailRequest | None] = []
    for _ in range(200):
        doctor.add(host.read())
        if doctor.done:
            return doctor.conclude(), looked
        host.look(doctor.request)
        looked.append(doctor.request)
        host.now += SECOND
        healthy(host)
        plant(host)
    raise AssertionError("it does not end")


def test_nothing_stands_out_of_healthy_vms() -> None:
    found, looked = diagnosed(healthy)
    assert found.causes == () or found.causes == []
    assert found.seconds == pytest.approx(20, abs=1.1)
    assert set(looked) == {None}  # and nothing was attached for it
    assert "Nothing stands out." in list(lines(found))
    assert {one.state for one in found.checked} == {"clear"} and len(found.checked) == len(RULES)


def test_a_reading_that_comes_late_takes_no_look_its_time() -> None:
    """A host so busy that the second reading comes after all the seconds."""

    def late(host: Host) -> None:
        pm_timer(host)
        while host.now < host.start + 25 * SECOND:
            host.now += SECOND
            pm_timer(host)

    found, _ = diagnosed(late)
    assert [cause.rule.name for cause in found.causes] == ["pm-timer"]


def test_a_clock_that_leaves_the_guest_is_found_by_looking_at_ports() -> None:
    found, looked = diagnosed(pm_timer)
    (cause,) = found.causes
    assert (cause.rule.name, cause.vm and cause.vm.vm, cause.rule.confidence) == ("pm-timer", "web", "certain")
    assert cause.finding.cost == pytest.approx(0.16, abs=0.001)
    assert looked[0] is None and any(look and "io" in look.kinds for look in looked)
    assert not any(look and ("rip" in look.kinds or look.stacks) for look in looked)  # nothing asks for them
    assert {look.pids for look in looked if look} == {frozenset({100})}  # of mail nothing is attached
    assert "io, user of web for" in "\n".join(lines(found, 200))
    text = "\n".join(lines(found, 80))
    assert "1. web reads the ACPI PM timer 100 times a second" in text
    assert "kvmtop --vm web --event io" in text and "clocksource" in text
    assert all(len(line) <= 80 for line in lines(found, 80))
    assert "for comparison: 0.0% user in vCPU 0 of mail, the most of all other VMs" in " ".join(text.split())


def both_held(host: Host) -> None:
    """web and mail have one CPU, and each waits for the other."""
    told = Scheduler(host.start, (host.wish and host.wish.sched) or 0)
    told.placements = {101: Placement("1", all=False), 201: Placement("1", all=False)}
    ns = host.now - host.start
    told.idle = {1: 0, 2: ns}
    for waiting, other, share in ((101, 201, 0.25), (201, 101, 0.24)):
        host.vcpus[waiting].states["wait"] += int(share * SECOND)
        thread, behind = pack(host.vcpus[waiting].pid, waiting), pack(host.vcpus[other].pid, other)
        told.charge(thread, BEHIND, TASK, behind, ns=int(share * ns))
    host.scheduling = told.read() if host.wish and host.wish.sched is not None else None


def test_two_vms_that_are_held_on_one_cpu_are_one_cause() -> None:
    found, _ = diagnosed(both_held)
    assert [(one.rule.name, one.vm and one.vm.vm) for one in found.causes] == [("same-cpu", "web")]
    told = json.loads(as_json(found))["causes"][0]
    assert told["other"] == {"vm": "mail", "pid": 200}
    alone, _ = diagnosed(both_held, wanted=lambda vm: vm.name == "mail")
    assert [(one.rule.name, one.vm and one.vm.vm) for one in alone.causes] == [("same-cpu", "mail")]


def test_dirty_logging_is_found_by_looking_at_faults() -> None:
    found, _ = diagnosed(dirty_log)
    assert [cause.rule.name for cause in found.causes] == ["dirty-log"]


def test_which_code_executes_cpuid() -> None:
    found, looked = diagnosed(cpuid)
    cause = found.causes[0]
    assert cause.rule.name == "cpuid"
    assert "100% of it in a program in the guest's user space, most at 0x401136" in cause.finding.text
    assert any(look and look.only == (2, CPUID) for look in looked)


def many(host: Host) -> None:
    """Nine VMs read the PM timer, and execute CPUID now and then; web does so all the time, which takes more."""
    for tid in range(1001, 1091, 10):
        host.exits(tid, IO, *[400_000] * 100, user=300_000)
        host.exits(tid, CPUID, 10_000)
    cpuid(host)


def test_what_costs_most_is_looked_at_first_and_of_many_vms_all() -> None:
    host = Host()
    host.add(100, "web")
    for pid in range(1000, 1090, 10):
        host.add(pid, f"vm{pid}")
    view = viewed(host, many)
    first, second = looks(view)[:2]
    assert (first.words, first.request.pids) == (f"guest code of {host.names.name(2, CPUID)} of web", frozenset({100}))
    assert "io" in second.request.kinds and second.request.pids == frozenset() and second.words == "io, user"


def test_what_was_not_looked_at_is_not_missing() -> None:
    """mail halts as often as web, and nobody knows how that is polled."""
    host = Host()
    host.add(100, "web")
    host.add(200, "mail")
    host.look(DetailRequest(frozenset({"poll"}), pids=frozenset({100})))

    def unpolled(host: Host) -> None:
        for tid in (101, 201):
            host.exits(tid, HLT, *[50_000] * 5000)
            host.touch(tid, "poll", UNPOLLED, 0, *[50_000] * 5000)

    assert [one.scope.pid for one in BY_NAME["no-polling"].find(viewed(host, unpolled))] == [100]


def test_what_the_counters_alone_make_certain_needs_no_more() -> None:
    def throttled(host: Host) -> None:
        host.vcpus[101].states["throttled"] += 250 * MS

    found, looked = diagnosed(throttled, wanted=lambda vm: vm.name == "web")
    assert [cause.rule.name for cause in found.causes] == ["quota"] and set(looked) == {None}
    assert found.seconds == pytest.approx(5, abs=1.1)
    assert "by then each VM had a cause that is certain" in " ".join("\n".join(lines(found)).split())
    found, _ = diagnosed(throttled)  # what mail has is open
    assert found.seconds == pytest.approx(20, abs=1.1) and "it ended there" not in "\n".join(lines(found))
    found, _ = diagnosed(cpuid, seconds=3.9)  # there is no time for what is to be looked at
    assert found.seconds > 3 and not found.early


def test_only_the_vms_that_were_asked_for() -> None:
    found, looked = diagnosed(pm_timer, wanted=lambda vm: vm.name == "mail")
    assert not found.causes and set(looked) == {None}
    assert [vm.vm for vm in found.vms] == ["mail"]
    assert next(lines(found)) == f"1 VM watched for {found.seconds:.1f} s, and 1 other to compare with"


def test_what_there_was_no_time_for_is_said() -> None:
    found, looked = diagnosed(pm_timer, seconds=3)
    assert set(looked) == {None}
    missed = {one.rule.name: one.why for one in found.checked if one.state == "not looked at"}
    assert missed["pm-timer"] == "io, user of web: no time was left for it; a longer --duration has it"
    assert "pm-timer" in " ".join(" ".join(lines(found)).split()).partition("Not looked at: ")[2]


def test_a_look_that_this_kernel_cannot_take_is_said() -> None:
    host = Host()
    host.add(100, "web")
    doctor = Doctor(20)
    for _ in range(60):
        doctor.add(host.read())
        if doctor.starting and doctor.request:
            doctor.skip("this kernel has no BTF")
        if doctor.done:
            break
        host.now += SECOND
        pm_timer(host)
    found = doctor.conclude()
    assert doctor.done
    assert {one.why for one in found.checked if one.rule.name == "pm-timer"} == {"io, user: this kernel has no BTF"}


def test_ended_before_there_was_anything_to_tell() -> None:
    doctor = Doctor(20)
    doctor.add(Host().read())
    assert not doctor.conclude().looks


def test_ended_early_it_tells_what_it_has_not_looked_at() -> None:
    host = Host()
    host.add(100, "web")
    doctor = Doctor(20)
    for _ in range(9):
        doctor.add(host.read())
        host.look(doctor.request)
        host.now += SECOND
        pm_timer(host)
    found = doctor.conclude()
    assert not doctor.done and 5 < found.seconds < 9
    host.look(None)
    doctor = Doctor(20)
    for _ in range(7):  # the counters, and no more
        doctor.add(host.read())
        host.now += SECOND
        pm_timer(host)
    (missed,) = {one.why for one in doctor.conclude().checked if one.rule.name == "pm-timer"}
    assert missed.startswith("io, user: no time was left for it")


def test_as_an_object() -> None:
    for plant in (healthy, pm_timer, cpuid):
        found, _ = diagnosed(plant)
        one = json.loads(as_json(found))
        VALIDATOR.validate(one)
        assert [cause["rule"] for cause in one["causes"]] == [cause.rule.name for cause in found.causes]


def test_a_name_is_quoted_as_a_shell_takes_it() -> None:
    host = Host()
    host.add(100, "it's; rm")
    doctor = Doctor(20)
    for _ in range(60):
        doctor.add(host.read())
        if doctor.done:
            break
        host.look(doctor.request)
        host.now += SECOND
        pm_timer(host)
    text = as_json(doctor.conclude())
    assert "kvmtop --vm 'it'\\\\''s; rm' --event io" in text


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_says_all_that_a_rule_says(rule: object) -> None:
    assert rule in BY_NAME.values()
    one = BY_NAME[rule.name]  # type: ignore[attr-defined]
    assert one.title and one.unless and one.see.startswith("kvmtop ")
    assert "{" not in one.holds(Limits())
    assert any((one.remedy.host, one.remedy.guest, one.remedy.vm))
    assert one.explains <= BY_NAME.keys()


def test_names_are_of_one_rule_each() -> None:
    assert len(BY_NAME) == len(RULES)


def test_the_documents_have_each_rule_once() -> None:
    text = (Path(__file__).parents[2] / "docs" / "diagnosis.md").read_text().partition("## The rules")[2]
    named = re.findall(r"`([a-z][a-z-]+)`", text.partition("- **")[2].partition("\n\n")[0])
    assert sorted(named) == sorted(BY_NAME)
