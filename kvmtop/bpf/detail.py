"""Loads and reads detail.bpf.c: what exits touch, guest code, halt polling and slow exits, while somebody looks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..model.histogram import BUCKETS
from ..model.snapshot import SLOW, TOUCH, Details
from ..model.vocabulary import KINDS, MOST_PIDS, DetailRequest, vendor
from . import btf, syscalls
from .keyed_rows import KeyedRows
from .probes import Probe, Probes
from .run_time import Runs
from .tracepoint import Tracefs, Tracepoint

HERE = Path(__file__).parent
ROWS = 8192  # keys of all threads together: 5 MB of kernel memory
THREADS = 16384  # open exits
RING = 64  # slow exits for each CPU, between two readings
KEY_SIZE = 24  # id, value, kind, extra: how a row begins

TALLY = np.dtype([("slow", "u8"), ("dropped", "u8", (16,)), ("pad", "u8", (7,))])
CONFIG = np.dtype(
    [
        *((name, "u4") for name in ("only", "reason", "isa", "kinds")),
        *((name, "u8") for name in ("slow_ns", "since_ns")),
        ("pids", "u4", MOST_PIDS),
    ]
)


@dataclass(frozen=True)
class _Source:
    """A tracepoint that tells what an exit touched: kind, function in detail.bpf.c, its flags' fields."""

    kinds: tuple[str, ...]
    tracepoint: str
    function: str
    fields: tuple[tuple[str, str], ...]  # flag without AT_, field
    category: str = "kvm"


_SOURCES = (
    _Source(("io",), "kvm_pio", "on_pio", (("PIO_PORT", "port"), ("PIO_RW", "rw"), ("PIO_SIZE", "size"))),
    _Source(("msr",), "kvm_msr", "on_msr", (("MSR_INDEX", "ecx"), ("MSR_WRITE", "write"))),
    _Source(("mmio",), "kvm_mmio", "on_mmio", (("MMIO_GPA", "gpa"), ("MMIO_TYPE", "type"), ("MMIO_LEN", "len"))),
    _Source(("mmio",), "kvm_fast_mmio", "on_fast", (("FAST_GPA", "gpa"),)),
    _Source(("cpuid",), "kvm_cpuid", "on_cpuid", (("CPUID_LEAF", "function"),)),
    _Source(("hypercall",), "kvm_hypercall", "on_hypercall", (("HYPERCALL_NR", "nr"),)),
    _Source(("hyperv",), "kvm_hv_hypercall", "on_hyperv", (("HYPERV_CODE", "code"),)),
    _Source(
        ("fault",), "kvm_page_fault", "on_fault", (("FAULT_ADDRESS", "fault_address"), ("FAULT_ERROR", "error_code"))
    ),
    _Source(
        ("fault",), "fast_page_fault", "on_fixed", (("FIXED_OLD", "old_spte"), ("FIXED_NEW", "new_spte")), "kvmmmu"
    ),
    _Source(("vmgexit",), "kvm_vmgexit_enter", "on_vmgexit", (("VMGEXIT_CODE", "exit_reason"),)),
    _Source(("cr",), "kvm_cr", "on_cr", (("CR_NUMBER", "cr"), ("CR_RW", "rw"))),
    _Source(("apic",), "kvm_apic", "on_apic", (("APIC_REGISTER", "reg"), ("APIC_RW", "rw"))),
    _Source(("poll",), "kvm_halt_poll_ns", "on_poll", (("POLL_NEW", "new"),)),
    _Source(("poll",), "kvm_vcpu_wakeup", "on_wakeup", ()),
)
_BASE = (
    ("kvm_userspace_exit", "on_user", (("USER_REASON", "reason"), ("USER_ERRNO", "errno"))),
    ("kvm_entry", "on_entry", ()),
    ("kvm_exit", "on_exit", (("EXIT_REASON", "exit_reason"), ("EXIT_RIP", "guest_rip"))),
)
_OPTIONAL = (
    ("EXIT_ISA", "isa"),
    ("EXIT_VCPU", "vcpu_id"),
    ("EXIT_INFO", "info1"),
    ("EXIT_INFO2", "info2"),
    ("EXIT_INTR", "intr_info"),
)
_TYPES = {1: "u8", 2: "u16", 4: "u32", 8: "u64"}


def tracepoints() -> set[str]:
    """Those of KVM whose formats flags() wants."""
    return {source.tracepoint for source in _SOURCES} | {name for name, _, _ in _BASE}


def flags(formats: dict[str, Tracepoint | None]) -> tuple[list[str], list[Probe], list[str]]:
    """The -D flags and the probes for the tracepoints that there are, and the kinds that they can tell."""
    found: list[str] = []
    probes: list[Probe] = []
    kinds = ["user", "rip"]
    for source in _SOURCES:
        at = _at(formats.get(source.tracepoint), source.fields)
        if at is not None:
            found += at
            probes.append(Probe(source.category, source.tracepoint, source.function))
            kinds += [kind for kind in source.kinds if kind not in kinds]
    for name, function, fields in _BASE:
        found += _at(formats.get(name), fields) or []
        probes.append(Probe("kvm", name, function))
    for flag, name in _OPTIONAL:
        found += _at(formats.get("kvm_exit"), ((flag, name),)) or []
    if any(flag.startswith("-DAT_EXIT_INTR=") for flag in found):
        kinds.append("vector")
    return found, probes, kinds


def _at(parsed: Tracepoint | None, fields: Sequence[tuple[str, str]]) -> list[str] | None:
    """Where the fields are; None if one is missing, or of a size that no number has."""
    if not parsed or any(name not in parsed.fields or parsed.fields[name].size not in _TYPES for _, name in fields):
        return None
    places = [(flag, parsed.fields[name]) for flag, name in fields]
    return [f"-DAT_{flag}=FIELD({_TYPES[field.size]},{field.offset})" for flag, field in places]


def polling() -> list[str]:
    """The flags that tell where KVM accounts for halt polling; none where the kernel's types do not say."""
    with btf.load() as types:
        if not types:
            return []
        note, link = (
            types.offset("task_struct", "preempt_notifiers.first"),
            types.offset("kvm_vcpu", "preempt_notifier.link"),
        )
        for where in ("stat.generic.", "stat."):  # since and before 5.14 (0193cc908b5a)
            hit, miss = (types.offset("kvm_vcpu", f"{where}halt_poll_{name}_ns") for name in ("success", "fail"))
            if note is not None and link is not None and hit is not None and miss is not None:
                return [f"-DTASK_NOTES={note}", f"-DNOTE_HIT=({hit - link})", f"-DNOTE_MISS=({miss - link})"]
    return []


class Detail:
    """Loaded at construction, attached while look() asks for something."""

    def __init__(self, pids: Sequence[int], shared: Mapping[str, int], use_mmap: bool = True) -> None:
        """pids: the processes to watch, none for all. shared: the collector's maps. Raises KvmtopError."""
        self._tracefs = Tracefs()
        names = {source.tracepoint: source.category for source in _SOURCES} | {name: "kvm" for name, _, _ in _BASE}
        account = polling() if syscalls.may_read_kernel() else []
        formats = {name: self._tracefs.format(category, name) for name, category in names.items()}
        if not account:  # where KVM keeps it is not known
            formats["kvm_vcpu_wakeup"] = None
        found, self._all, self.kinds = flags(formats)
        found += account
        mapped = use_mmap and syscalls.mmapable()
        cpus = syscalls.possible_cpus()
        sizes = {"rows": ROWS, "slows": cpus * RING, "tallies": cpus, "configs": 1}
        defines = [
            *found,
            *(f"-DKIND_{kind.upper()}={number}" for number, kind in enumerate(KINDS)),
            f"-DROWS={ROWS}",
            f"-DTHREADS={THREADS}",
            f"-DCPUS={cpus}",
            f"-DRING={RING}",
            f"-DPIDS={MOST_PIDS}",
            f"-DMAP_FLAGS={syscalls.MMAPABLE if mapped else 0}",
            *([f"-DSKIP(tgid)=({'&&'.join(f'(tgid)!={pid}' for pid in pids)})"] if pids else []),
        ]
        self._probes = Probes(HERE / "detail.bpf.c", defines, self._all, [*sizes, "free_rows", "places"], shared)
        dtypes = {"rows": TOUCH, "slows": SLOW, "tallies": TALLY, "configs": CONFIG}
        self._maps = {
            name: syscalls.BpfArray(self._probes.maps[name], dtypes[name], size, mapped) for name, size in sizes.items()
        }
        self._rows = KeyedRows(self._maps["rows"], self._probes.maps, ROWS, lambda row: row.tobytes()[:KEY_SIZE])
        self._seen = np.zeros(cpus, "u8")  # slow exits taken from each ring
        self._undelivered = 0
        self._given_up: dict[str, int] = {}
        self._look: DetailRequest | None = None
        self._since = 0

    def look(self, look: DetailRequest | None) -> None:
        """Attach the probes for what is looked at, or detach all. Raises KvmtopError.

        Detaching takes about a second, in which nothing is seen: not where slow_ns alone is another.
        """
        if look == self._look:
            return
        anew = not (look and self._look and replace(look, slow_ns=self._look.slow_ns) == self._look)
        self._look = look
        if anew:
            self._probes.detach()
            if look:
                self._forget()
            self._since = time.monotonic_ns()
        if look:
            config = np.zeros(1, CONFIG)
            if look.only:
                isa, reason = look.only
                # Whose exit it is KVM says later: both levels' are looked at.
                config["only"], config["isa"], config["reason"] = 1, vendor(isa), reason
            config["kinds"] = sum(1 << KINDS.index(kind) for kind in look.kinds)
            config["slow_ns"], config["since_ns"] = look.slow_ns or 0, self._since
            config["pids"][0, : len(look.pids)] = sorted(look.pids)
            self._maps["configs"].write([0], config)
        if look and anew:
            wanted = {source.function for source in _SOURCES if look.kinds & set(source.kinds)}
            base = {function for _, function, _ in _BASE}
            self._probes.attach(self._tracefs, wanted | base)

    def _forget(self) -> None:
        """Start anew."""
        self._rows.forget()
        self._given_up = {}
        cpus = self._maps["tallies"].read()
        self._seen = cpus["slow"].copy()
        cpus["dropped"] = 0
        self._maps["tallies"].write(range(len(cpus)), cpus)

    def read(self) -> Details | None:
        """What was seen since the look began; None while nobody looks."""
        if not self._look:
            return None
        rows, ids, gone = self._rows.read()
        cpus = self._maps["tallies"].read()
        for number, kind in enumerate(KINDS):
            self._given_up[kind] = self._given_up.get(kind, 0) + int(gone["count"][gone["kind"] == number].sum())
        dropped = {
            kind: int(cpus["dropped"][:, number].sum()) + self._given_up[kind] for number, kind in enumerate(KINDS)
        }
        return Details(
            since_ns=self._since,
            look=self._look,
            touched=rows,
            touched_ids=ids,
            dropped={kind: count for kind, count in dropped.items() if count},
            slow=self.slow(),
            undelivered=self._undelivered,
        )

    def slow(self) -> Any:
        """The slow exits since the last call, oldest first; dtype SLOW. What was overwritten is counted."""
        written = self._maps["tallies"].read()["slow"]
        new = np.flatnonzero(written != self._seen)
        if not len(new):
            return np.zeros(0, SLOW)
        ring = self._maps["slows"].read().reshape(-1, RING)[new]
        fresh = (ring["number"] > self._seen[new, None]) & (ring["number"] <= written[new, None])
        found = ring[fresh]
        self._undelivered += int((written[new] - self._seen[new]).sum()) - len(found)
        self._seen = written
        return found[np.argsort(found["time_ns"])]

    def runs(self) -> dict[Probe, Runs]:
        """Of the programs that are attached, as far as the kernel measured them."""
        return self._probes.runs()

    def close(self) -> None:
        """Detach, and free all."""
        self._look = None
        self._maps.clear()
        del self._rows  # it has one of them
        self._probes.close()


assert TOUCH["hist"].shape == (BUCKETS,)
