"""Loads program.c, attaches it and reads its maps: the only module that knows bcc."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KvmtopError
from ..snapshot import CELL, THREAD, U64, Array, Snapshot
from . import tracepoint

HERE = Path(__file__).parent
CPU = np.dtype(
    [
        ("slot", "u4"),
        ("top_slot", "u4"),
        ("top_cell", "u4"),
        ("pad", "u4"),
        ("lost", "u8"),
        ("userspace", "u8"),
        ("pad2", "u8", (4,)),
    ]
)
CELLS_PER_THREAD = 24  # a busy vCPU has 12 to 16 reasons
ENDED = np.uint64(1 << 63)
KEEP_ENDED = 256  # rows of ended threads that stay apart; older ones are added up by reason

# include/uapi/linux/bpf.h. Arrays can be mapped since Linux 5.5 (fc9702273e2e).
BPF_MAP_TYPE_ARRAY, BPF_F_MMAPABLE = 2, 1 << 10
PERF_EVENT_IOC_DISABLE = 0x2401  # include/uapi/linux/perf_event.h


class Collector:
    """Counts exits in the kernel from construction to close()."""

    def __init__(
        self,
        pids: Sequence[int] = (),
        threads: int = 256,
        flags: Iterable[str] = (),
        use_mmap: bool = True,
        use_raw: bool = True,
    ) -> None:
        """Load and attach the probes.

        pids: the processes to count, none for all. threads: how many vCPU threads the maps hold. flags: more
        -D flags for program.c. use_mmap and use_raw: False does without, as on kernels that lack them.
        Raises KvmtopError where this machine cannot do it.
        """
        bcc = _import_bcc()
        tracefs = tracepoint.Tracefs()
        formats = {}
        for name in ("kvm_exit", "kvm_entry", "kvm_userspace_exit"):
            if parsed := tracefs.format("kvm", name):
                formats[name] = parsed
            else:
                raise KvmtopError(f"this kernel has no tracepoint kvm:{name}: load KVM (modprobe kvm_intel or kvm_amd)")
        self.names = tracepoint.names(formats["kvm_exit"])
        use_mmap = use_mmap and _mmapable(bcc.lib)
        use_raw = use_raw and _raw_tracepoints(bcc)
        sizes = {"threads": threads + 1, "cells": threads * CELLS_PER_THREAD + 1, "cpus": _possible_cpus()}
        cflags = [
            *_offsets(formats, tracefs.format("kvm", "kvm_vcpu_wakeup")),
            *(f"-D{name.upper()}={size}" for name, size in sizes.items()),
            f"-DMAP_FLAGS={BPF_F_MMAPABLE if use_mmap else 0}",
            *(["-DRAW"] if use_raw else []),
            *([f"-DSKIP(tgid)=({'&&'.join(f'(tgid)!={pid}' for pid in pids)})"] if pids else []),
            *flags,
        ]
        with _explained():
            self._bpf = bcc.BPF(src_file=bytes(HERE / "program.c"), cflags=cflags)
        self._lib = bcc.lib
        dtypes = {"threads": THREAD, "cells": CELL, "cpus": CPU}
        self._maps = {
            name: _Map(self._lib, self._fd(name), dtypes[name], size, use_mmap) for name, size in sizes.items()
        }
        # Highest first, so that the lowest is taken first and little must be read. 0 means none.
        self._turns = {name: np.zeros(sizes[name], "u8") for name in ("threads", "cells")}
        for name in self._turns:
            self._push(name, range(sizes[name] - 1, 0, -1))
        self._ended = _Rows(np.zeros(0, THREAD), np.zeros(0, CELL), np.zeros(0, "u8"), np.zeros(0, "u8"))
        self._earlier = np.zeros(0, CELL)
        self._expired = self._unpaired = self._overwritten = 0
        self._final: Snapshot | None = None
        self._pool = _Pool()
        self.start_ns = time.monotonic_ns()
        with _explained():
            self._attach(use_raw and "vcpu_id" in formats["kvm_exit"].fields, use_raw)
        # Until the last probe was attached, exits could not pair.
        started = self._read()
        self._unpaired, self._overwritten = -started.unpaired, -started.overwritten

    def _attach(self, raw_entry: bool, raw: bool) -> None:
        def attach(category: str, name: str, function: str, raw: bool) -> None:
            if raw:
                self._bpf.attach_raw_tracepoint(tp=name.encode(), fn_name=function.encode())
            else:
                event = f"{category}:{name}".encode()
                self._bpf.attach_tracepoint(tp=event, fn_name=function.encode())
                # The program runs all the same, but the event that carries it takes no samples.
                fcntl.ioctl(self._bpf.tracepoint_fds[event], PERF_EVENT_IOC_DISABLE, 0)

        attach("sched", "sched_process_exit", "on_end", raw)
        attach("kvm", "kvm_vcpu_wakeup", "on_wakeup", False)
        attach("kvm", "kvm_userspace_exit", "on_user", raw)
        # Of kvm_entry only the thread and the time are of use; raw saves the kernel the writing of its record.
        attach("kvm", "kvm_entry", "on_entry", raw_entry)
        attach("kvm", "kvm_exit", "on_exit", False)

    def _fd(self, name: str) -> int:
        return int(self._lib.bpf_table_fd(self._bpf.module, name.encode()))

    def _push(self, name: str, indices: Iterable[int]) -> None:
        fd, value = self._fd({"threads": "free_slots", "cells": "free_cells"}[name]), ctypes.c_uint32()
        pointer = ctypes.byref(value)
        for index in indices:
            value.value = index
            if self._lib.bpf_update_elem(fd, None, pointer, 0):
                raise KvmtopError(f"cannot fill a BPF map ({os.strerror(ctypes.get_errno())})")

    def read(self) -> Snapshot:
        """The counters now."""
        return self._final or self._read()

    def close(self) -> Snapshot:
        """Detach all probes and free all maps; the final counters."""
        if not self._final:
            last = self._read()
            for name in list(self._bpf.tracepoint_fds):
                self._bpf.detach_tracepoint(name)
            for name in list(self._bpf.raw_tracepoint_fds):
                self._bpf.detach_raw_tracepoint(name)
            # While they were detached, one after the other, exits could not pair.
            self._final = replace(self._read(), unpaired=last.unpaired, overwritten=last.overwritten)
            self._maps.clear()
            self._bpf.cleanup()
        return self._final

    def _read(self) -> Snapshot:
        cpus = self._maps["cpus"].read()
        slots, cells = int(cpus["top_slot"].max()) + 1, int(cpus["top_cell"].max()) + 1
        before = self._maps["threads"].read(slots)
        source = self._maps["cells"].rows(cells)
        owner = source["thread"].copy()
        used = np.flatnonzero((owner > 0) & (owner < slots))
        everything = self._pool.space(len(used), self._ended, self._earlier)
        cell_rows = everything[: len(used)]
        _take(source, used, cell_rows)
        after = self._maps["threads"].read(slots)
        now = time.monotonic_ns()

        # A thread goes on while it is read. Its open exit must be in its row or in its cells, never in both
        # or in neither: the row from before goes with the cells if they hold no exit that it does not know.
        owner = cell_rows["thread"].copy()
        pairs = np.bincount(owner, weights=cell_rows["count"], minlength=slots)
        rows = np.where((pairs == before["pairs"]) & (before["id"] == after["id"]), before, after)
        live = np.flatnonzero(rows["id"])
        if not (known := rows["id"][owner] != 0).all():  # a slot that was given back just now
            used, owner = used[known], owner[known]
            everything = everything[np.append(known, np.ones(len(everything) - len(known), bool))]
            cell_rows = everything[: len(used)]

        position = np.zeros(slots, "u4")
        position[live] = np.arange(len(live))
        cell_rows["thread"] = position[owner]
        threads = rows[live]
        dead = threads["id"] & ENDED != 0
        threads["id"] &= ~ENDED
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
            lost=int(cpus["lost"].sum()),
            userspace=int(cpus["userspace"].sum()),
            unpaired=self._unpaired + int(all_threads["unpaired"].sum()),
            overwritten=self._overwritten + int(all_threads["overwritten"].sum()),
            expired=self._expired + int(dead.sum()),
        )
        if dead.any():
            self._retire(current.pick(dead), live[dead], used[dead[cell_rows["thread"]]])
        return snapshot

    def _ids(self, name: str, indices: np.ndarray[Any, Any]) -> U64:
        ids: U64 = self._turns[name][indices] << np.uint64(32) | indices.astype("u8")
        return ids

    def _retire(self, rows: _Rows, slots: Any, cells: Any) -> None:
        """Keep the rows of threads that have ended, and give their slots and cells back to the kernel."""
        self._ended = self._ended.join(rows)
        self._expired += len(slots)
        for name, indices in (("cells", cells), ("threads", slots)):
            self._maps[name].clear(indices)
            self._turns[name][indices] += 1
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


def _words(rows: Array) -> U64:
    """The same memory as 64-bit words, which numpy copies much faster than a structure; shape (n, words)."""
    return rows.view("u8").reshape(len(rows), rows.dtype.itemsize // 8)


class _Pool:
    """Memory for cells. What no Snapshot needs any more is used again: new pages cost more than the copying."""

    def __init__(self) -> None:
        self._known: list[Array] = []

    def space(self, number: int, ended: _Rows, earlier: Array) -> Array:
        """Cells of ended threads and of earlier ones, with room before them for so many."""
        size = number + len(ended.cells) + len(earlier)
        # Every array that looks into this memory holds it: 3 are this list, this loop and the question itself.
        free = next((a for a in self._known if len(a) >= size and sys.getrefcount(a) == 3), None)
        if free is None or len(free) > 2 * size + 1024:
            free = np.empty(size + size // 16, CELL)
            self._known = [a for a in self._known if sys.getrefcount(a) > 3][-2:]
            self._known.append(free)
        cells = free[:size]
        cells[number : number + len(ended.cells)] = ended.cells
        cells[size - len(earlier) :] = earlier
        return cells


def _take(source: Array, which: Any, out: Array) -> None:
    """Copy these rows."""
    if len(which) and which[-1] - which[0] == len(which) - 1:  # side by side, as a rule
        _words(out)[:] = _words(source[which[0] : which[-1] + 1])
    else:
        np.take(_words(source), which, axis=0, out=_words(out), mode="clip")


def add_by_reason(cells: Array) -> Array:
    """One cell for each (isa, reason)."""
    keys = cells["isa"].astype("u8") << np.uint64(32) | cells["reason"]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    sums = np.zeros(len(first), CELL)
    for name in ("reason", "isa"):
        sums[name] = cells[name][first]
    sums["min"] = ~np.uint64(0)
    for name in ("count", "total", "user", "hist"):
        np.add.at(sums[name], group, cells[name])
    np.minimum.at(sums["min"], group, cells["min"])
    np.maximum.at(sums["max"], group, cells["max"])
    return sums


class _Map:
    """A BPF array: mapped into this process, or on kernels before 5.5 looked up row by row."""

    def __init__(self, lib: Any, fd: int, dtype: np.dtype[Any], size: int, mapped: bool) -> None:
        self._lib, self._fd, self._size, self._dtype = lib, fd, size, dtype
        # Mapped, the copy costs no system call. It also loses nothing: a map system call keeps classic
        # tracepoint programs of its CPU from running (bpf_disable_instrumentation), even of a vCPU that
        # preempts it.
        length = -(-size * dtype.itemsize // mmap.PAGESIZE) * mmap.PAGESIZE
        self._rows = np.frombuffer(mmap.mmap(fd, length), dtype, size) if mapped else None

    def read(self, count: int | None = None) -> Array:
        """A copy of the first `count` rows, all without one."""
        count = self._size if count is None else count
        if self._rows is not None:
            return _words(self._rows[:count]).copy().view(self._dtype).reshape(count)
        rows, key = np.zeros(count, self._dtype), ctypes.c_uint32()
        for index in range(count):
            key.value = index
            self._lib.bpf_lookup_elem(self._fd, ctypes.byref(key), rows.ctypes.data + index * self._dtype.itemsize)
        return rows

    def rows(self, count: int) -> Array:
        """The first `count` rows as they are, and go on changing where they are mapped."""
        return self.read(count) if self._rows is None else self._rows[:count]

    def clear(self, indices: Any) -> None:
        """Zero these rows."""
        if self._rows is not None:
            self._rows[indices] = np.zeros(1, self._dtype)
            return
        zero, key = bytes(self._dtype.itemsize), ctypes.c_uint32()
        for index in indices.tolist():
            key.value = index
            self._lib.bpf_update_elem(self._fd, ctypes.byref(key), zero, 0)


def _offsets(formats: dict[str, tracepoint.Tracepoint], wakeup: tracepoint.Tracepoint | None) -> list[str]:
    """The -D flags that tell program.c where the fields are. Raises KvmtopError if one is not as it reads it."""
    wanted = [
        ("EXIT_REASON", formats["kvm_exit"], "exit_reason", 4, True),
        ("EXIT_ISA", formats["kvm_exit"], "isa", 4, False),
        ("EXIT_VCPU", formats["kvm_exit"], "vcpu_id", 4, False),
        ("USER_REASON", formats["kvm_userspace_exit"], "reason", 4, True),
        ("USER_ERRNO", formats["kvm_userspace_exit"], "errno", 4, True),
        ("WAKEUP_NS", wakeup, "ns", 8, True),
    ]
    if "esr_ec" in formats["kvm_exit"].fields:
        raise KvmtopError("kvmtop reads the exits of x86 hosts only (VMX and SVM); this is an arm64 host")
    if "vcpu_id" not in formats["kvm_exit"].fields:  # on early 5.4 kernels only kvm_entry has it
        wanted.append(("ENTRY_VCPU", formats["kvm_entry"], "vcpu_id", 4, False))
    flags = []
    for flag, parsed, name, size, needed in wanted:
        field = parsed.fields.get(name) if parsed else None
        if field and field.size == size:
            flags.append(f"-D{flag}={field.offset}")
        elif field or needed:
            where = parsed.name if parsed else "kvm_vcpu_wakeup"
            raise KvmtopError(f"the field {name} of {where} is not as kvmtop knows it on this kernel; please report it")
    return flags


def _import_bcc() -> Any:
    # Set before libbcc looks for the kernel's headers: program.c needs none but the stubs beside it.
    os.environ["BCC_KERNEL_SOURCE"] = str(HERE)
    try:
        import bcc
    except ImportError as error:
        raise KvmtopError(f"Python's bcc is missing for {sys.executable} ({error}): {_install_hint()}") from None
    if not hasattr(bcc, "BPF"):
        raise KvmtopError(
            f"the bcc that Python finds ({bcc.__file__}) is PyPI's namesake, not the BPF compiler collection:"
            f" pip uninstall bcc, then {_install_hint()}"
        )
    bcc.lib = bcc.libbcc.lib
    return bcc


def bcc_version() -> str:
    """Of the bcc that would be used. Raises KvmtopError."""
    return str(_import_bcc().__version__)


def abilities() -> tuple[bool, bool]:
    """Whether this kernel has raw tracepoints, and arrays that can be mapped. Raises KvmtopError."""
    bcc = _import_bcc()
    return _raw_tracepoints(bcc), _mmapable(bcc.lib)


def _install_hint() -> str:
    with contextlib.suppress(OSError):
        release = Path("/etc/os-release").read_text()
        ids = re.findall(r"^ID(?:_LIKE)?=(.*)", release, re.MULTILINE)
        for word, command in (("debian", "apt install python3-bpfcc"), ("fedora", "dnf install python3-bcc"),
                              ("arch", "pacman -S python-bcc"), ("suse", "zypper install python3-bcc")):  # fmt: skip
            if any(word in like for like in ids):
                return f"{command}, and run kvmtop with the distribution's Python (/usr/bin/python3)"
    return "install your distribution's bcc package for Python (python3-bpfcc or python3-bcc)"


def _mmapable(lib: Any) -> bool:
    fd = lib.bcc_create_map(BPF_MAP_TYPE_ARRAY, b"probe", 4, 8, 1, BPF_F_MMAPABLE)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


def _raw_tracepoints(bcc: Any) -> bool:
    with warnings.catch_warnings():  # bcc 0.26 hands itself str where it wants bytes
        warnings.simplefilter("ignore", DeprecationWarning)
        return bool(bcc.BPF.support_raw_tracepoint())


def _possible_cpus() -> int:
    """How many CPUs there may ever be: bpf_get_smp_processor_id() is below it."""
    text = Path("/sys/devices/system/cpu/possible").read_text().strip()
    return int(text.replace(",", "-").split("-")[-1]) + 1


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Keep what libbcc and clang write to the terminal, and turn a failure into one sentence."""
    with tempfile.TemporaryFile() as log:
        saved = os.dup(1), os.dup(2)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # bcc raises bare Exception
            failure = error
        finally:
            for fd, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, fd)
                os.close(copy)
        if failure:
            log.seek(0)
            raise KvmtopError(_explanation(f"{failure}\n{log.read().decode(errors='replace')}")) from failure


def _explanation(text: str) -> str:
    with contextlib.suppress(OSError):
        if "[confidentiality]" in Path("/sys/kernel/security/lockdown").read_text():
            return "the kernel is locked down (confidentiality): it lets no one read its events with BPF"
    if os.geteuid() != 0 and ("not permitted" in text or "super-user" in text or "ermission denied" in text):
        return "loading BPF programs needs root: sudo kvmtop"
    if "not permitted" in text:
        return "the kernel does not let this process load BPF programs (a container without CAP_BPF and CAP_PERFMON?)"
    if "Cannot allocate memory" in text:
        return "the kernel has no memory for the BPF maps: raise the memory limit of this cgroup"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    detail = next((line for line in lines if "error" in line), lines[0] if lines else "no reason given")
    printable = "".join(character for character in detail[:200] if character.isprintable())
    return f"the BPF program could not be loaded: {printable}"
