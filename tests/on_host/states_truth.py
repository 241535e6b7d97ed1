"""Where a vCPU's time went, by a replay of ftrace's events: the truth that kvmtop's states are held against.

Nothing here is shared with kvmtop. Where the events do not tell where one state ends and the next begins, a span
has several states, so that each state has a lower and an upper bound.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .ftrace import Event

STATES = ("guest", "kernel", "user", "idle", "blocked", "wait", "throttled")
Some = tuple[str, ...]
BORDER = ("kernel", "user")  # the system call's way in and out


class Span(NamedTuple):
    """A thread was in one of these states."""

    start: int  # ns
    end: int
    states: Some


class Bounds(NamedTuple):
    """At least and at most so many ns in each of STATES."""

    lower: dict[str, int]
    upper: dict[str, int]


_SWITCH = re.compile(r"prev_pid=(\d+) prev_prio=\d+ prev_state=(\S+) ==> next_comm=.* next_pid=(\d+)")
_WOKEN = re.compile(r"pid=(\d+) prio=\d+ target_cpu=(\d+)$")
_MOVED = re.compile(r"pid=(\d+) prio=\d+ orig_cpu=\d+ dest_cpu=(\d+)$")


class _Thread:
    """Follows one thread. It is nowhere known until an event says so."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.where = ""  # "guest", "kernel" (in KVM_RUN), "user", "border" (on the way in or out); "" unknown
        self.off: Some = ()  # what it does off the CPU: "wait", or what it sleeps for; () on a CPU
        self.slept_at = 0  # index of the span that began as it fell asleep
        self.halting = False  # in kvm_vcpu_block
        self.halted = False  # its last KVM_RUN returned for a HLT
        self.cpu = 0
        self.since: int | None = None
        self.ended = False
        self.runs = False  # it has run KVM_RUN

    def now(self) -> Some:
        if self.off:
            return self.off
        return BORDER if self.where == "border" else (self.where,) if self.where else ()

    def until(self, ns: int) -> None:
        """What it was in lasted until now."""
        if self.since is not None and not self.ended and (states := self.now()):
            self.spans.append(Span(self.since, ns, states))
        self.since = ns

    def on_cpu(self, ns: int, where: str) -> None:
        self.until(ns)
        self.where, self.off = where, ()

    def switched_out(self, ns: int, state: str, cpu: int) -> None:
        self.until(ns)
        if self.where == "guest":  # the guest was left before the event that says so
            self.where = "kernel"
        self.cpu = cpu
        if state.startswith("R"):
            self.off = ("wait",)
            return
        self.slept_at = len(self.spans)
        if state[0] in "XZ":
            self.ended = True
        elif state[0] in "Tt":
            self.off = ("blocked",)
        elif self.where in ("", "border"):
            self.off = ("idle",) if self.halting or self.halted else ("idle", "blocked")
        elif self.where == "user":
            self.off = ("idle",) if self.halted else ("blocked",)
        else:
            self.off = ("idle",) if self.halting else ("blocked",)

    def switched_in(self, ns: int) -> None:
        self.until(ns)
        if self.off and self.off != ("wait",):  # never woken: a signal was there already, so it never slept
            self.spans[self.slept_at :] = [Span(s.start, s.end, ("wait",)) for s in self.spans[self.slept_at :]]
        self.off = ()


def replay(events: Iterable[Event], end: int) -> dict[int, list[Span]]:
    """Spans of each thread that has run KVM_RUN or was found asleep, in order; the last lasts until `end`."""
    threads: dict[int, _Thread] = defaultdict(_Thread)
    moves: dict[int, list[tuple[int, int]]] = defaultdict(list)  # of each thread, when and to which CPU
    quota: list[Event] = []
    for event in sorted(events, key=lambda event: event.ns):
        ns, cpu, tid, name, text, _ = event
        thread = threads[tid]
        match name:
            case "kvm_exit":
                thread.on_cpu(ns, "kernel")
                thread.runs = True
            case "kvm_entry":
                thread.on_cpu(ns, "guest")
                thread.runs = True
            case "kvm_userspace_exit":
                thread.on_cpu(ns, "border")
                thread.halted = "KVM_EXIT_HLT" in text
            case "sys_exit_ioctl" if thread.where != "user":
                thread.on_cpu(ns, "user")
                thread.halting = False
            case "sys_enter_ioctl":
                thread.on_cpu(ns, "border")
                thread.halted = False
                thread.runs = True
            case "kvm_fpu" if text == "load" and thread.where in ("", "border"):
                thread.on_cpu(ns, "kernel")
            case "block":
                thread.on_cpu(ns, "kernel")
                thread.halting = True
            case "unblock":
                thread.on_cpu(ns, "kernel")
                thread.halting = False
            case "asleep" if not thread.runs:  # it may have been woken before, for a moment
                thread.until(ns)
                thread.runs = True
                thread.where, thread.halting = ("kernel", True) if text == "halted" else ("", False)
                thread.off = ("idle",) if text == "halted" else ("idle", "blocked")
            case "sched_switch":
                found = _SWITCH.search(text)
                assert found, text
                threads[int(found[1])].switched_out(ns, found[2], cpu)
                moves[int(found[1])].append((ns, cpu))
                threads[int(found[3])].switched_in(ns)
            case "sched_waking" | "sched_wakeup":
                found = _WOKEN.search(text)
                assert found, text
                woken = threads[int(found[1])]
                if woken.off and woken.off != ("wait",):
                    woken.until(ns)
                    woken.off = ("wait",) if name == "sched_wakeup" else (*woken.off, "wait")
                    moves[int(found[1])].append((ns, int(found[2])))
            case "sched_migrate_task":
                found = _MOVED.search(text)
                assert found, text
                moves[int(found[1])].append((ns, int(found[2])))
            case "sched_process_exit":
                thread.until(ns)
                thread.ended = True
            case "throttle" | "throttled" | "unthrottle":
                quota.append(event)
    withheld = throttlings(quota, end)
    found_spans = {}
    for tid, thread in threads.items():
        if tid and thread.runs:
            thread.until(end)
            found_spans[tid] = _divide(thread.spans, moves[tid], withheld)
    return found_spans


def throttlings(events: Sequence[Event], end: int) -> dict[int, list[tuple[int, int]]]:
    """When each CPU's tasks of a group were out of quota. All quotas are taken to be the vCPUs'."""
    cpus: dict[str, Counter[int]] = defaultdict(Counter)  # a run queue is mostly throttled from its own CPU
    asked: dict[int, Event] = {}
    changes: list[tuple[int, str, bool]] = []
    for event in events:
        if event.name == "throttle":
            asked[event.cpu] = event
        elif event.name == "unthrottle":
            changes.append((event.ns, _queue(event), False))
        elif event.cpu in asked and event.text.endswith("yes=1"):
            begun = asked.pop(event.cpu)
            changes.append((begun.ns, _queue(begun), True))
            cpus[_queue(begun)][event.cpu] += 1
    found: dict[int, list[tuple[int, int]]] = defaultdict(list)
    out: dict[int, dict[str, int]] = defaultdict(dict)  # CPU → its run queues that are throttled, since when
    for ns, queue, begins in [*sorted(changes), *((end, queue, False) for queue in cpus)]:
        if queue not in cpus:
            continue
        cpu = cpus[queue].most_common(1)[0][0]
        if begins:
            out[cpu].setdefault(queue, ns)
        elif queue in out[cpu]:
            found[cpu].append((out[cpu].pop(queue), ns))
    return found


def _queue(event: Event) -> str:
    return event.text.rpartition("queue=")[2]


def _divide(
    spans: list[Span], moves: Sequence[tuple[int, int]], withheld: dict[int, list[tuple[int, int]]]
) -> list[Span]:
    """Waiting with what of it the quota withheld: while the CPU that the thread is to run on was throttled."""
    if not withheld:
        return spans
    found = []
    at, cpu = 0, -1
    for span in spans:
        while at < len(moves) and moves[at][0] <= span.start:
            at, cpu = at + 1, moves[at][1]
        if "wait" not in span.states:
            found.append(span)
            continue
        # Where it is moved while it waits, each part by its own CPU.
        parts, later = [(span.start, cpu)], at
        while later < len(moves) and moves[later][0] < span.end:
            parts.append(moves[later])
            later += 1
        for (start, on), (stop, _) in zip(parts, [*parts[1:], (span.end, -1)], strict=True):
            found += _cut(Span(start, stop, span.states), withheld.get(on, ()))
    return found


def _cut(span: Span, holes: Iterable[tuple[int, int]]) -> list[Span]:
    found, start = [], span.start
    throttled = tuple("throttled" if state == "wait" else state for state in span.states)
    for begun, ended in holes:
        begun, ended = max(begun, start), min(ended, span.end)
        if begun < ended:
            found += [Span(start, begun, span.states), Span(begun, ended, throttled)]
            start = ended
    return [span for span in (*found, Span(start, span.end, span.states)) if span.start < span.end]


def bounds(spans: Iterable[Span], start: int, end: int, merged: Sequence[str] = ()) -> Bounds:
    """What a thread spent in each state between two instants; what no span speaks of may be any.

    merged: states that are told only in sum, which stands under the first of them.
    """
    lower, upper = Counter(dict.fromkeys(STATES, 0)), Counter(dict.fromkeys(STATES, 0))
    known = 0
    for span in spans:
        ns = min(span.end, end) - max(span.start, start)
        if ns <= 0:
            continue
        known += ns
        states = {merged[0] if state in merged else state for state in span.states}
        for state in states:
            upper[state] += ns
        if len(states) == 1:
            lower[states.pop()] += ns
    for state in STATES:
        upper[state] += end - start - known
    return Bounds(lower, upper)
