"""What somebody looked at, as tables of numbers for the frames, with texts by their numbers; and back.

The tables are told apart by kind, as codec.py's, and have an id for each row: what names it in every Snapshot, so that
a frame has what changed. All numbers are of 64 bits, what is below 0 in two's complement. A text is a number of the
file's table `texts`, 0 for none, and several of them are its lines. "look", "scheduling" and "stacks" have one row
while somebody looks, and none, nor have theirs, while nobody does.

Where there is more of anything than the limits allow, that look is left out: nobody will have looked then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..model.apic import NOT_RECORDED, Apic
from ..model.arrays import U64, Array
from ..model.keys import pack, unpack
from ..model.scheduling import CHARGE, LATENCY, Placement, Process, Scheduling
from ..model.snapshot import SLOW, TOUCH, Details, Snapshot, Stacks
from ..model.stacks import Off, Stack
from ..model.vocabulary import KINDS, STATES, DetailRequest
from ..sanitize import clean
from .format import LONGEST_TEXT, MOST_LATENCIES, MOST_LINES, MOST_ROWS, MOST_SLOW, MOST_TEXTS, MOST_TOUCHED, BadFrame

Tables = dict[str, tuple[U64, Array]]  # kind → the ids of its rows, and the rows
NONE = -1  # in the place of a number: there is none
_NO_NODE = 0xFFFFFFFF  # a VM whose memory was asked for, in a row of its own


def _wide(dtype: np.dtype[np.void]) -> np.dtype[np.void]:
    """The same columns, as a frame has them: `hist` first, of which codec.py expects others."""
    found: list[Any] = []
    for name in dtype.names or ():
        column = dtype[name]
        if column.shape:
            found.insert(0, (name, "u8", column.shape))
        else:
            found += [(f"{name}_0", "i8"), (f"{name}_8", "i8")] if column.kind == "S" else [(name, "i8")]
    return np.dtype(found)


def _columns(*names: str) -> np.dtype[np.void]:
    return np.dtype([(name, "i8") for name in names])


_STACK = ("thread", "isa", "code", "state", "frames")
# Kind → its columns; what the id of a row is.
KINDS_OF_TABLES = {
    # A DetailRequest, as Details have it: kinds, a bit for each of KINDS.
    "look": _columns(
        *("since_ns", "kinds", "only", "isa", "code", "slow_ns", "sched", "numa", "stacks", "undelivered", "pids")
    ),
    "touched": _wide(TOUCH),  # touched_ids
    "dropped": _columns("events"),  # the kind's number
    "scheduling": _columns("since_ns", "pid", "unnamed"),
    "charges": _wide(CHARGE),  # charge_ids
    "latencies": _wide(LATENCY),  # the thread
    "running": _columns("thread"),  # the CPU
    "idle": _columns("ns"),  # the CPU
    "cores": _columns("first"),  # the CPU
    "sleeps": _columns("frames"),  # the stack's number in charges
    "processes": _columns("name", "cgroup", "vm"),  # the tgid
    "cgroups": _columns("path"),  # the cgroup's
    "placements": _columns("allowed", "all", "siblings", "node"),  # the tid
    "memory": _columns("bytes"),  # pid and node, packed
    "calls": _columns("file"),  # pid and fd, packed
    "neighbours": _columns("vcpu"),  # a thread that is not among the threads
    "stacks": _columns("base", "only", "isa", "code", "lost", "dropped", "dropped_ns", "unnamed", "pids"),
    "off": _columns(*_STACK, *Off._fields),  # by order of appearance
    "on": _columns(*_STACK, "samples"),
    "apic": _columns("inhibits"),  # the pid
    "quotas": _columns("quota"),  # the pid
    "facts": _columns("counted_by", "apic_unknown"),
}
MOST = {kind: MOST_ROWS for kind in KINDS_OF_TABLES} | {"touched": MOST_TOUCHED, "latencies": MOST_LATENCIES}
EMPTY: Tables = {kind: (np.zeros(0, "u8"), np.zeros(0, dtype)) for kind, dtype in KINDS_OF_TABLES.items()}
LOOKS = {
    "look": ("touched", "dropped"),
    "scheduling": (
        *("charges", "latencies", "running", "idle", "cores", "sleeps", "processes", "cgroups", "placements", "memory"),
        *("calls", "neighbours"),
    ),
    "stacks": ("off", "on"),
}


def wide(rows: Array, dtype: np.dtype[np.void]) -> Array:
    """Rows in columns of _wide()."""
    found = np.zeros(len(rows), dtype)
    for name in rows.dtype.names or ():
        if rows.dtype[name].kind == "S":
            words = np.ascontiguousarray(rows[name]).view("<i8").reshape(len(rows), 2)
            found[f"{name}_0"], found[f"{name}_8"] = words[:, 0], words[:, 1]
        else:
            found[name] = rows[name].astype(found.dtype[name].base)
    return found


def narrow(rows: Array, dtype: np.dtype[np.void]) -> Array:
    """wide()'s rows as they were. Raises BadFrame."""
    found = np.zeros(len(rows), dtype)
    for name in dtype.names or ():
        column = dtype[name].base
        if column.kind == "S":
            words = np.column_stack([rows[f"{name}_0"], rows[f"{name}_8"]]).astype("<i8")
            found[name] = words.view("S16").reshape(len(rows))
        else:
            values = rows[name]
            if column.itemsize < 8 and len(values):
                limits = np.iinfo(column)
                if int(values.min()) < limits.min or int(values.max()) > limits.max:
                    raise BadFrame(f"{name} too large")
            found[name] = values.astype(column)
    return found


class Packer:
    """Packs the Snapshots of one file. new_texts and new_bases: what they need that the file has not yet."""

    def __init__(self) -> None:
        self.new_texts: list[tuple[int, str]] = []
        self.new_bases: list[tuple[int, Snapshot]] = []
        self._texts: dict[str, int] = {}
        self._base, self._since = 0, NONE  # the number of the last, and its time
        self._numbers: dict[Stack, int] = {}  # of its stacks

    def pack(self, snapshot: Snapshot) -> Tables:
        """The tables of a Snapshot, empty ones left out."""
        found: Tables = {}
        rows: dict[str, tuple[Iterable[int], list[tuple[int, ...]]]] = {}
        counted_by, apic = self._text(snapshot.counted_by or ""), snapshot.apic
        rows["facts"] = [0], [(counted_by, self._text(apic.unknown))]
        rows["apic"] = apic.inhibits, [(self._text(*why),) for why in apic.inhibits.values()]
        quotas = {pid: vm.quota for pid, vm in snapshot.vms.items() if vm.quota}
        rows["quotas"] = quotas, [(self._text(quota),) for quota in quotas.values()]
        if details := snapshot.details:
            rows["look"] = [0], [(*_look(details), self._pids(details.look.pids))]
            kinds = {KINDS.index(kind): count for kind, count in details.dropped.items()}
            rows["dropped"] = kinds, [(count,) for count in kinds.values()]
            found["touched"] = details.touched_ids, wide(details.touched, KINDS_OF_TABLES["touched"])
        if told := snapshot.scheduling:
            rows |= self._scheduling(told)
            found["charges"] = told.charge_ids, wide(told.charges, KINDS_OF_TABLES["charges"])
            found["latencies"] = told.latencies["id"], wide(told.latencies, KINDS_OF_TABLES["latencies"])
        if stacks := snapshot.stacks:
            rows |= self._stacks(stacks)
        for kind, (ids, numbers) in rows.items():
            if numbers:
                found[kind] = np.array(list(ids), "u8"), _rows(kind, numbers)
        for look, its in LOOKS.items():
            if any(len(found[kind][0]) > MOST[kind] for kind in its if kind in found):
                for kind in (look, *its):
                    found.pop(kind, None)
        if snapshot.details and len(snapshot.details.slow) > MOST_SLOW:
            for kind in ("look", *LOOKS["look"]):
                found.pop(kind, None)
        return found

    def written(self) -> None:
        """The file has what was new."""
        self.new_texts, self.new_bases = [], []

    def _text(self, *lines: str) -> int:
        """Their number, together."""
        if lines in ((), ("",)):
            return 0
        text = "\n".join(clean(line, LONGEST_TEXT) for line in lines[:MOST_LINES])[:LONGEST_TEXT]
        number = self._texts.get(text, 0)
        if not number and len(self._texts) < MOST_TEXTS:  # of what comes later nothing is known
            number = self._texts[text] = len(self._texts) + 1
            self.new_texts.append((number, text))
        return number

    def _scheduling(self, told: Scheduling) -> dict[str, tuple[Iterable[int], list[tuple[int, ...]]]]:
        text = self._text
        memory = {
            pack(pid, node): bytes
            for pid, nodes in told.memory.items()
            for node, bytes in ((_NO_NODE, 0), *nodes.items())
        }
        return {
            "scheduling": ([0], [(told.since_ns, told.pid, text(told.unnamed))]),
            "running": (range(len(told.running)), [(_signed(thread),) for thread in told.running.tolist()]),
            "idle": (told.idle, [(ns,) for ns in told.idle.values()]),
            "cores": (told.cores, [(first,) for first in told.cores.values()]),
            "sleeps": (told.stacks, [(text(*frames),) for frames in told.stacks.values()]),
            "processes": (
                told.processes,
                [(text(one.name), text(one.cgroup), text(one.vm)) for one in told.processes.values()],
            ),
            "cgroups": (told.cgroups, [(text(path),) for path in told.cgroups.values()]),
            "placements": (
                told.placements,
                [
                    (text(one.allowed), int(one.all), text(*map(str, one.siblings)), _or_none(one.node))
                    for one in told.placements.values()
                ],
            ),
            "memory": (memory, [(bytes,) for bytes in memory.values()]),
            "calls": ((pack(*key) for key in told.calls), [(text(file),) for file in told.calls.values()]),
            "neighbours": (told.vcpus, [(number,) for number in told.vcpus.values()]),
        }

    def _stacks(self, stacks: Stacks) -> dict[str, tuple[Iterable[int], list[tuple[int, ...]]]]:
        if self._since != stacks.base.time_ns:
            self._base, self._since = self._base + 1, stacks.base.time_ns
            self.new_bases.append((self._base, stacks.base))
            self._numbers = {}
        only = (1, *stacks.only) if stacks.only else (0, 0, 0)
        numbers = (stacks.lost, stacks.dropped, stacks.dropped_ns, self._text(stacks.unnamed), self._pids(stacks.pids))
        return {
            "stacks": ([0], [(self._base, *only, *numbers)]),
            "off": (map(self._number, stacks.off), [(*self._stack(key), *off) for key, off in stacks.off.items()]),
            "on": (
                map(self._number, stacks.samples),
                [(*self._stack(key), samples) for key, samples in stacks.samples.items()],
            ),
        }

    def _pids(self, pids: frozenset[int]) -> int:
        return self._text(*map(str, sorted(pids)))

    def _number(self, stack: Stack) -> int:
        return self._numbers.setdefault(stack, len(self._numbers) + 1)

    def _stack(self, stack: Stack) -> tuple[int, ...]:
        return (
            *(_signed(stack.thread), stack.isa, stack.code, STATES.index(stack.state)),
            self._text(*stack.frames),
        )


def _look(details: Details) -> tuple[int, ...]:
    look = details.look
    return (
        details.since_ns,
        sum(1 << KINDS.index(kind) for kind in look.kinds),
        *((1, *look.only) if look.only else (0, 0, 0)),
        *(_or_none(number) for number in (look.slow_ns, look.sched)),
        int(look.numa),
        int(look.stacks),
        details.undelivered,
    )


def _or_none(number: int | None) -> int:
    return NONE if number is None else number


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _rows(kind: str, numbers: list[tuple[int, ...]]) -> Array:
    found: Array = np.array(numbers, "i8").reshape(-1).view(KINDS_OF_TABLES[kind])
    return found


class Unpacker:
    """Unpacks the Snapshots of one file. lines: those of a text by its number; base: a Snapshot that stacks count from;
    both raise BadFrame."""

    def __init__(self, lines: Callable[[int], tuple[str, ...]], base: Callable[[int], Snapshot]) -> None:
        self._lines, self._base = lines, base

    def unpack(self, snapshot: Snapshot, tables: Tables, slow: Callable[[], Array]) -> Snapshot:
        """The same with what the tables tell. slow: its slow exits, where somebody looked. Raises BadFrame."""
        text, apic = self._text, NOT_RECORDED
        counted_by = None
        for _, row in self._each(tables, "facts"):
            counted_by = text(row["counted_by"]) or None
            inhibits = {pid: self._lines(why["inhibits"]) for pid, why in self._each(tables, "apic")}
            apic = Apic(inhibits, text(row["apic_unknown"]))
        vms = snapshot.vms
        quotas = {pid: text(row["quota"]) for pid, row in self._each(tables, "quotas") if pid in vms}
        if quotas:
            vms = {pid: replace(vm, quota=quotas.get(pid, vm.quota)) for pid, vm in vms.items()}
        return replace(
            snapshot,
            vms=vms,
            counted_by=counted_by,
            apic=apic,
            details=self._details(tables, slow),
            scheduling=self._scheduling(tables),
            stacks=self._stacks(tables),
        )

    def _each(self, tables: Tables, kind: str) -> Iterable[tuple[int, dict[str, int]]]:
        ids, rows = tables.get(kind, EMPTY[kind])
        names = rows.dtype.names or ()
        return zip(ids.tolist(), (dict(zip(names, row, strict=True)) for row in rows.tolist()), strict=True)

    def _text(self, number: int) -> str:
        return next(iter(self._lines(number)), "")

    def _details(self, tables: Tables, slow: Callable[[], Array]) -> Details | None:
        for _, row in self._each(tables, "look"):
            kinds = frozenset(kind for number, kind in enumerate(KINDS) if kind and row["kinds"] >> number & 1)
            look = DetailRequest(
                kinds,
                _key(row),
                _unless_none(row["slow_ns"]),
                _unless_none(row["sched"]),
                bool(row["numa"]),
                bool(row["stacks"]),
                pids=self._pids(row),
            )
            ids, touched = tables.get("touched", EMPTY["touched"])
            rows = narrow(touched, TOUCH)
            known = rows["kind"] < len(KINDS)  # others came later
            dropped = {KINDS[n]: one["events"] for n, one in self._each(tables, "dropped") if n < len(KINDS)}
            return Details(row["since_ns"], look, rows[known], ids[known], dropped, slow(), row["undelivered"])
        return None

    def _scheduling(self, tables: Tables) -> Scheduling | None:
        text, lines = self._text, self._lines
        for _, row in self._each(tables, "scheduling"):
            memory: dict[int, dict[int, int]] = {}
            for key, one in self._each(tables, "memory"):
                pid, node = unpack(key)
                nodes = memory.setdefault(pid, {})
                if node != _NO_NODE:
                    nodes[node] = one["bytes"]
            charge_ids, charges = tables.get("charges", EMPTY["charges"])
            _, running = tables.get("running", EMPTY["running"])
            return Scheduling(
                since_ns=row["since_ns"],
                pid=row["pid"],
                charges=narrow(charges, CHARGE),
                charge_ids=charge_ids,
                latencies=narrow(tables.get("latencies", EMPTY["latencies"])[1], LATENCY),
                running=running["thread"].astype("u8"),
                stacks={number: lines(one["frames"]) for number, one in self._each(tables, "sleeps")},
                processes={
                    tgid: Process(text(one["name"]), text(one["cgroup"]), text(one["vm"]))
                    for tgid, one in self._each(tables, "processes")
                },
                cgroups={id: text(one["path"]) for id, one in self._each(tables, "cgroups")},
                placements={
                    tid: Placement(
                        text(one["allowed"]),
                        bool(one["all"]),
                        _small(lines(one["siblings"])),
                        _unless_none(one["node"]),
                    )
                    for tid, one in self._each(tables, "placements")
                },
                memory=memory,
                calls={unpack(key): text(one["file"]) for key, one in self._each(tables, "calls")},
                vcpus={thread: one["vcpu"] for thread, one in self._each(tables, "neighbours")},
                idle={cpu: one["ns"] for cpu, one in self._each(tables, "idle")},
                cores={cpu: one["first"] for cpu, one in self._each(tables, "cores")},
                unnamed=text(row["unnamed"]),
            )
        return None

    def _stacks(self, tables: Tables) -> Stacks | None:
        for _, row in self._each(tables, "stacks"):
            off = {self._stack(one): Off(*(one[name] for name in Off._fields)) for _, one in self._each(tables, "off")}
            on = {self._stack(one): one["samples"] for _, one in self._each(tables, "on")}
            if min(on.values(), default=1) < 1:
                raise BadFrame("less than a sample")
            numbers = {name: row[name] for name in ("lost", "dropped", "dropped_ns")}
            base, pids, unnamed = self._base(row["base"]), self._pids(row), self._text(row["unnamed"])
            return Stacks(base, _key(row), pids, off, on, **numbers, unnamed=unnamed)
        return None

    def _pids(self, row: Mapping[str, int]) -> frozenset[int]:
        return frozenset(_small(self._lines(row["pids"])))

    def _stack(self, row: Mapping[str, int]) -> Stack:
        if not 0 < row["state"] < len(STATES):
            raise BadFrame("a state that there is not, out of the guest")
        return Stack(
            row["thread"] & 0xFFFFFFFFFFFFFFFF, *_isa_code(row), STATES[row["state"]], self._lines(row["frames"])
        )


def _isa_code(row: Mapping[str, int]) -> tuple[int, int]:
    if not (0 <= row["isa"] < 1 << 32 and 0 <= row["code"] < 1 << 32):
        raise BadFrame("a reason that there cannot be")
    return row["isa"], row["code"]


def _key(row: Mapping[str, int]) -> tuple[int, int] | None:
    return _isa_code(row) if row["only"] else None


def _unless_none(number: int) -> int | None:
    return None if number < 0 else number


def _small(lines: tuple[str, ...]) -> tuple[int, ...]:
    """Numbers of CPUs or processes."""
    if not all(line.isascii() and line.isdigit() and len(line) < 10 for line in lines):
        raise BadFrame("a CPU or a process that there cannot be")
    return tuple(map(int, lines))


SLOW_COLUMNS = (*(name for name in SLOW.names or () if name != "id"), "pid", "tid")


def slow_rows(rows: Array) -> list[tuple[int, ...]]:
    """Slow exits as rows of SLOW_COLUMNS; numbers of 64 bits in two's complement."""
    numbers = [rows[name].astype("i8").tolist() for name in SLOW_COLUMNS[:-2]]
    return list(zip(*numbers, *(part.astype("i8").tolist() for part in unpack(rows["id"])), strict=True))


def slow_exits(rows: Iterable[tuple[int, ...]]) -> Array:
    """The same as rows of dtype SLOW. Raises BadFrame."""
    numbers = np.array(list(rows), "i8").reshape(-1, len(SLOW_COLUMNS))
    found = np.zeros(len(numbers), [*((name, "i8") for name in SLOW.names or ())])
    for name, column in zip(SLOW_COLUMNS[:-2], numbers.T[:-2], strict=True):
        found[name] = column
    pids, tids = numbers.T[-2:]
    if ((numbers[:, -2:] < 0) | (numbers[:, -2:] >> 32 > 0)).any():
        raise BadFrame("a thread that there cannot be")
    found["id"] = pack(pids, tids).astype("i8")
    return narrow(found, SLOW)
