"""Counts with collector.bpf.c: sizes its maps, attaches it, and makes Snapshots of what it counted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KvmtopError
from ..model.arrays import I64, U64, Array
from ..model.exit_stats import add_by_reason
from ..model.keys import pack
from ..model.snapshot import CELL, THREAD, Snapshot
from ..model.vocabulary import STATES, Sleeper
from . import btf, syscalls, thread_rows, tracepoint
from .kvm_exit import ExitProbes, kvm_exit
from .pool import Pool, take
from .probes import Probe, Probes
from .run_time import Runs
from .sched import sched

HERE = Path(__file__).parent
CPU = np.dtype(
    [
        ("slot", "u4"),
        ("top_slot", "u4"),
        ("top_cell", "u4"),
        ("number", "u4"),
        ("lost", "u8"),
        ("userspace", "u8"),
        ("agreed", "u8"),
        ("differed", "u8"),
        ("reasons", "u8"),
        ("pad2", "u8", (1,)),
    ]
)
# What tells of guests of guests: bpf/nested.h. A function's first event that this kernel has.
_INJECT = "kvm_nested_vmexit_inject"
_NESTED = {
    "on_nested_exit": ("kvm_nested_vmexit",),
    "on_inject": (_INJECT,),
    "on_nested_entry": ("kvm_nested_vmenter", "kvm_nested_vmrun"),
}
THREAD_IDS = 1 << 22  # PID_MAX_LIMIT in include/linux/threads.h
CELLS_PER_THREAD = 24  # a busy vCPU has 12 to 16 reasons
ENDED = thread_rows.ENDED
KEEP_ENDED = 256  # rows of ended threads that stay apart; older ones are added up by reason


TRIES, FEW = 5, 512  # readings for one that fits together, up to so many threads
NEAR = 5_000_000  # ns between a thread's instant and what else is of the same reading: not many switches


class Collector:
    """Counts exits in the kernel from construction to close()."""

    def __init__(
        self,
        pids: Sequence[int] = (),
        threads: int = 256,
        flags: Iterable[str] = (),
        use_mmap: bool = True,
        use_raw: bool = True,
        use_btf: bool = True,
        extra_maps: Sequence[str] = (),
        checked: bool = False,
    ) -> None:
        """Load and attach the probes.

        pids: the processes to count, none for all. threads: how many vCPU threads the maps hold. flags: more
        -D flags for collector.bpf.c, extra_maps: what they add. use_mmap, use_raw and use_btf: False does without,
        as on kernels that lack them. checked: kvm_exit's raw program is known to be right here (exits.h).
        Raises KvmtopError where this machine cannot do it.
        """
        self._tracefs = tracefs = tracepoint.Tracefs()
        formats = {}
        for name in ("kvm_exit", "kvm_entry", "kvm_userspace_exit", "kvm_fpu"):
            if parsed := tracefs.format("kvm", name):
                formats[name] = parsed
            else:
                raise KvmtopError(tracepoint.missing(name))
        nested = {
            function: next((parsed for name in names if (parsed := tracefs.format("kvm", name))), None)
            for function, names in _NESTED.items()
        }
        formats |= {parsed.name: parsed for parsed in nested.values() if parsed}
        self.names = tracepoint.names(formats["kvm_exit"])
        use_mmap = use_mmap and syscalls.mmapable()
        use_raw = use_raw and syscalls.raw_tracepoints()
        with btf.load() if use_btf and use_raw else contextlib.nullcontext() as types:  # typed programs are raw ones
            way, exits = sched(tracefs, types), kvm_exit(formats["kvm_exit"], types)
        self.told, self.ways = way.told, way.how
        self.sched_flags, self.threads = way.flags, threads + 1  # for scheduling.bpf.c
        sizes = {"threads": threads + 1, "cells": threads * CELLS_PER_THREAD + 1, "cpus": syscalls.possible_cpus()}
        cflags = [
            *_offsets(formats),
            *way.flags,
            *exits.flags,
            *(f"-D{name.upper()}={size}" for name, size in sizes.items()),
            f"-DMAP_FLAGS={syscalls.MMAPABLE if use_mmap else 0}",
            *(["-DRAW"] if use_raw else []),
            *([f"-DSKIP(tgid)=({'&&'.join(f'(tgid)!={pid}' for pid in pids)})"] if pids else []),
            *flags,
        ]
        raw = "raw" if use_raw else "classic"
        probes = [
            # The scheduler's first: from the first exit on, the CPU knows whose slot runs on it.
            *way.probes,
            Probe("sched", "sched_process_exit", "on_end", raw),
            Probe("kvm", "kvm_fpu", "on_fpu", raw),
            Probe("kvm", "kvm_userspace_exit", "on_user", raw),
            *(Probe("kvm", parsed.name, function, raw) for function, parsed in nested.items() if parsed),
            # Of kvm_entry only the thread and the time are of use; raw saves the kernel the writing of its record.
            Probe("kvm", "kvm_entry", "on_entry", raw if "vcpu_id" in formats["kvm_exit"].fields else "classic"),
            *exits.probes,
        ]
        bits = syscalls.array(THREAD_IDS // 8)
        try:
            self._probes = Probes(
                HERE / "collector.bpf.c",
                cflags,
                probes,
                [*sizes, "free_slots", "free_cells", "slots", *extra_maps],
                shared={"bits": bits},
                run=("on_peek", "on_seed") if use_raw else (),
            )
        except KvmtopError:
            os.close(bits)
            raise
        self._bits = bits
        dtypes = {"threads": thread_rows.ROW, "cells": CELL, "cpus": CPU}
        self._maps = {
            name: syscalls.BpfArray(self._fd(name), dtypes[name], size, use_mmap) for name, size in sizes.items()
        }
        # Highest first, so that the lowest is taken first and little must be read. 0 means none.
        self._generations = {name: np.zeros(sizes[name], "u8") for name in ("threads", "cells")}
        for name in self._generations:
            self._push(name, range(sizes[name] - 1, 0, -1))
        self._ended = _Rows(np.zeros(0, THREAD), np.zeros(0, CELL), np.zeros(0, "u8"), np.zeros(0, "u8"))
        self._earlier = np.zeros(0, CELL)
        self._expired = self._unpaired = self._overwritten = 0
        self._final: Snapshot | None = None
        self._pool = Pool()
        self.start_ns = time.monotonic_ns()
        self._probes.attach(tracefs, {probe.function for probe in probes} - {probe.function for probe in exits.probes})
        self._exits = ExitProbes(self._probes, tracefs, exits, self._maps["cpus"], checked)
        # Until the last probe was attached, exits could not pair.
        started = self._read()
        self._unpaired, self._overwritten = -started.unpaired, -started.overwritten

    def shared(self) -> dict[str, int]:
        """The descriptors of the maps that other C files read (beside.h)."""
        return {name: self._fd(name) for name in ("threads", "cpus", "slots")} | {"bits": self._bits}

    def seed(self, sleepers: Iterable[Sleeper]) -> None:
        """Count vCPUs that sleep in KVM_RUN since before, from now on. Kernels before 5.10 cannot."""
        with contextlib.suppress(OSError, KeyError):
            for one in sleepers:
                state = STATES.index("idle" if one.halted else "blocked")
                self._probes.run("on_seed", int(pack(one.pid, one.tid)), one.vcpu, state)

    def _fd(self, name: str) -> int:
        return self._probes.maps[name]

    def _push(self, name: str, indices: Iterable[int]) -> None:
        syscalls.push(self._fd({"threads": "free_slots", "cells": "free_cells"}[name]), indices)

    def read(self, meanwhile: Callable[[int], object] = bool) -> Snapshot:
        """The counters now. meanwhile: reads what else shall be of the same instant, of so many slots; maybe twice."""
        if self._final:
            return self._final
        self._exits.update()
        return self._read(meanwhile)

    def pause(self) -> None:
        """Detach all probes, as if there were none; what they have counted stays."""
        self._paused = self._probes.attached
        self._probes.detach()

    def resume(self) -> None:
        """Attach them again. Raises KvmtopError."""
        self._probes.attach(self._tracefs, self._paused)

    def runs(self) -> dict[Probe, Runs]:
        """Of the programs that are attached, as far as the kernel measured them."""
        return self._probes.runs()

    def close(self) -> Snapshot:
        """Detach all probes and free all maps; the final counters."""
        if not self._final:
            last = self._read()
            self._probes.detach()
            # While they were detached, one after the other, exits could not pair.
            self._final = replace(self._read(), unpaired=last.unpaired, overwritten=last.overwritten)
            self._maps.clear()
            self._probes.close()
            os.close(self._bits)
        return self._final

    def _read(self, meanwhile: Callable[[int], object] = bool) -> Snapshot:
        # A thread goes on while it is read. Its open exit must be in its row or in its cells, never in both
        # or in neither: the row from before goes with the cells if they hold no exit that it does not know.
        mapped = self._maps["cells"].rows
        for _ in range(TRIES):
            cpus = self._maps["cpus"].read()
            slots, cells = int(cpus["top_slot"].max()) + 1, int(cpus["top_cell"].max()) + 1
            before, then = self._threads(slots)
            source = self._maps["cells"].read(cells) if mapped is None else mapped[:cells]
            owner = source["thread"].copy()
            used = np.flatnonzero((owner > 0) & (owner < slots))
            everything = self._pool.space(len(used), self._ended.cells, self._earlier)
            cell_rows = everything[: len(used)]
            take(source, used, cell_rows)
            meanwhile(slots)
            sampled = time.monotonic_ns()
            after, instants = self._threads(slots, again=True)
            now = time.monotonic_ns()
            owner = cell_rows["thread"].copy()
            pairs = np.bincount(owner, weights=cell_rows["count"], minlength=slots)
            fits = (pairs == before["pairs"]) & (before["id"] == after["id"])
            # Neither row fits if it had exits both before and after its cells were read. With many threads some
            # always have, and the next reading makes up for it.
            # A busy host may stop us in between; then waits and who they are charged to would be of two instants.
            far = abs(np.where(fits, then, instants) - sampled).max() > NEAR and meanwhile is not bool
            whole = fits | (pairs == after["pairs"])
            if slots > FEW or (not far and whole.all()):
                break
        rows, instants = np.where(fits, before, after), np.where(fits, then, instants)
        live = np.flatnonzero(rows["id"])
        if not (known := rows["id"][owner] != 0).all():  # a slot that was given back just now
            used, owner = used[known], owner[known]
            everything = everything[np.append(known, np.ones(len(everything) - len(known), bool))]
            cell_rows = everything[: len(used)]

        position = np.zeros(slots, "u4")
        position[live] = np.arange(len(live))
        cell_rows["thread"] = position[owner]
        dead = rows["id"][live] & ENDED != 0
        threads = thread_rows.resolve(rows[live], instants[live])
        current = _Rows(threads, cell_rows, self._ids("threads", live), self._ids("cells", used))
        everything["thread"][len(used) : len(everything) - len(self._earlier)] += np.uint32(len(threads))
        all_threads = np.concatenate([threads, self._ended.threads])
        snapshot = Snapshot(
            time_ns=now,
            start_ns=self.start_ns,
            threads=all_threads,
            cells=everything,
            thread_ids=np.concatenate([current.thread_ids, self._ended.thread_ids]),
            cell_ids=np.concatenate([current.cell_ids, self._ended.cell_ids, np.zeros(len(self._earlier), "u8")]),
            names=self.names,
            told=self.told,
            counted_by=self._exits.how,
            lost=int(cpus["lost"].sum()),
            userspace=int(cpus["userspace"].sum()),
            unpaired=self._unpaired + int(all_threads["unpaired"].sum()),
            overwritten=self._overwritten + int(all_threads["overwritten"].sum()),
            ended_threads=self._expired + int(dead.sum()),
        )
        # Who ended just now may have a cell that was not there yet; the slot's next thread would come by it.
        over = dead & whole[live]
        if over.any():
            self._retire(current.pick(over), live[over], used[over[cell_rows["thread"]]])
        return snapshot

    def _threads(self, slots: int, again: bool = False) -> tuple[Array, I64]:
        """The rows of so many slots, and when each was so; what is withheld of a wait that is open is known then.

        again: in this reading, so only what waits since then must be looked at.
        """
        rows, instants = thread_rows.read(self._maps["threads"], np.arange(slots))
        waiting = np.flatnonzero(thread_rows.waits(rows) & ~(thread_rows.peeked(rows) & again))
        if "throttled" in self.told:
            for slot in waiting.tolist():
                self._probes.run("on_peek", slot)
            rows[waiting], instants[waiting] = thread_rows.read(self._maps["threads"], waiting)
            # A wait that began just now, and was not looked at, counts from the next reading on: what has been
            # told to be waiting would be throttled then.
            until = np.where(thread_rows.peeked(rows), rows["peek_at"], rows["since_ns"]).astype("i8")
            instants = np.where(thread_rows.waits(rows), until, instants)
        return rows, instants

    def _ids(self, name: str, indices: np.ndarray[Any, Any]) -> U64:
        return pack(self._generations[name][indices], indices)

    def _retire(self, rows: _Rows, slots: Any, cells: Any) -> None:
        """Keep the rows of threads that have ended, and give their slots and cells back to the kernel."""
        self._ended = self._ended.join(rows)
        self._expired += len(slots)
        for name, indices in (("cells", cells), ("threads", slots)):
            self._maps[name].clear(indices)
            self._generations[name][indices] += 1
            self._push(name, indices.tolist())
        surplus = len(self._ended.threads) - KEEP_ENDED
        if surplus > 0:
            old = np.arange(len(self._ended.threads)) < surplus
            gone = self._ended.pick(old)
            self._ended = self._ended.pick(~old)
            self._earlier = add_by_reason(np.concatenate([self._earlier, gone.cells]))
            self._unpaired += int(gone.threads["unpaired"].sum())
            self._overwritten += int(gone.threads["overwritten"].sum())


class _Rows:
    """Threads and their cells, each with its id; cells["thread"] is a position in threads."""

    def __init__(self, threads: Array, cells: Array, thread_ids: U64, cell_ids: U64) -> None:
        self.threads, self.cells, self.thread_ids, self.cell_ids = threads, cells, thread_ids, cell_ids

    def join(self, other: _Rows) -> _Rows:
        cells = np.concatenate([self.cells, other.cells])
        cells["thread"][len(self.cells) :] += len(self.threads)
        return _Rows(
            np.concatenate([self.threads, other.threads]),
            cells,
            np.concatenate([self.thread_ids, other.thread_ids]),
            np.concatenate([self.cell_ids, other.cell_ids]),
        )

    def pick(self, wanted: Any) -> _Rows:
        """The threads where the mask is true, and their cells."""
        mine = wanted[self.cells["thread"]]
        cells = self.cells[mine]
        cells["thread"] = (np.cumsum(wanted) - 1)[cells["thread"]]
        return _Rows(self.threads[wanted], cells, self.thread_ids[wanted], self.cell_ids[mine])


def _offsets(formats: dict[str, tracepoint.Tracepoint]) -> list[str]:
    """The -D flags that tell collector.bpf.c where the fields are. Raises KvmtopError if one is not as it reads it."""
    wanted = [
        ("EXIT_REASON", formats["kvm_exit"], "exit_reason", 4, True),
        ("EXIT_ISA", formats["kvm_exit"], "isa", 4, False),
        ("EXIT_VCPU", formats["kvm_exit"], "vcpu_id", 4, False),
        ("USER_REASON", formats["kvm_userspace_exit"], "reason", 4, True),
        ("USER_ERRNO", formats["kvm_userspace_exit"], "errno", 4, True),
        ("FPU_LOAD", formats["kvm_fpu"], "load", 4, True),
    ]
    if _INJECT in formats:
        wanted.append(("INJECT_REASON", formats[_INJECT], "exit_code", 4, True))
    if "esr_ec" in formats["kvm_exit"].fields:
        raise KvmtopError("kvmtop reads the exits of x86 hosts only (VMX and SVM); this is an arm64 host")
    if "vcpu_id" not in formats["kvm_exit"].fields:  # on early 5.4 kernels only kvm_entry has it
        wanted.append(("ENTRY_VCPU", formats["kvm_entry"], "vcpu_id", 4, False))
    flags = []
    for flag, parsed, name, size, needed in wanted:
        field = parsed.fields.get(name)
        if field and field.size == size:
            flags.append(f"-D{flag}={field.offset}")
        elif field or needed:
            raise KvmtopError(
                f"the field {name} of {parsed.name} is not as kvmtop knows it on this kernel; please report it"
            )
    return flags
