"""What is looked at: everything, a VM or a vCPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .arrays import Mask
from .keys import unpack
from .snapshot import Snapshot


@dataclass(frozen=True)
class Scope:
    """What is looked at: everything, one VM (pid), or one vCPU (its thread's id in the Snapshots)."""

    pid: int | None = None
    thread: int | None = None

    def mask(self, snapshot: Snapshot) -> Mask | None:
        """The rows of snapshot.threads in this scope; None for everything, threads that ended long ago too."""
        if self.thread is not None:
            return np.asarray(snapshot.thread_ids == self.thread)
        if self.pid is not None:
            return np.asarray(unpack(snapshot.threads["id"])[0] == self.pid)
        return None

    def covers(self, other: Scope) -> bool:
        """Whether another is a part of it, or it itself."""
        return self in (ALL, other, Scope(other.pid))


ALL = Scope()
