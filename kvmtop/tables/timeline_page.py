"""From stretches of single exits to what the timeline page shows: bands, who had the CPUs, and one exit in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .. import units
from ..insight.tracks import THROTTLED, WAIT, Floats, Track, Tracks
from ..model.arrays import Array
from ..model.keys import unpack
from ..model.snapshot import Snapshot
from ..model.timeline import A_TASK, AN_INTERRUPT, NO_REASON, Stretch
from ..model.vocabulary import KINDS, NESTED, REFLECTED, STATES
from ..reference.labels import Labels
from ..sanitize import clean
from .rows import Runs
from .slow_exits import clock
from .timeline_view import NOBODY, UNKNOWN, Band, Book, CpuBand, Happened, Part, Task, Window

_NOBODY_ELSE = "ready to run, but not running"
_TICK = 10  # cells between two marks of the scale, at least


@dataclass(frozen=True)
class Cast:
    """The names of who is seen."""

    vms: Mapping[int, str]  # by pid
    vcpus: Mapping[int, int]  # thread (tgid and tid, packed) → vCPU
    cpus: Mapping[int, int]  # tid → the CPU that it was on last
    labels: Labels
    wall_ns: int  # CLOCK_REALTIME less CLOCK_MONOTONIC


def cast(snapshot: Snapshot, labels: Labels) -> Cast:
    """Of a snapshot."""
    threads = snapshot.threads
    return Cast(
        {pid: vm.name for pid, vm in snapshot.vms.items()},
        dict(zip(threads["id"].tolist(), threads["vcpu"].tolist(), strict=True)),
        snapshot.cpus,
        labels,
        snapshot.wall_ns - snapshot.time_ns if snapshot.wall_ns else 0,
    )


class Drawn:
    """One stretch of time, to be drawn in any window."""

    def __init__(self, stretch: Stretch, cast: Cast) -> None:
        self._tracks, self._cast = Tracks(stretch), cast
        self.start, self.stop, self.slow, self.lost = stretch.start_ns, stretch.stop_ns, stretch.slow, stretch.lost
        self.name = cast.vms.get(stretch.pid, f"pid {stretch.pid}")
        self._pid = stretch.pid

    def prepared(self) -> Drawn:
        """With what takes longest done: to be called in another thread."""
        if self.threads:
            self._tracks.ran  # noqa: B018
        return self

    @cached_property
    def threads(self) -> Sequence[int]:
        """Of its vCPUs, in order."""
        known = [thread for thread in self._cast.vcpus if unpack(thread)[0] == self._pid]
        return sorted({*known, *self._tracks.of}, key=lambda thread: (self._cast.vcpus.get(thread, 1 << 32), thread))

    def _track(self, thread: int) -> Track | None:
        return self._tracks.of.get(thread)

    def _vcpu(self, thread: int) -> str:
        number = self._cast.vcpus.get(thread)
        return "vCPU –" if number is None else f"vCPU {number}"

    # Bands

    def band(self, thread: int, window: Window) -> Band:
        """What a vCPU did."""
        track = self._track(thread)
        if track is None:
            nothing = [UNKNOWN] * window.cells
            return Band(thread, self._vcpu(thread), "", nothing * 2, nothing, {}, None)
        halves = track.shares(window.edges(2))
        start = max(window.start, min(self.start, window.stop - 1))
        whole = track.shares([start, max(min(window.stop, self.stop), start + 1)])[0]
        cells = halves.reshape(window.cells, 2, UNKNOWN + 1).sum(axis=1)
        shares = {state: float(whole[at]) for at, state in enumerate(STATES) if whole[at] > 0}
        others = {state: share for state, share in shares.items() if state != "guest" and share >= 0.0005}
        most = max(others, key=lambda state: others[state], default=None)
        return Band(
            thread,
            self._vcpu(thread),
            self._place(track, window),
            halves.argmax(axis=1).tolist(),
            cells.argmax(axis=1).tolist(),
            shares,
            (most, others[most]) if most else None,
        )

    def _place(self, track: Track, window: Window) -> str:
        """The CPU on which it was at the end of what is in view, as far as its exits tell."""
        at = track.at(window.stop - 1)
        cpu = self._cast.cpus.get(unpack(track.thread)[1]) if at is None else int(track.exits["cpu"][at])
        return "" if cpu is None else f"CPU {cpu}"

    @property
    def cpu_count(self) -> int:
        """How many CPUs they had."""
        return len(self._tracks.ran)

    def cpus(self, first: int | None, window: Window, most: int) -> list[CpuBand]:
        """Who had the CPUs that these vCPUs had, in order; where there are more than that, those of thread `first`."""
        numbers = sorted(self._tracks.ran)
        if len(numbers) > most:
            track = self._track(first) if first is not None else None
            own = np.unique(track.exits["cpu"]).tolist() if track else []
            numbers = sorted([*own, *(cpu for cpu in numbers if cpu not in own)][:most])
        return [self._cpu(cpu, window) for cpu in numbers]

    def _cpu(self, cpu: int, window: Window) -> CpuBand:
        rows, shares = self._tracks.tasks(cpu, window.edges(1))
        tasks = [self._task(row) for row in rows]
        if not tasks:
            return CpuBand(cpu, [NOBODY] * window.cells, [], None)
        left = 1 - shares.sum(axis=1, keepdims=True)
        longest = np.concatenate([shares, left], axis=1).argmax(axis=1)
        cells = np.where(longest == len(tasks), NOBODY, longest).tolist()
        total: Floats = shares.mean(axis=0)
        others = [(float(share), task.name) for share, task in zip(total, tasks, strict=True) if task.kind != "own"]
        share, name = max(others, default=(0.0, ""))
        return CpuBand(cpu, cells, tasks, (name, share) if share >= 0.0005 else None)

    def _task(self, row: np.void) -> Task:
        thread = int(row["id"])
        pid, tid = unpack(thread)
        number = self._cast.vcpus.get(thread)
        if number is not None:
            own, vm = pid == self._pid, self._cast.vms.get(pid, f"pid {pid}")
            return Task(f"vCPU {number}" if own else f"{vm} · {number}", "own" if own else "vcpu")
        return Task(f"{_command(row['comm'])} {tid}", "task")

    def ticks(self, window: Window, origin: int) -> list[tuple[int, str]]:
        """Marks of the scale of time: cells, and words. origin: where it is 0."""
        cell = 2 * window.step
        step = next(n * 10**power for power in range(12) for n in (1, 2, 5) if n * 10**power >= _TICK * cell)
        unit, ns = next((unit, ns) for unit, ns in (("s", 10**9), ("ms", 10**6), ("µs", 10**3)) if step >= ns)
        found: list[tuple[int, str]] = []
        for at in range(-(-(window.start - origin) // step) * step, window.stop - origin, step):
            number = f"{abs(at) / ns:g}" if abs(at) < 10**6 * ns else f"{abs(at) // ns}"
            sign = "+" if at > 0 else "−" if at < 0 else ""
            found.append(((at + origin - window.start) // cell, f"{sign}{number}{'' if found else f' {unit}'}"))
        return found

    # Exits

    def exit(self, thread: int, at: int) -> tuple[int, int] | None:
        """When the exit number `at` of a thread begins and ends; None: there is none."""
        track = self._track(thread)
        if track is None or not 0 <= at < len(track.exits):
            return None
        row = track.exits[at]
        return max(int(row["begin_ns"]), self.start if not row["begin_ns"] else 0), int(row["end_ns"])

    def at(self, thread: int, ns: int) -> int | None:
        """The exit of a thread that is open then, or begins next."""
        track = self._track(thread)
        return track.at(ns) if track else None

    def label(self, thread: int, at: int) -> str:
        """An exit in two words."""
        track = self._tracks.of[thread]
        row = track.exits[at]
        return f"{self._reason(row)} {self._lasted(row)}"

    def _reason(self, row: np.void) -> str:
        if row["reason"] == NO_REASON:
            return "outside the guest"
        return self._cast.labels.names.name(int(row["isa"]), int(row["reason"]))

    def _lasted(self, row: np.void) -> str:
        length = units.duration(int(row["end_ns"]) - max(int(row["begin_ns"]), 0 if row["begin_ns"] else self.start))
        return length if row["number"] and row["begin_ns"] else f"> {length}"

    def happened(self, thread: int, at: int) -> Happened:
        """An exit, piece by piece."""
        track = self._tracks.of[thread]
        row = track.exits[at]
        begin, end = self.exit(thread, at) or (0, 0)
        pieces = track.inside(begin, end)
        times = {state: 0.0 for state in STATES}
        for piece in pieces:
            length, state = int(piece["end_ns"]) - int(piece["begin_ns"]), int(piece["state"])
            withheld = float(piece["withheld"]) * length
            times[STATES[state]] += length - withheld
            times["throttled"] += withheld
        most = max(times, key=lambda state: times[state])
        when = clock((begin + self._cast.wall_ns) / 1e9, 3) if self._cast.wall_ns else ""
        parts = [self._part(pieces, number, row, begin, end) for number in range(len(pieces))]
        rest = [f"{self._vcpu(thread)} of {self.name}", self._lasted(row), when]
        over = row["number"] or row["reason"] == NO_REASON
        rest += [] if over else ["it had not ended"]
        key = None if row["reason"] == NO_REASON else (int(row["isa"]), int(row["reason"]))
        lines = self._lines(row, times, end - begin)
        return Happened(self._reason(row), " · ".join(filter(None, rest)), most, parts, lines, key)

    def _part(self, pieces: Array, number: int, row: np.void, begin: int, end: int) -> Part:
        one = pieces[number]
        since, until, length = int(one["begin_ns"]), int(one["end_ns"]), max(end - begin, 1)
        state = STATES[int(one["state"])]
        if one["withheld"] > 0.5:
            state = STATES[THROTTLED]
        return Part(
            state,
            units.duration(since - begin),
            units.duration(until - since),
            (since - begin) / length,
            (until - begin) / length,
            self._words(pieces, number, row),
        )

    def _words(self, pieces: Array, number: int, row: np.void) -> str:
        one, state = pieces[number], STATES[int(pieces[number]["state"])]
        if state in ("idle", "blocked"):
            woken = self._woken(pieces[number + 1]) if number + 1 < len(pieces) else ""
            words = "halted: the guest had nothing to do" if state == "idle" else "asleep"
            return f"{words}, until {woken} woke it" if woken else words
        if state == "wait":
            return self._waited(one)
        return "the VMM dealt with it" if state == "user" else self._handled(number, len(pieces), self._touched(row))

    def _handled(self, number: int, pieces: int, touched: str) -> str:
        """What the kernel did: in the first piece the exit is told, in the last the guest was entered."""
        if pieces == 1:
            return f"KVM dealt with it: {touched}" if touched else "KVM dealt with it"
        if number == 0:
            return touched or "KVM began to deal with it"
        return "the kernel, until the guest was entered" if number == pieces - 1 else "the kernel"

    def _touched(self, row: np.void) -> str:
        kind = KINDS[int(row["kind"]) % len(KINDS)]
        if not kind or row["reason"] == NO_REASON:
            return ""
        return self._labels(row).what(kind, int(row["value"]), int(row["extra"]))

    def _labels(self, row: np.void) -> Labels:
        """Symbols and memory map are the VM's own, not those of a guest in it."""
        labels = self._cast.labels
        return Labels(labels.names) if row["isa"] & NESTED else labels

    def _woken(self, piece: np.void) -> str:
        """Who ended the sleep before this wait; empty: not known."""
        if piece["state"] != WAIT or piece["row"] < 0:
            return ""
        span = self._tracks.stretch.spans[int(piece["row"])]
        if span["by"] == AN_INTERRUPT:
            return "an interrupt"
        if span["by"] != A_TASK:
            return ""
        thread = int(span["waker"])
        if not thread:
            return "the idle CPU"
        if thread in self._cast.vcpus:
            pid = unpack(thread)[0]
            return f"{'' if pid == self._pid else self._cast.vms.get(pid, f'pid {pid}') + ' '}{self._vcpu(thread)}"
        return f"{_command(span['comm'])} ({unpack(thread)[1]})"

    def _waited(self, piece: np.void) -> str:
        span = self._tracks.stretch.spans[int(piece["row"])]
        length = int(piece["end_ns"]) - int(piece["begin_ns"])
        words = _NOBODY_ELSE
        window = [int(piece["begin_ns"]), int(piece["end_ns"])]
        rows, shares = self._tracks.tasks(int(span["cpu"]), window, most=2)
        others = [(share, row) for share, row in zip(shares[0], rows, strict=True) if row["id"] != piece["id"]]
        if others and others[0][0] > 0:
            share, row = others[0]
            task = self._task(row)
            who = task.name if task.kind != "task" else f"{_command(row['comm'])} ({unpack(int(row['id']))[1]})"
            some = "" if share > 0.95 else f" for {units.duration(share * length)} of it"
            words = f"ready, but {who} had CPU {span['cpu']}{some}"
        withheld = float(piece["withheld"]) * length
        if withheld > 0.95 * length:
            return "its cgroup's CPU quota was used up"
        return f"{words}; its CPU quota withheld {units.duration(withheld)}" if withheld else words

    def _lines(self, row: np.void, times: Mapping[str, float], length: int) -> list[tuple[str, Runs]]:
        shares = sorted(((ns / max(length, 1), state) for state, ns in times.items()), reverse=True)
        short = list[tuple[str, str]]()
        for share, state in shares:
            if share >= 0.005:
                short += [*([(", ", "")] if short else []), (f"{units.percent(share)} {state}", state)]
        found: list[tuple[str, Runs]] = [("In short", short)] if short else []
        if row["rip"]:
            found.append(("Guest code", [(self._labels(row).what("rip", int(row["rip"]), 0), "")]))
        if row["reason"] != NO_REASON:
            isa = int(row["isa"])
            level = "of a nested guest (L2)" if isa & NESTED else "of this VM's own (L1)"
            level += "; its hypervisor (L1) was given it" if isa & REFLECTED else ""
            found.append(("Level", [(level, "")]))
        return found


def _command(comm: bytes) -> str:
    return clean(comm.decode(errors="replace")) or "–"


@dataclass
class Pages:
    """Makes Books; what was made of a stretch around a slow exit is kept as long as that is."""

    _made: dict[int, tuple[Stretch, Drawn]] = field(default_factory=dict)

    def book(self, snapshot: Snapshot, pid: int | None, labels: Labels) -> Book | None:
        """Of a VM; None where the snapshot tells nothing of single exits, or not of this one."""
        told = snapshot.timeline
        if told is None or pid is None:
            return None
        names = cast(snapshot, labels)
        recent = Drawn(told.recent, names).prepared() if told.recent and told.recent.pid == pid else None
        made = {id(one): self._made.get(id(one)) or (one, Drawn(one, names)) for one in told.around}
        self._made = made
        around = [sheet for one, sheet in made.values() if one.pid == pid]
        return Book(recent, around, told.since_ns, told.slow_ns, told.lost)
