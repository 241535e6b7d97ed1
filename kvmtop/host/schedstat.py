"""How long vCPUs waited for a CPU, by the scheduler's own account, asked each second for each of them."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Collection, Mapping

from . import processes

RESERVE = 512  # descriptors that the rest of the program may need


class Delays:
    """Reads /proc/TID/schedstat of many threads. Their files stay open: opening one takes longer than reading it.

    An open file keeps about 5 KB of kernel memory. It stays with its thread: when that has ended, its id may be
    another's, but the file tells nothing any more (ESRCH).
    """

    def __init__(self, before: Mapping[int, int]) -> None:
        """before: ns that threads had waited when counting began; others start from nothing."""
        self._before = dict(before)
        self._files: dict[int, int] = {}

    def read(self, tids: Collection[int]) -> dict[int, int]:
        """ns that each of these has waited since counting began, where the kernel tells; others are forgotten."""
        for tid in self._files.keys() - tids:
            os.close(self._files.pop(tid))
        most = _descriptors(len(tids) + RESERVE) - RESERVE
        found = {}
        for tid in tids:
            file = self._files.get(tid)
            try:
                if file is None and len(self._files) < most:
                    self._files[tid] = file = os.open(
                        processes.PROC / str(tid) / "schedstat", os.O_RDONLY | os.O_CLOEXEC
                    )
                waited = (
                    processes.schedstat(tid)
                    if file is None
                    else processes.run_delay(os.pread(file, processes.SCHEDSTAT, 0))
                )
            except OSError:
                if file is not None:
                    os.close(self._files.pop(tid))
                waited = processes.schedstat(tid)
            if waited is not None:
                found[tid] = waited - self._before.get(tid, 0)
        return found

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])


def _descriptors(wanted: int) -> int:
    """Raise this process's limit of open files to so many, if it may; the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if soft == resource.RLIM_INFINITY else soft
