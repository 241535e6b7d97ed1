"""Where in the kernel the exits of a run spent their time: as text, and folded for flame graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from .. import units
from ..insight.stacks import Cause, Part, Spent, causes, from_run, path, spent
from ..model.keys import unpack
from ..model.snapshot import Snapshot
from ..model.stacks import FREQUENCY
from ..sanitize import clean

MOST_CAUSES = 6  # of a reason,
MOST_STACKS = 5  # with at least
LEAST = 0.005  # of its time
_BY = {"idle": "halted", "blocked": "blocked in", "kernel": "in the kernel in"}


def text(snapshot: Snapshot) -> str:
    """By reason, most time first: what the time went to in words, and the stacks with most of it."""
    stacks = snapshot.stacks
    if stacks is None:
        return ""
    found = spent(snapshot)
    samples = sum(one.samples for one in found)
    seconds = (snapshot.time_ns - stacks.base.time_ns) / 1e9
    lines = [
        "",
        f"# Where in the kernel exits spent their time, in {seconds:.1f} s. 100% is a reason's time from leaving the",
        f"# guest to entering it: off the CPU as measured; on it as measured, and divided by {samples} samples",
        f"# ({FREQUENCY} a second on each CPU).",
    ]
    if stacks.pids:
        lines.append(f"# Of the VMs {', '.join(map(str, sorted(stacks.pids)))} alone, by their processes.")
    lines += [f"# {stacks.unnamed}."] if stacks.unnamed else []
    for words, number in (("samples were lost", stacks.lost), ("times off the CPU had no room", stacks.dropped)):
        if number:
            lines.append(f"# {number} {words}.")
    for one in found:
        lines += ["", *_reason(one)]
    return "\n".join(lines) + "\n"


def _reason(one: Spent) -> Iterator[str]:
    states = (f"{units.percent(ns / one.time)} {state}" for state, ns in one.states.items() if ns)
    yield f"{one.name}: {one.exits} exits, {units.duration(one.time)}: {', '.join(states)}; {one.samples} samples"
    for cause in [cause for cause in causes(one) if cause.share >= LEAST][:MOST_CAUSES]:
        yield f"  {units.percent(cause.share):>6} {said(cause)}"
    sums, counts = Counter[tuple[str, tuple[str, ...]]](), Counter[tuple[str, tuple[str, ...]]]()
    for part in one.parts:
        key = part.state, from_run(path(part))
        sums[key] += part.ns
        counts[key] += part.times
    shown = [(key, ns) for key, ns in sums.most_common(MOST_STACKS) if ns >= LEAST * one.time]
    for key, ns in shown:
        state, frames = key
        unit = "samples" if state in ("kernel", "user") else "times"
        count = f", {counts[key]} {unit}" if counts[key] else ""
        yield f"  {units.percent(ns / one.time):>6} {units.duration(ns)}{count}: {' ← '.join(reversed(frames))}"
    if left := len([ns for ns in sums.values() if ns]) - len(shown):
        yield f"         and {left} more stacks"


def said(cause: Cause) -> str:
    """Without its share: "blocked in userfaultfd (handle_userfault: a post-copy migration …)"."""
    if cause.state == "idle" and cause.what == "halt":
        return f"halted ({cause.function}: {cause.why})"
    return f"{_BY[cause.state]} {cause.what} ({cause.function}{f': {cause.why}' if cause.why else ''})"


def folded(snapshot: Snapshot) -> str:
    """Lines "VM;vCPU;reason;frame;frame… weight", as flamegraph.pl and speedscope read them; weight in µs.

    Who is off the CPU has a last frame that says why, user space one before its own.
    """
    names = {int(one["id"]): f"vCPU {one['vcpu']}" for one in snapshot.threads}
    weights = Counter[tuple[str, ...]]()
    for one in spent(snapshot):
        for part in one.parts:
            weights[(*_who(part, snapshot, names), one.name, *path(part))] += part.ns
    lines = (f"{';'.join(map(_harmless, frames))} {round(ns / 1000)}" for frames, ns in sorted(weights.items()))
    return "".join(f"{line}\n" for line in lines if not line.endswith(" 0"))


def _who(part: Part, snapshot: Snapshot, names: dict[int, str]) -> tuple[str, str]:
    pid, tid = unpack(part.thread)
    if not part.thread:
        return "(all VMs)", "(all vCPUs)"
    vm = snapshot.vms.get(pid)
    return vm.name if vm else f"process {pid}", names.get(part.thread, f"thread {tid}")


def _harmless(name: str) -> str:
    """Nothing that ends a frame or a line."""
    return clean(name).replace(";", ",") or "–"
