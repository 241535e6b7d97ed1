"""Names of those that have CPUs: processes, their cgroups, and the files that threads sleep in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..model.keys import unpack
from ..model.scheduling import BLOCKED, TASK, Process, Scheduling
from ..model.vocabulary import Vm
from ..sanitize import clean
from . import processes
from .quota import mounts

MOST_GROUPS = 20_000  # that are looked through for those whose processes have ended
# System calls of x86-64 whose first argument is a descriptor: read, write, pread64, pwrite64, readv, writev, ioctl …
OF_FILES = frozenset({0, 1, 16, 17, 18, 19, 20, 42, 43, 44, 45, 46, 47, 74, 75, 232, 281, 295, 296, 426, 441})


class Actors:
    """Asked at each reading while somebody looks; remembers what it has found."""

    def __init__(self) -> None:
        self._processes: dict[int, Process] = {}
        self._cgroups: dict[int, str] = {}  # "": nowhere

    def named(self, found: Scheduling, vms: Iterable[Vm]) -> Scheduling:
        """The same with the names that its charges need."""
        charges, own = found.charges, {vm.pid for vm in vms}
        tasks = charges[(charges["by"] == TASK) & (charges["kernel"] == 0)]
        self._look_up({int(group) for group in np.unique(tasks["cgroup"])} - {0})
        known = {}
        comms = dict(zip(unpack(tasks["who"])[0].tolist(), tasks["comm"].tolist(), strict=True))
        for pid in comms.keys() - own - {0}:
            if pid not in self._processes:
                comm = processes.of_thread(pid, "comm").decode(errors="replace")
                name = clean(comm.strip()) or clean(comms[pid].decode(errors="replace"))
                vm = processes.vm(pid).name if processes.vcpu_count(pid) else ""  # --pid has asked for others
                self._processes[pid] = Process(name, _cgroup(pid), vm)
            known[pid] = self._processes[pid]
        self._processes = known  # an id may be another's soon
        calls = np.unique(charges[charges["kind"] == BLOCKED][["id", "call"]])
        return replace(
            found,
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
