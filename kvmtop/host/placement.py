"""Where threads may run, what shares the core of their CPU, and on which NUMA nodes a VM's memory is."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from .. import bounded
from ..model.scheduling import Placement
from . import processes

CPUS = Path("/sys/devices/system/cpu")
NODES = Path("/sys/devices/system/node")
MOST_LETTERS = 4096  # of a list of CPUs
MOST_CPUS = 1 << 16
MOST_BYTES = 1 << 24  # of numa_maps: a line for each of a process's mappings, of which it may have 65,530
AGAIN = 30.0  # seconds after which a VM's memory is looked at again
_NODE = re.compile(rb"\bN(\d{1,4})=(\d{1,15})\b")
_PAGE = re.compile(rb"\bkernelpagesize_kB=(\d{1,9})\b")


class Placements:
    """Asked while somebody looks; remembers how the host's CPUs are connected until one comes or goes."""

    def __init__(self) -> None:
        self._online = ""
        self._cores: dict[int, int] | None = None
        self._cpus: dict[int, tuple[tuple[int, ...], int | None]] = {}

    def of(self, threads: Mapping[int, int]) -> dict[int, Placement]:
        """By tid, of threads given with the CPU that each ran on last (below 0: not known); not of ended ones."""
        every = self._every()
        return {
            tid: Placement(allowed, bool(every) and every <= cpus(allowed), *self._cpu(cpu))
            for tid, cpu in threads.items()
            if (allowed := _allowed(tid))
        }

    def cores(self) -> dict[int, int]:
        """By CPU, the first one of its core; none where no core has several."""
        every = self._every()
        if self._cores is None:
            cores = {cpu: min(self._cpu(cpu)[0] + (cpu,)) for cpu in every} if has_siblings() else {}
            self._cores = cores if len(set(cores.values())) < len(cores) else {}
        return self._cores

    def _every(self) -> frozenset[int]:
        """All CPUs that are there; what is known of them is forgotten if one has come or gone."""
        online = _text(CPUS / "online")
        if online != self._online:
            self._online, self._cpus, self._cores = online, {}, None
        return cpus(online)

    def _cpu(self, cpu: int) -> tuple[tuple[int, ...], int | None]:
        """The other hardware threads of its core, and its NUMA node."""
        if cpu < 0:
            return (), None
        if cpu not in self._cpus:
            siblings = cpus(_text(CPUS / f"cpu{cpu}/topology/thread_siblings_list")) - {cpu}
            self._cpus[cpu] = tuple(sorted(siblings)), _node(cpu)
        return self._cpus[cpu]


@lru_cache(1)
def several_nodes() -> bool:
    """Whether this host has more than one NUMA node with memory."""
    return len(cpus(_text(NODES / "has_memory"))) > 1


def has_siblings() -> bool:
    """Whether cores of this host run several threads at once."""
    return _text(CPUS / "smt/active") == "1"


@lru_cache(256)
def cpus(text: str) -> frozenset[int]:
    """The CPUs of a list as the kernel writes it ("0-3,8"); none if it is no such list."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal() and len(last) < 9 and int(last) < MOST_CPUS):
            return frozenset()
        found.update(range(int(first), int(last) + 1))
    return frozenset(found)


def idle() -> dict[int, int]:
    """By CPU, for how long it has been idle, waiting for I/O or not, ns; none where the kernel does not say."""
    found, text = {}, ""
    with contextlib.suppress(OSError):
        text = bounded.text(processes.PROC / "stat")
    for line in text.splitlines():
        match line.split():
            case [name, _, _, _, idle, wait, *_] if name[3:].isdecimal() and (idle + wait).isdecimal():
                found[int(name[3:])] = (int(idle) + int(wait)) * 10_000_000  # USER_HZ is 100
    return found


def _allowed(tid: int) -> str:
    """The CPUs that a thread may run on, as the kernel writes them; empty if it has gone."""
    match = re.search(rb"^Cpus_allowed_list:\s*([\d,-]+)$", processes.of_thread(tid, "status"), re.MULTILINE)
    return match[1][:MOST_LETTERS].decode() if match else ""


def _node(cpu: int) -> int | None:
    with contextlib.suppress(OSError):
        for entry in (CPUS / f"cpu{cpu}").iterdir():
            if entry.name.startswith("node") and entry.name[4:].isdecimal():
                return int(entry.name[4:])
    return None


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return bounded.short(path).decode(errors="replace").strip()
    return ""


class Memory:
    """On which NUMA nodes the memory of VMs is, as /proc/PID/numa_maps says: asked while somebody looks.

    The kernel walks all of a VM's page tables for that, which takes seconds for a large one, and meanwhile its VMM can
    map nothing new. So a thread of its own reads it, one VM at a time, and no VM more often than each AGAIN seconds.
    """

    def __init__(self) -> None:
        self._known: dict[int, Mapping[int, int]] = {}
        self._asked: dict[int, float] = {}
        self._reader: threading.Thread | None = None

    def of(self, pid: int) -> Mapping[int, int] | None:
        """Bytes by node, as far as it is known now; None before that, and where it cannot be known."""
        now = time.monotonic()
        if not (self._reader and self._reader.is_alive()) and now - self._asked.get(pid, -AGAIN) >= AGAIN:
            self._asked = {one: when for one, when in self._asked.items() if now - when < 10 * AGAIN} | {pid: now}
            self._known = {one: known for one, known in self._known.items() if one in self._asked}
            self._reader = threading.Thread(target=self._read, args=(pid,), daemon=True, name="kvmtop numa")
            self._reader.start()
        return self._known.get(pid)

    def _read(self, pid: int) -> None:
        if (found := nodes(pid)) is not None:
            self._known[pid] = found


def nodes(pid: int) -> dict[int, int] | None:
    """Bytes of a process's memory by NUMA node; None where the kernel or this user's rights do not tell. Takes long."""
    found: dict[int, int] = {}
    try:
        with open(processes.PROC / str(pid) / "numa_maps", "rb") as file:
            left = MOST_BYTES
            for line in file:
                left -= len(line)
                if left < 0:  # a part says nothing of the whole
                    return None
                if page := _PAGE.search(line):
                    for node, pages in _NODE.findall(line):
                        found[int(node)] = found.get(int(node), 0) + int(pages) * int(page[1]) * 1024
    except OSError:
        return None
    return found
