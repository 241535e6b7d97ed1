"""The replay of ftrace's events that kvmtop's states are held against (on_host/test_states.py), without a host."""

from __future__ import annotations

import pytest

from .on_host import states_truth
from .on_host.ftrace import Event, parse
from .on_host.states_truth import Span, replay

VCPU, OTHER = 7, 8


def at(ns: int, name: str, text: str = "", tid: int = VCPU, cpu: int = 1) -> Event:
    return Event(ns, cpu, tid, name, text)


def out(ns: int, state: str, cpu: int = 1) -> Event:
    text = f"prev_comm=CPU 0/KVM prev_pid={VCPU} prev_prio=120 prev_state={state} ==> next_comm=a next_pid={OTHER} next_prio=120"
    return at(ns, "sched_switch", text, cpu=cpu)


def back(ns: int, cpu: int = 1) -> Event:
    text = (
        f"prev_comm=a prev_pid={OTHER} prev_prio=120 prev_state=R ==> next_comm=CPU 0/KVM next_pid={VCPU} next_prio=120"
    )
    return at(ns, "sched_switch", text, OTHER, cpu)


def woken(ns: int, how: str = "wakeup") -> Event:
    return at(ns, f"sched_{how}", f"comm=CPU 0/KVM pid={VCPU} prio=120 target_cpu=001", OTHER, 0)


def spans(*events: Event, end: int = 100) -> list[tuple[int, int, str]]:
    return [(span.start, span.end, "|".join(span.states)) for span in replay(events, end).get(VCPU, [])]


def test_in_and_out_of_the_guest() -> None:
    assert spans(at(10, "kvm_exit"), at(30, "kvm_entry"), at(60, "kvm_exit")) == [
        (10, 30, "kernel"),
        (30, 60, "guest"),
        (60, 100, "kernel"),
    ]


def test_a_lone_end_of_a_system_call_gives_no_spans() -> None:
    assert spans(at(10, "sys_exit_ioctl")) == []  # any thread may call ioctl


def test_the_way_in_and_out_of_the_system_call_may_be_either() -> None:
    events = [
        at(10, "kvm_exit"),
        at(20, "kvm_userspace_exit", "reason KVM_EXIT_IO (2)"),
        at(25, "sys_exit_ioctl", "-> 0x0"),
        at(50, "sys_enter_ioctl"),
        at(60, "kvm_fpu", "load"),
        at(70, "kvm_entry"),
    ]
    assert spans(*events) == [
        (10, 20, "kernel"),
        (20, 25, "kernel|user"),
        (25, 50, "user"),
        (50, 60, "kernel|user"),
        (60, 70, "kernel"),
        (70, 100, "guest"),
    ]
    lower, upper = states_truth.bounds(replay(events, 100)[VCPU], 10, 100)
    assert (lower["kernel"], upper["kernel"]) == (20, 35) and (lower["user"], upper["user"]) == (25, 40)
    lower, upper = states_truth.bounds(replay(events, 100)[VCPU], 10, 100, ("kernel", "user"))
    assert lower["kernel"] == upper["kernel"] == 60


def test_what_a_sleep_is_depends_on_where_it_falls_asleep() -> None:
    halt = at(10, "kvm_exit"), at(20, "block"), out(30, "S"), woken(50), back(60), at(65, "unblock")
    assert spans(*halt)[2:5] == [(30, 50, "idle"), (50, 60, "wait"), (60, 65, "kernel")]
    fault = at(10, "kvm_exit"), out(30, "S"), woken(50), back(60)
    assert spans(*fault)[1:3] == [(30, 50, "blocked"), (50, 60, "wait")]
    for reason, state in (("KVM_EXIT_HLT (5)", "idle"), ("KVM_EXIT_IO (2)", "blocked"), ("restart (4)", "blocked")):
        left = at(10, "kvm_userspace_exit", f"reason {reason}"), at(20, "sys_exit_ioctl"), out(30, "S")
        assert spans(at(5, "kvm_exit"), *left)[-1] == (30, 100, state)
    assert spans(at(5, "kvm_exit"), at(7, "block"), out(30, "T"))[-1] == (30, 100, "blocked")  # stopped


def test_the_way_from_the_waker_to_the_run_queue_may_be_either() -> None:
    found = spans(at(10, "kvm_exit"), out(30, "D"), woken(40, "waking"), woken(45), back(60))
    assert found[1:4] == [(30, 40, "blocked"), (40, 45, "blocked|wait"), (45, 60, "wait")]


def test_who_was_never_woken_has_not_slept() -> None:  # a signal was pending, and the event says S all the same
    assert spans(at(10, "kvm_exit"), out(30, "S"), back(60))[1] == (30, 60, "wait")


def test_preempted_before_the_exit_is_no_guest_time() -> None:  # AMD before Linux 6.5
    found = spans(at(10, "kvm_entry"), out(30, "R+"), back(60), at(70, "kvm_exit"))
    assert found == [(10, 30, "guest"), (30, 60, "wait"), (60, 70, "kernel"), (70, 100, "kernel")]


def test_asleep_since_before_the_first_event() -> None:
    assert spans(at(10, "asleep", "halted")) == [(10, 100, "idle")]
    found = spans(at(10, "asleep", "halted"), woken(50), back(60), at(70, "unblock"))
    assert found == [(10, 50, "idle"), (50, 60, "wait"), (60, 70, "kernel"), (70, 100, "kernel")]
    again = spans(back(10), out(20, "S"), at(30, "asleep", "halted"))  # it was awake for a moment just before
    assert again == [(20, 30, "idle|blocked"), (30, 100, "idle")]


def test_an_ended_thread_is_in_no_state() -> None:
    assert spans(at(10, "kvm_exit"), at(30, "sched_process_exit"), out(40, "X"))[-1] == (10, 30, "kernel")


def test_what_is_not_known_may_be_anything() -> None:
    lower, upper = states_truth.bounds([Span(40, 50, ("guest",))], 0, 100)
    assert lower["guest"] == 10 and upper["guest"] == 100 and lower["idle"] == 0 and upper["idle"] == 90


def test_waiting_on_a_throttled_cpu_is_throttled() -> None:
    def quota(name: str, text: str, ns: int, cpu: int = 1) -> Event:
        return at(ns, name, text, OTHER, cpu)

    events = [
        at(10, "kvm_exit"),
        quota("throttle", "(throttle_cfs_rq+0x0/0x2a0) queue=0xa", 29),
        quota("throttled", "(update_curr+0x1/0x2 <- throttle_cfs_rq) yes=1", 29),
        out(30, "R"),
        quota("unthrottle", "(unthrottle_cfs_rq+0x0/0x2a0) queue=0xa", 70, cpu=0),
        back(80),
    ]
    assert spans(*events)[1:] == [(30, 70, "throttled"), (70, 80, "wait"), (80, 100, "kernel")]
    events[2] = quota("throttled", "(update_curr+0x1/0x2 <- throttle_cfs_rq) yes=0", 29)  # some was left
    assert spans(*events)[1] == (30, 80, "wait")
    events[2] = quota("throttled", "(update_curr+0x1/0x2 <- throttle_cfs_rq) yes=1", 29)
    moved = at(50, "sched_migrate_task", f"comm=CPU 0/KVM pid={VCPU} prio=120 orig_cpu=1 dest_cpu=0", OTHER, 0)
    assert spans(*events, moved)[1:3] == [(30, 50, "throttled"), (50, 80, "wait")]


TRACE = """\
# tracer: nop
       CPU 0/KVM-1234    [001]   123.456789: kvm_exit: vcpu 0 reason hlt rip 0x1 info1 0x0
   averylongname-1234567 [000]   123.456790: sys_ioctl(fd: 5, cmd: ae80, arg: 0)
   averylongname-1234567 [000]   123.456791: sys_ioctl -> 0x0
          <idle>-0       [010]   123.456792: block: (kvm_vcpu_block+0x0/0x80 [kvm])
"""


def test_the_trace_is_read() -> None:
    found = list(parse(TRACE.splitlines(keepends=True)))
    assert [(event.ns, event.cpu, event.tid, event.name) for event in found] == [
        (123_456_789_000, 1, 1234, "kvm_exit"),
        (123_456_790_000, 0, 1234567, "sys_enter_ioctl"),
        (123_456_791_000, 0, 1234567, "sys_exit_ioctl"),
        (123_456_792_000, 10, 0, "block"),
    ]
    with pytest.raises(RuntimeError, match="too small"):
        list(parse(["CPU:1 [LOST 12 EVENTS]\n"]))
