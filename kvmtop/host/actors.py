"""Names of those that have CPUs: processes, their cgroups, and the files that threads sleep in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from ..model.arrays import Array
from ..model.keys import unpack
from ..model.scheduling import BLOCKED, TASK, Process, Scheduling
from ..model.vocabulary import Vm
from ..sanitize import clean
from . import processes
from .quota import mounts

AGAIN = 50  # processes that are looked up again at a reading: their ids may be others' by now
MOST_GROUPS = 20_000  # that are looked through for those whose processes have ended
# System calls of x86-64 whose first argument is a descriptor: read, write, pread64, pwrite64, readv, writev, ioctl …
OF_FILES = frozenset({0, 1, 16, 17, 18, 19, 20, 42, 43, 44, 45, 46, 47, 74, 75, 232, 281, 295, 296, 426, 441})


class Actors:
    """Asked at each reading while somebody looks; remembers what it has found."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}  # who was looked up last is last
        self._cgroups: dict[int, str] = {}  # "": nowhere

    def named(self, found: Scheduling, vms: Iterable[Vm]) -> Scheduling:
        """The same with the names that its charges need."""
        charges, own = _introduced(found.charges), {vm.pid for vm in vms}
        tasks = charges[(charges["by"] == TASK) & (charges["kernel"] == 0)]
        self._look_up({int(group) for group in np.unique(tasks["cgroup"])} - {0})
        comms = dict(zip(unpack(tasks["who"])[0].tolist(), tasks["comm"].tolist(), strict=True))
        wanted = comms.keys() - own - {0}
        known = {pid: one for pid, one in self._processes.items() if pid in wanted}
        for pid in [*islice(known, AGAIN), *(wanted - known.keys())]:
            known[pid] = _process(pid, known.pop(pid, None), comms[pid])
        self._processes = known
        calls = np.unique(charges[charges["kind"] == BLOCKED][["id", "call"]])
        return replace(
            found,
            charges=charges,
            processes=known,
            cgroups={group: path for group, path in self._cgroups.items() if path},
            calls=dict(_files(calls["id"].tolist(), calls["call"].tolist())),
        )

    def _look_up(self, groups: set[int]) -> None:
        """The paths of these cgroups of v2, whose ids are the inodes of their directories; others are forgotten."""
        self._cgroups = {group: path for group, path in self._cgroups.items() if group in groups}
        if groups <= self._cgroups.keys() or "" not in (found := mounts()):
            return
        top, left = found[""][1], MOST_GROUPS
        todo = [str(top)]
        while todo and groups - self._cgroups.keys() and left > 0:
            with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left -= 1
                        todo.append(entry.path)
                        if entry.inode() in groups:
                            self._cgroups[entry.inode()] = clean(str(Path(entry.path).relative_to(top)))
        self._cgroups |= dict.fromkeys(groups - self._cgroups.keys(), "")


def _introduced(charges: Array) -> Array:
    """With the names of tasks of which no row has it: those who have kept a CPU since somebody began to look."""
    tasks, named = charges["by"] == TASK, charges["comm"] != b""
    nameless = tasks & ~named & (charges["ns"] != 0) & ~np.isin(charges["who"], charges["who"][tasks & named])
    charges = charges.copy() if nameless.any() else charges
    for who in np.unique(charges["who"][nameless]).tolist():
        if known := processes.stat(unpack(who)[1]):
            mine = nameless & (charges["who"] == who)
            charges["comm"][mine], charges["kernel"][mine] = known[0], processes.is_kernels(known[1])
    return charges


def _process(pid: int, before: Process | None, comm: bytes) -> Process:
    """What a process is called now; as before if it has ended, or else by the comm of one of its threads."""
    name = clean(processes.of_thread(pid, "comm").decode(errors="replace").strip())
    if not name:
        return before or Process(clean(comm.decode(errors="replace")))
    if before and before.name == name:  # whether it is a VM takes a look at all that it has open
        return replace(before, cgroup=_cgroup(pid))
    vm = processes.vm(pid).name if processes.vcpu_count(pid) else ""  # --pid has asked for others
    return Process(name, _cgroup(pid), vm)


def _cgroup(pid: int) -> str:
    """The path of a process's group for CPU time; "" where that is not known, and of the root."""
    paths = {}
    for line in processes.of_thread(pid, "cgroup").decode(errors="replace").splitlines():
        number, controllers, path = [*line.split(":", 2), "", ""][:3]
        paths["" if number == "0" else controllers] = path
    v1 = next((path for names, path in paths.items() if "cpu" in names.split(",")), "")
    return clean((v1 or paths.get("", "")).strip("/"))


def _files(ids: list[int], calls: list[int]) -> Iterable[tuple[tuple[int, int], str]]:
    """What the descriptors are that sleepers read from or write to, as far as they are still open."""
    for id, call in zip(ids, calls, strict=True):
        (pid, _), (number, fd) = unpack(id), unpack(call)
        if number in OF_FILES:
            with contextlib.suppress(OSError):
                yield (pid, fd), clean(os.readlink(processes.PROC / str(pid) / "fd" / str(fd)))
