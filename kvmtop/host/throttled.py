"""How much of what a thread waited was its cgroup's CPU quota: known where the quota is its own, or there is none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path

from . import quota

LOOKS = 100  # threads whose groups are looked at in a reading, in turn: those that have waited since the look before
UNKNOWN = -1


@dataclass
class _Thread:
    """own: the group of which it is the only thread, where that alone has a quota. Numbers are ns."""

    wait: int  # up to the reading before
    looked: int = -1  # up to the last look at its groups
    known: bool = False
    own: Path | None = None
    group: int = 0  # its group was throttled, up to the reading before
    owed: int = 0  # of that, what the thread has not been seen to have waited
    ns: int = 0


class Throttled:
    """Asked at each reading; remembers the threads' groups, and how much those were throttled."""

    def __init__(self) -> None:
        self._threads: dict[int, _Thread] = {}  # who was looked at last is last

    def update(self, waits: Mapping[int, int]) -> dict[int, int]:
        """By tid, ns of what these threads waited (`waits`, since they began) that were their quota, since they were
        seen first; UNKNOWN where others share the quota. A change of groups or quotas shows after a while.
        """
        for tid in self._threads.keys() - waits.keys():
            del self._threads[tid]
        new = {tid: _Thread(wait) for tid, wait in waits.items() if tid not in self._threads}
        self._threads = new | self._threads
        due = (tid for tid, thread in self._threads.items() if thread.looked != waits[tid])
        limits = cache(partial(_limited, quota.mounts()))
        for tid in list(islice(due, LOOKS)):
            thread = self._threads[tid] = self._threads.pop(tid)
            limited, whole = limits(quota.membership(tid))
            own = limited[0] if len(limited) == 1 and _alone(tid, limited[0]) else None
            # Since when a new quota has held it back is not known: the next reading is the first that can tell.
            changed = own != thread.own and thread.looked >= 0
            thread.looked = -1 if changed else waits[tid]
            thread.known = whole and not changed and (own is not None or not limited)
            if own != thread.own:
                thread.own, thread.owed = own, 0
                thread.group = (own and quota.throttled_ns(own)) or 0
        return {
            tid: self._threads[tid].ns if _grown(self._threads[tid], wait) else UNKNOWN for tid, wait in waits.items()
        }


def _grown(thread: _Thread, wait: int) -> bool:
    """Take along what a thread has waited up to now; whether it is known how much of that was its quota."""
    more, thread.wait = max(wait - thread.wait, 0), wait
    if thread.own and more:
        now = quota.throttled_ns(thread.own)
        if now is None:
            thread.known = False
            return False
        thread.owed += max(now - thread.group, 0)
        thread.group = now
        # A group is throttled also while its thread sleeps, and its time may be told before the thread's.
        part = min(thread.owed, more)
        thread.owed, thread.ns = thread.owed - part, thread.ns + part
    return thread.known


def _limited(points: quota.Mounts, text: str) -> tuple[list[Path], bool]:
    """The groups with a quota that counts for the threads of a group; whether there are no others."""
    found, whole = quota.groups(text, points)
    return [directory for _, directory in found if quota.limit(directory)], whole


def _alone(tid: int, group: Path) -> bool:
    """Whether a thread is the only one in a group, and in those below it."""
    text = quota.read(group / "cgroup.threads") or quota.read(group / "tasks")  # cgroup v1
    with contextlib.suppress(OSError), os.scandir(group) as entries:
        return text.split() == [str(tid)] and not any(entry.is_dir(follow_symlinks=False) for entry in entries)
    return False
