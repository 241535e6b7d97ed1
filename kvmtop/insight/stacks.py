"""Where in the kernel exits spent their time since somebody looks, by stacks.

Off the CPU all is measured. On it, what the collector has measured is divided as the samples say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..model.interval import diff
from ..model.keys import unpack
from ..model.scope import ALL, Scope
from ..model.snapshot import Snapshot
from ..model.vocabulary import OUTSIDE, Key
from ..reference.kernel_stacks import doing

ON_CPU = ("kernel", "user")
UNKNOWN = "(not known)"
# What a stack ends in where it says nothing, and what it is called.
MARKS = {
    "kernel": "(no sample)",
    "user": "(VMM)",
    "idle": "(halted)",
    "blocked": "(blocked)",
    "wait": "(waits for a CPU)",
    "throttled": "(waits for a CPU)",
}
ROOT = "kvm_arch_vcpu_ioctl_run [kvm]"  # what calls it is the same for all


class Part(NamedTuple):
    """Of the exits of one reason and thread, what one stack has. thread: 0 where that is not known.

    state: of OUTSIDE, wait with throttled. frames: the innermost first. times: off the CPU, or samples; those
    of a wait that came after a sleep are the sleep's.
    """

    thread: int
    isa: int
    code: int
    state: str
    frames: tuple[str, ...]
    ns: int
    times: int


@dataclass(frozen=True)
class Spent:
    """How the exits of a reason spent their time since the look began. ns by state, as the collector has measured it:
    wait is with throttled. samples: how many there are of those on the CPU."""

    key: Key
    name: str
    exits: int
    time: int
    states: dict[str, int]
    samples: int
    parts: list[Part]  # they add up to time, but for what ended while it was read


@dataclass
class Frame:
    """A function in the tree: what it and what it called had. ns by state; times as in Part."""

    name: str
    ns: int = 0
    states: Counter[str] = field(default_factory=Counter)
    samples: int = 0
    times: int = 0
    children: dict[str, Frame] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """In which most of it was spent."""
        return max(self.states, key=lambda state: self.states[state], default="kernel")

    @property
    def called(self) -> list[Frame]:
        """What it called, most time first."""
        return sorted(self.children.values(), key=lambda one: (-one.ns, one.name))


class Cause(NamedTuple):
    """Some of a reason's time in words. share: of all the time of its exits, from leaving the guest to entering it."""

    state: str
    what: str
    why: str
    function: str
    ns: int
    share: float


def spent(snapshot: Snapshot, scope: Scope = ALL) -> list[Spent]:
    """By reason, most time first; none while nobody looks. Of the scope the VMs that are looked at."""
    stacks = snapshot.stacks
    if stacks is None:
        return []
    interval = diff(stacks.base, snapshot)
    mask = scope.mask(snapshot)
    if stacks.pids:
        looked = np.isin(unpack(snapshot.threads["id"])[0], [*stacks.pids])
        mask = looked if mask is None else mask & looked
    rows = interval.rows
    if mask is not None:
        rows = rows[np.append(mask, False)[rows["thread"]]]
    wanted = None if mask is None else set(snapshot.threads["id"][mask].tolist())
    mine: dict[Key, list[Any]] = {}
    for row in (*stacks.off.items(), *stacks.samples.items()):
        if wanted is None or row[0].thread in wanted:
            mine.setdefault((row[0].isa, row[0].code), []).append(row)
    found = []
    for isa, code in sorted(set(rows[["isa", "reason"]].tolist())):
        key = isa, code
        if stacks.only not in (None, key):
            continue
        its = rows[(rows["isa"] == isa) & (rows["reason"] == code)]
        states = {state: max(int(its[state].sum()), 0) for state in OUTSIDE}
        states["wait"] += states.pop("throttled")
        parts = _parts(key, mine.get(key, []), states)
        samples = sum(part.times for part in parts if part.state in ON_CPU)
        one = Spent(
            key, snapshot.names.name(*key), int(its["count"].sum()), sum(states.values()), states, samples, parts
        )
        if one.time > 0:
            found.append(one)
    return sorted(found, key=lambda one: -one.time)


def _parts(key: Key, rows: Iterable[Any], states: dict[str, int]) -> list[Part]:
    found: list[Part] = []
    seen = Counter[str]()
    on = [(stack, value) for stack, value in rows if isinstance(value, int)]
    samples = Counter[str]()
    for stack, count in on:
        samples[stack.state] += count
    for stack, count in on:
        ns = states.get(stack.state, 0) * count // samples[stack.state]
        found.append(Part(stack.thread, *key, stack.state, stack.frames, ns, count))
    for stack, off in rows:
        if isinstance(off, int):
            continue
        waited = off.ns if stack.state == "wait" else min(off.waited, off.ns)
        if stack.state != "wait":
            found.append(Part(stack.thread, *key, stack.state, stack.frames, off.ns - waited, off.times))
            seen[stack.state] += off.ns - waited
        if waited:
            times = off.times if stack.state == "wait" else 0
            found.append(Part(stack.thread, *key, "wait", stack.frames, waited, times))
            seen["wait"] += waited
    for state, ns in states.items():
        left = ns - seen[state] if state not in ON_CPU else 0 if samples[state] else ns
        if left > 0:
            found.append(Part(0, *key, state, (), left, 0))
    return found


def path(part: Part) -> tuple[str, ...]:
    """Its frames, the outermost first, and a last one where it was off the CPU, or where there is none."""
    frames = tuple(reversed(part.frames))
    if part.state == "user":
        return (MARKS["user"], *frames)
    if part.state == "kernel":
        return frames or (UNKNOWN if part.times else MARKS["kernel"],)
    return (*(frames or (UNKNOWN,) * (part.state != "wait")), MARKS[part.state])


def from_run(frames: tuple[str, ...]) -> tuple[str, ...]:
    """A path from KVM_RUN on."""
    return (frames[frames.index(ROOT) + 1 :] or (ROOT,)) if ROOT in frames else frames


def tree(parts: Sequence[Part]) -> Frame:
    """All of them under a root without a name, from KVM_RUN on."""
    root = Frame("")
    for part in parts:
        at = root
        for name in ("", *from_run(path(part))):
            at = at.children.setdefault(name, Frame(name)) if name else at
            at.ns += part.ns
            at.states[part.state] += part.ns
            at.times += part.times
            at.samples += part.times if part.state in ON_CPU else 0
    return root


def causes(one: Spent) -> list[Cause]:
    """What of its time can be told in words, most first: what it slept in, and what the kernel did."""
    sums = Counter[tuple[str, str, str, str]]()
    for part in one.parts:
        if part.state in ("idle", "blocked", "kernel") and (known := doing(part.frames, part.state != "kernel")):
            sums[part.state, known.what, known.why, known.function] += part.ns
    merged: dict[tuple[str, str], Cause] = {}
    for (state, what, why, function), ns in sums.most_common():
        before = merged.get((state, what))
        if before:
            function, ns = before.function, before.ns + ns
        merged[state, what] = Cause(state, what, why, function, ns, ns / one.time)
    return sorted(merged.values(), key=lambda cause: -cause.ns)
