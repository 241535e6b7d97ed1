"""Who had the CPU while vCPUs waited, who woke them and what held them up, by a replay of ftrace's events.

The truth that kvmtop's culprits and wakers are held against; nothing here is shared with kvmtop. A thread waits from
being switched out while runnable, or from sched_wakeup, until it is switched in. Each instant of it is charged to what
has the CPU whose run queue it is on: an interrupt's handler, else a softirq, else the task; in ksoftirqd a softirq is the
task's work. What a CPU quota withholds is charged to nobody.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .ftrace import Event
from .states_truth import throttlings

# Who it is: ("task", its tid), ("interrupt", its number), ("softirq", its vector), or one of the other words and 0.
Actor = tuple[str, int]
IDLE, TIMER, OTHER, UNKNOWN = ("idle", 0), ("timer", 0), ("other", 0), ("unknown", 0)

_SWITCH = re.compile(r"prev_pid=(\d+) prev_prio=\d+ prev_state=(\S+) ==> next_comm=(.*) next_pid=(\d+)")
_WOKEN = re.compile(r"pid=(\d+) prio=\d+ target_cpu=(\d+)$")
_MOVED = re.compile(r"pid=(\d+) prio=\d+ orig_cpu=\d+ dest_cpu=(\d+)$")
_NUMBER = re.compile(r"(?:irq|vec)=(\d+)")


class Charge(NamedTuple):
    """A part of a wait."""

    start: int  # ns
    end: int
    actor: Actor  # had the CPU
    cpu: int


class Wake(NamedTuple):
    """A sched_waking of the thread, asleep or not."""

    ns: int
    actor: Actor


class Sleep(NamedTuple):
    """From being switched out to sched_wakeup."""

    start: int
    end: int
    actor: Actor  # did the sched_waking before it


class Start(NamedTuple):
    """It was switched in after a sleep, which ended with the sched_waking at `woken`."""

    woken: int
    ns: int


@dataclass
class Story:
    """What befell a thread, in order."""

    charges: list[Charge] = field(default_factory=list)
    wakes: list[Wake] = field(default_factory=list)
    sleeps: list[Sleep] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)

    def behind(self, start: int, end: int) -> dict[Actor, int]:
        """How long (ns) it waited behind whom between two instants."""
        found: dict[Actor, int] = defaultdict(int)
        for charge in self.charges:
            if (ns := min(charge.end, end) - max(charge.start, start)) > 0:
                found[charge.actor] += ns
        return dict(found)


@dataclass
class _Cpu:
    task: int | None = None
    serves: bool = False  # it is ksoftirqd
    # Interrupts and softirqs that have begun, each on top of those before it.
    inside: list[Actor] = field(default_factory=list)

    def has(self) -> Actor:
        if self.inside:
            return self.inside[-1]
        return UNKNOWN if self.task is None else IDLE if self.task == 0 else ("task", self.task)

    def enter(self, actor: Actor) -> None:
        if not (actor[0] == "softirq" and self.serves):
            self.inside.append(actor)

    def leave(self, actor: Actor) -> None:
        if actor in self.inside:
            del self.inside[len(self.inside) - 1 - self.inside[::-1].index(actor) :]

    def waker(self, context: str) -> Actor:
        """Who wakes somebody here: ftrace knows whether it is an interrupt, the events before it which."""
        if context in ("h", "H", "z", "Z"):
            return next((actor for actor in reversed(self.inside) if actor[0] != "softirq"), OTHER)
        if context == "s" and not self.serves:
            return next((actor for actor in reversed(self.inside) if actor[0] == "softirq"), ("softirq", -1))
        return UNKNOWN if self.task is None else IDLE if self.task == 0 else ("task", self.task)


class _Thread:
    """Follows one thread. It is nowhere known until an event says so."""

    def __init__(self) -> None:
        self.story = Story()
        self.how = ""  # "on" a CPU, "wait" or "sleep"; "" not known
        self.cpu = -1  # on whose run queue it is
        self.since = 0  # of what is not charged yet
        self.slept = 0
        self.woken = False  # it sleeps no more: it runs for the first time after that
        self.doubtful: list[Charge] = []  # while it sleeps; who is never woken has not slept

    def charge(self, ns: int, actor: Actor) -> None:
        """The CPU was this one's until now."""
        if self.since < ns and self.how in ("wait", "sleep"):
            charges = self.story.charges if self.how == "wait" else self.doubtful
            charges.append(Charge(self.since, ns, actor, self.cpu))
        self.since = ns

    def out(self, ns: int, state: str, cpu: int) -> None:
        self.how = "wait" if state.startswith("R") else "" if state[0] in "XZ" else "sleep"
        self.cpu, self.since, self.slept = cpu, ns, ns
        self.woken, self.doubtful = False, []

    def wakeup(self, ns: int, cpu: int) -> None:
        if self.how == "sleep":
            actor = self.story.wakes[-1].actor if self.story.wakes else UNKNOWN
            self.story.sleeps.append(Sleep(self.slept, ns, actor))
            self.how, self.cpu, self.since, self.woken = "wait", cpu, ns, True

    def on(self, ns: int) -> None:
        if self.how == "sleep":  # a signal was there already
            self.story.charges += self.doubtful
        if self.how == "wait" and self.woken and self.story.wakes:
            self.story.starts.append(Start(self.story.wakes[-1].ns, ns))
        self.how = "on"


def replay(events: Iterable[Event], tids: Collection[int], end: int) -> dict[int, Story]:
    """The Story of each of these threads; a wait that goes on counts up to `end`."""
    threads = {tid: _Thread() for tid in tids}
    cpus: dict[int, _Cpu] = defaultdict(_Cpu)
    quota: list[Event] = []

    def changes(ns: int, number: int) -> None:
        """What has this CPU is another from now on."""
        for thread in threads.values():
            if thread.cpu == number:
                thread.charge(ns, cpus[number].has())

    for event in sorted(events, key=lambda event: event.ns):
        ns, number, tid, name, text, context = event
        if name == "asleep":
            if tid in threads and not threads[tid].how:
                threads[tid].out(ns, "S", -1)
            continue
        cpu = cpus[number]
        if cpu.task is None:
            cpu.task = tid
        if tid in threads and threads[tid].how != "on":
            threads[tid].on(ns)
        if actor := _begins_or_ends(name, text):
            changes(ns, number)
            (cpu.enter if name.endswith("_entry") else cpu.leave)(actor)
        elif name == "sched_switch":
            found = _SWITCH.search(text)
            assert found, text
            before, state, after = int(found[1]), found[2], int(found[4])
            changes(ns, number)
            cpu.task, cpu.serves = after, found[3].startswith("ksoftirqd/")
            cpu.inside.clear()
            if before in threads:
                threads[before].out(ns, state, number)
            if after in threads:
                threads[after].on(ns)
        elif name in ("sched_waking", "sched_wakeup") and (found := _WOKEN.search(text)):
            if woken := threads.get(int(found[1])):
                if name == "sched_waking":
                    woken.story.wakes.append(Wake(ns, cpu.waker(context)))
                else:
                    woken.wakeup(ns, int(found[2]))
        elif name == "sched_migrate_task" and (found := _MOVED.search(text)):
            moved = threads.get(int(found[1]))
            if moved and moved.how in ("wait", "sleep"):
                moved.charge(ns, cpus[moved.cpu].has() if moved.cpu >= 0 else UNKNOWN)
                moved.cpu = int(found[2])
        elif name in ("throttle", "throttled", "unthrottle"):
            quota.append(event)
    for thread in threads.values():
        if thread.how == "wait":
            thread.charge(end, cpus[thread.cpu].has())
    withheld = throttlings(quota, end)
    for thread in threads.values():
        story = thread.story
        story.charges = [part for charge in story.charges for part in _less(charge, withheld.get(charge.cpu, ()))]
    return {tid: thread.story for tid, thread in threads.items()}


def _begins_or_ends(name: str, text: str) -> Actor | None:
    """Of an interrupt or a softirq, which."""
    kind, _, way = name.rpartition("_")
    if way not in ("entry", "exit") or kind in ("kvm", ""):
        return None
    if kind == "local_timer":
        return TIMER
    if kind in ("irq_handler", "softirq"):
        number = _NUMBER.search(text)
        assert number, text
        return ("softirq" if kind == "softirq" else "interrupt"), int(number[1])
    return OTHER if kind in ("reschedule", "call_function", "call_function_single", "irq_work") else None


def _less(charge: Charge, holes: Sequence[tuple[int, int]]) -> Iterator[Charge]:
    """Without what lies in the holes, which are in order."""
    start = charge.start
    for begun, ended in holes:
        if begun >= charge.end or ended <= start:
            continue
        if begun > start:
            yield charge._replace(start=start, end=begun)
        start = max(start, ended)
    if start < charge.end:
        yield charge._replace(start=start)
