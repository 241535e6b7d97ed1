"""Loads and reads stacks.bpf.c: the kernel's stacks while exits last."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KvmtopError
from ..model.arrays import Array, find
from ..model.snapshot import Snapshot, Stacks
from ..model.stacks import FREQUENCY, Off, Stack
from ..model.vocabulary import MOST_PIDS, STATES, DetailRequest, vendor
from . import btf, kallsyms, syscalls
from .btf import TYPEDEF
from .keyed_rows import KeyedRows
from .probes import Probe, Probes
from .run_time import Runs
from .scheduling import DEEPEST, below
from .tracepoint import Tracefs

HERE = Path(__file__).parent
ROWS = 4096  # vCPUs times reasons times stacks: 260 KB of kernel memory
STACKS, MORE = 2048, 256  # distinct ones to sleep in: 2.4 MB
DEEP = 64  # functions of a sample; deeper ones are cut at their root
RING = 128  # samples for each CPU, 1.3 s: 67 KB
DRAIN = 0.4  # seconds between two readings of them
MOST = 20_000  # distinct stacks that are kept; of what comes later the functions are not
TRIES = 5  # readings for one that fits together

_KEY = [("id", "u8"), ("reason", "u4"), ("isa", "u4"), ("stack", "i4"), ("kind", "u4")]
ROW = np.dtype([*_KEY, *((name, "u8") for name in ("count", "ns", "waited", "max"))])
SLEEPER = np.dtype([("since_ns", "u8"), ("before", "u8"), *_KEY])
SAMPLE = np.dtype(
    [
        ("number", "u8"),
        ("id", "u8"),
        ("reason", "u4"),
        ("isa", "u4"),
        ("where", "u4"),
        ("size", "i4"),
        ("ip", "u8", DEEP),
    ]
)
TALLY = np.dtype([("samples", "u8"), ("dropped", "u8"), ("dropped_ns", "u8"), ("pad", "u8", (5,))])
CONFIG = np.dtype([("only", "u4"), ("reason", "u4"), ("isa", "u4"), ("pad", "u4"), ("pids", "u4", MOST_PIDS)])
_KEY_SIZE = 24
_OFFSETS = (
    ("REGS_CS", "pt_regs", ("cs",)),
    ("DATA_EVENT", "bpf_perf_event_data_kern", ("event",)),
    ("EVENT_EXPIRES", "perf_event", ("hw.hrtimer.node.expires",)),
)
_LEVELS = ("kvm_nested_vmexit", "kvm_nested_vmexit_inject")
_CANNOT = "stacks cannot be told on this kernel: that takes its types (CONFIG_DEBUG_INFO_BTF, and Linux 5.5)"


class StackProbes:
    """Loaded at construction, attached while look() asks for something."""

    def __init__(self, flags: Sequence[str], threads: int, shared: Mapping[str, int], use_mmap: bool = True) -> None:
        """flags, threads, shared: the collector's own, of its scheduler's events, its slots and its maps.

        Raises KvmtopError.
        """
        self._tracefs = Tracefs()
        found, switch = _found(flags)
        mapped = use_mmap and syscalls.mmapable()
        cpus = syscalls.possible_cpus()
        numbers = {"ROWS": ROWS, "THREADS": threads, "CPUS": cpus, "RING": RING}
        numbers |= {
            "DEEP": DEEP,
            "STACKS": STACKS,
            "MORE": MORE,
            "PIDS": MOST_PIDS,
            "MAP_FLAGS": syscalls.MMAPABLE if mapped else 0,
        }
        sizes = {"rows": ROWS, "sleepers": threads, "samples": cpus * RING, "tallies": cpus, "configs": 1}
        self._probes = Probes(
            HERE / "stacks.bpf.c",
            [
                *(flag for flag in flags if flag.startswith(("-DTYPED", "-DTASK_PID="))),
                *found,
                *(f"-D{name}={number}" for name, number in numbers.items()),
            ],
            [
                Probe("sched", "sched_switch", "on_switch", "typed", switch),
                Probe("perf", "cpu-clock", "on_sample", "sample", frequency=FREQUENCY),
                *(Probe("kvm", name, "on_level", "raw") for name in _LEVELS if self._tracefs.format("kvm", name)),
            ],
            [*sizes, "free_rows", "places", "stacks", "more"],
            shared,
        )
        dtypes = {"rows": ROW, "sleepers": SLEEPER, "samples": SAMPLE, "tallies": TALLY, "configs": CONFIG}
        self._maps = {
            name: syscalls.BpfArray(self._probes.maps[name], dtypes[name], size, mapped) for name, size in sizes.items()
        }
        self._rows = KeyedRows(self._maps["rows"], self._probes.maps, ROWS, lambda row: row.tobytes()[:_KEY_SIZE])
        self._look: DetailRequest | None = None
        self._base: Snapshot | None = None
        self._copied: tuple[Array, Array] | None = None  # rows, sleepers
        self._lock = threading.Lock()  # of all below
        self._ended = threading.Event()
        self._functions: kallsyms.Functions | None = None
        self._named: dict[int, str] = {}  # functions by address
        self._slept_in: dict[int, tuple[str, ...]] = {}  # by number of the stack
        self._given_up: dict[Stack, Off] = {}
        self._samples = Counter[Stack]()
        self._seen = np.zeros(cpus, "u8")  # samples taken from each ring
        self._lost = 0

    def look(self, wish: DetailRequest | None, base: Callable[[], Snapshot]) -> None:
        """Attach the probes for the reason and the VMs that are asked for, or detach them where no stacks are.

        base: the counters, to be read as soon as they are attached. Raises KvmtopError.
        """
        look = DetailRequest(only=wish.only, stacks=True, pids=wish.pids) if wish and wish.stacks else None
        if look == self._look:
            return
        self._stop()
        if look is None:
            return
        self._forget()
        config = np.zeros(1, CONFIG)
        if look.only:
            isa, code = look.only
            config["only"], config["isa"], config["reason"] = 1, vendor(isa), code
        config["pids"][0, : len(look.pids)] = sorted(look.pids)
        self._maps["configs"].write([0], config)
        self._probes.attach(self._tracefs)
        self._look, self._base = look, base()
        self._ended = threading.Event()
        threading.Thread(target=self._drain_on, args=(self._ended,), daemon=True).start()

    def _stop(self) -> None:
        self._probes.detach()
        self._ended.set()
        self._look = self._base = self._copied = None

    def _forget(self) -> None:
        """Start anew."""
        with self._lock:
            self._rows.forget()
            for name in ("sleepers", "tallies"):
                self._maps[name].clear(range(len(self._maps[name].read())))
            for name, size in (("stacks", STACKS), ("more", MORE)):
                for number in range(size):
                    syscalls.delete(self._probes.maps[name], number.to_bytes(4, "little"))
            self._functions = None  # modules may have come and gone
            for known in (self._named, self._slept_in, self._given_up, self._samples):
                known.clear()
            self._seen[:] = 0
            self._lost = 0

    def _drain_on(self, ended: threading.Event) -> None:
        """In a thread of its own: the rings are short, and an interval may be long."""
        while not ended.wait(DRAIN):
            with self._lock:
                if not ended.is_set():
                    self._drain()

    def _drain(self) -> None:
        written = self._maps["tallies"].read()["samples"]
        new = np.flatnonzero(written != self._seen)
        if not len(new):
            return
        places = (new[:, None] * RING + np.arange(RING)).ravel()
        rings = self._maps["samples"].take(places, SAMPLE).reshape(-1, RING)
        # What was overwritten meanwhile may be half of one and half of another.
        oldest = np.maximum(self._maps["tallies"].read()["samples"].astype("i8") - RING + 1, 0)[new, None]
        numbers = rings["number"]
        fresh = (numbers > self._seen[new, None]) & (numbers <= written[new, None]) & (numbers.astype("i8") > oldest)
        found = rings[fresh]
        self._lost += int((written[new] - self._seen[new]).sum()) - len(found)
        self._seen = written
        for id, isa, code, where, size, ip in found[["id", "isa", "reason", "where", "size", "ip"]].tolist():
            frames = tuple(self._names(ip[: max(size, 0) // 8])) if size > 0 else ()
            stack = Stack(id, isa, code, STATES[where % len(STATES)], frames)
            if stack not in self._samples and len(self._samples) >= MOST:
                stack = stack._replace(frames=())
            self._samples[stack] += 1

    def sample(self, slots: int) -> None:
        """Copy what so many slots slept in: between the threads' own counters, in the same reading of the collector."""
        if self._look is None:
            return
        sleepers = self._maps["sleepers"].read(slots)
        for _ in range(TRIES):
            before = sleepers
            rows = self._maps["rows"].read()
            sleepers = self._maps["sleepers"].read(slots)
            if (before["since_ns"] == sleepers["since_ns"]).all():  # or what ended meanwhile would be in neither
                break
        self._copied = rows, sleepers

    def read(self, snapshot: Snapshot) -> Stacks | None:
        """What was seen from the look's beginning to the last sample(), by names, which may take a while; snapshot: the
        threads of that reading. None while nobody looks."""
        if self._look is None or self._base is None or self._copied is None:
            return None
        copied, sleepers = self._copied
        with self._lock:
            rows, _, gone = self._rows.read(copied)
            for row in gone:
                _add(self._given_up, self._stack(row), _off(row))
            found = dict(self._given_up)
            for row in (*rows[rows["ns"] > 0], *_still(sleepers, snapshot)):  # some has gone to another level's row
                _add(found, self._stack(row), _off(row))
            self._drain()
            tallies = self._maps["tallies"].read()
            return Stacks(
                base=self._base,
                only=self._look.only,
                pids=self._look.pids,
                off=found,
                samples=dict(self._samples),
                lost=self._lost,
                dropped=int(tallies["dropped"].sum()),
                dropped_ns=int(tallies["dropped_ns"].sum()),
                unnamed=self._functions.unnamed if self._functions else "",
            )

    def _stack(self, row: Any) -> Stack:
        state = STATES[int(row["kind"]) % len(STATES)]
        number = int(row["stack"])
        if number >= 0 and number not in self._slept_in:
            where, at = ("stacks", number) if number < STACKS else ("more", number - STACKS)
            words = np.frombuffer(syscalls.lookup(self._probes.maps[where], at, 8 * DEEPEST), "u8")
            self._slept_in[number] = tuple(below(list(self._names(words[words > 0].tolist()))))
        return Stack(int(row["id"]), int(row["isa"]), int(row["reason"]), state, self._slept_in.get(number, ()))

    def _names(self, addresses: Iterable[int]) -> Iterable[str]:
        for address in addresses:
            if address not in self._named:
                if len(self._named) > MOST:
                    self._named.clear()
                self._functions = self._functions or kallsyms.Functions()
                self._named[address] = self._functions.full(address)
            if name := self._named[address]:
                yield name

    def runs(self) -> dict[Probe, Runs]:
        """Of the programs that are attached, as far as the kernel measured them."""
        return self._probes.runs()

    def close(self) -> None:
        """Detach, and free all."""
        self._stop()
        with self._lock:
            self._maps.clear()
            del self._rows  # it has one of them
            self._probes.close()


def _off(row: Any) -> Off:
    return Off(int(row["count"]), int(row["ns"]), int(row["waited"]), int(row["max"]))


def _add(found: dict[Stack, Off], stack: Stack, off: Off) -> None:
    one = found.get(stack)
    found[stack] = Off(one[0] + off[0], one[1] + off[1], one[2] + off[2], max(one[3], off[3])) if one else off


def _still(sleepers: Array, snapshot: Snapshot) -> Array:
    """Who has not come back by the snapshot's instant, with what it has been away so far; dtype ROW."""
    away = sleepers[sleepers["since_ns"] > 0]
    threads = snapshot.threads[snapshot.threads["end_ns"] == 0]
    at = find(threads["id"], away["id"])
    away, mine = away[at >= 0], threads[at[at >= 0]]
    instants = mine["first_ns"] + mine["states"].sum(axis=1)
    so_far = (mine["exit_ns"] != 0) & (instants > away["since_ns"])
    away, mine = away[so_far], mine[so_far]
    rows = np.zeros(len(away), ROW)
    for name in ("id", "reason", "isa", "stack", "kind"):
        rows[name] = away[name]
    rows["ns"] = rows["max"] = instants[so_far] - away["since_ns"]
    wait = mine["open"][:, [OUTSIDE_WAIT, OUTSIDE_WAIT + 1]].sum(axis=1)
    rows["waited"] = np.where(wait > away["before"], wait - away["before"], 0)
    return rows


OUTSIDE_WAIT = STATES.index("wait") - 1  # in THREAD's `open`; throttled follows


def _found(flags: Sequence[str]) -> tuple[list[str], int]:
    """The flags of what this kernel has, and sched_switch's type. Raises KvmtopError where it has too little."""
    if "-DTYPED" not in flags or not syscalls.may_read_kernel():
        raise KvmtopError(_CANNOT)
    with btf.load() as types:
        offsets = btf.offsets(types, _OFFSETS) if types else None
        switch = types.id("btf_trace_sched_switch", TYPEDEF) if types else None
    if offsets is None or not switch:
        raise KvmtopError(_CANNOT)
    return offsets, switch
