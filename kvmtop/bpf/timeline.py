"""Loads and reads timeline.bpf.c: every single exit, in rings that overwrite what is oldest, while somebody looks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import KvmtopError
from ..model.arrays import U64, Array
from ..model.timeline import EXIT, OPEN, SPAN
from ..model.vocabulary import KINDS
from . import detail, syscalls
from .probes import Probe, Probes
from .run_time import Runs
from .scheduling import typed_events
from .tracepoint import Tracefs

HERE = Path(__file__).parent
EXITS, SPANS = 8192, 8192  # for each CPU, 1.3 MB of kernel memory: powers of two

RING = np.dtype(
    [
        *(("exits", "u8"), ("spans", "u8"), ("missed", "u8")),
        *(("since_ns", "u8"), ("base", "u8"), ("next", "u8"), ("pad", "u8", (2,))),
    ]
)
CONFIG = np.dtype([("since_ns", "u8")])
_TYPED = (
    ("sched_switch", "on_switch"),
    ("sched_waking", "on_waking"),
    ("sched_wakeup", "on_wake"),
)
_RAW = (("kvm_fpu", "on_fpu"), ("kvm_userspace_exit", "on_user"), ("kvm_entry", "on_entry"))
# Functions that this C file has as well as detail.bpf.c, for the same tracepoints.
_AS_DETAIL = frozenset(
    {"on_exit"}
    | {f"on_{name}" for name in ("pio", "msr", "mmio", "fast", "cpuid", "hypercall", "hyperv", "fault")}
    | {f"on_{name}" for name in ("vmgexit", "cr", "apic")}
)


class TimelineProbes:
    """Loaded at construction, attached from start() to stop()."""

    def __init__(
        self,
        flags: Sequence[str],
        threads: int,
        shared: Mapping[str, int],
        exits: int = EXITS,
        spans: int = SPANS,
    ) -> None:
        """flags, threads, shared: the collector's own, of its scheduler's events, its slots and its maps.

        exits, spans: how many of them a CPU's rings hold, powers of two. Raises KvmtopError.
        """
        if not syscalls.mmapable():
            raise KvmtopError("single exits cannot be told on this kernel: its BPF maps cannot be mapped (Linux 5.5)")
        self._tracefs = Tracefs()
        found, typed = typed_events(flags, [name for name, _ in _TYPED])
        formats = {name: self._tracefs.format("kvm", name) for name in detail.tracepoints()}
        at, touching, _ = detail.flags(formats)
        cpus = syscalls.possible_cpus()
        self._sizes = {"exits": exits, "spans": spans}
        sizes = {"exits": cpus * exits, "spans": cpus * spans, "opens": threads, "rings": cpus, "configs": 1}
        probes = [
            # The scheduler's first: they tell what a thread does before its first exit is seen.
            *(Probe("sched", name, function, "typed", typed[name]) for name, function in _TYPED),
            *(Probe("kvm", name, function, "raw") for name, function in _RAW),
            *(probe for probe in touching if probe.function in _AS_DETAIL),
        ]
        self._probes = Probes(
            HERE / "timeline.bpf.c",
            [
                *(flag for flag in flags if flag.startswith(("-DTYPED", "-DTASK_", "-DCFS_", "-DRQ_"))),
                *found,
                *at,
                "-DRAW",
                *(f"-DKIND_{kind.upper()}={number}" for number, kind in enumerate(KINDS)),
                *(f"-D{name}={size}" for name, size in (("THREADS", threads), ("CPUS", cpus))),
                *(f"-D{name.upper()}={size}" for name, size in self._sizes.items()),
                f"-DMAP_FLAGS={syscalls.MMAPABLE}",
            ],
            probes,
            [*sizes],
            shared,
        )
        dtypes = {"exits": EXIT, "spans": SPAN, "opens": OPEN, "rings": RING, "configs": CONFIG}
        self._maps = {
            name: syscalls.BpfArray(self._probes.maps[name], dtypes[name], size, True) for name, size in sizes.items()
        }
        self._seen = {name: np.zeros(cpus, "u8") for name in self._sizes}
        self.lost = {"exits": np.zeros(cpus, "i8"), "spans": np.zeros(cpus, "i8")}  # overwritten unread, by CPU

    def start(self) -> None:
        """Attach, and begin with empty rings. Raises KvmtopError."""
        for name in ("opens", "rings"):
            self._maps[name].clear(range(len(self._maps[name].read())))
        for name in self._sizes:
            self._seen[name][:] = 0
            self.lost[name][:] = 0
        self._probes.attach(self._tracefs)
        self._look(time.monotonic_ns())  # all of them at once, when the last is there

    def _look(self, since_ns: int) -> None:
        config = np.zeros(1, CONFIG)
        config["since_ns"] = since_ns
        self._maps["configs"].write([0], config)

    def take(self) -> tuple[Array, Array]:
        """The exits and the spans (dtypes EXIT, SPAN) that have ended since the last call, CPU after CPU.

        Of an exit that is told, so are its spans, now or before.
        """
        exits = self._new("exits")
        return exits, self._new("spans")

    def _new(self, name: str) -> Array:
        ring, size, seen = self._maps["rings"].read()[name], self._sizes[name], self._seen[name]
        found = []
        rows = self._maps[name].rows
        assert rows is not None
        for cpu in np.flatnonzero(ring != seen).tolist():
            begin, end = int(seen[cpu]), int(ring[cpu])
            numbers: U64 = np.arange(max(begin, end - size), end, dtype="u8")
            at = numbers % np.uint64(size) + np.uint64(cpu * size)
            copied = rows[at]
            # One that is overwritten meanwhile has the number 0, or another one: the copy may be of both.
            whole = copied[rows["number"][at] == numbers + np.uint64(1)]
            found.append(whole)
            self.lost[name][cpu] += end - begin - len(whole)
            seen[cpu] = end
        return np.concatenate(found) if found else np.zeros(0, rows.dtype)

    @property
    def written(self) -> int:
        """Exits in all, since start()."""
        return int(self._maps["rings"].read()["exits"].sum())

    @property
    def missed(self) -> int:
        """Entries without an exit before them, and exits without an entry."""
        return int(self._maps["rings"].read()["missed"].sum())

    def running(self) -> list[tuple[int, int]]:
        """Of each CPU since when it has its task (ns; 0: since before start()), and that task's tid (0: idle)."""
        rows = self._maps["rings"].read()
        return list(zip(rows["since_ns"].tolist(), rows["next"].tolist(), strict=True))

    def opens(self) -> Array:
        """What is not over of the threads that had an event: dtype OPEN."""
        rows = self._maps["opens"].read()
        return rows[rows["id"] > 0]

    def skip(self) -> None:
        """Forget what has ended so far, and what was lost of it."""
        rings = self._maps["rings"].read()
        for name, seen in self._seen.items():
            seen[:] = rings[name]
            self.lost[name][:] = 0

    def freeze(self) -> None:
        """From here on nothing changes any more: what the rings hold stays to be taken, what is open to be read."""
        self._look(0)
        syscalls.grace_period()  # for programs that run just now

    def stop(self) -> None:
        """Detach."""
        self._probes.detach()

    def runs(self) -> dict[Probe, Runs]:
        """Of the programs that are attached, as far as the kernel measured them."""
        return self._probes.runs()

    def close(self) -> None:
        """Detach, and free all."""
        self._maps.clear()
        self._probes.close()
