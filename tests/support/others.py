"""The other threads of VMs, whose counters are advanced by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from kvmtop.model.arrays import Array
from kvmtop.model.scheduling import OTHER, ROLES


class Others:
    """Rows for a Host's `others`."""

    def __init__(self) -> None:
        self._rows: dict[int, Any] = {}
        self._read: dict[int, Any] = {}
        self.asleep: set[int] = set()  # those that are not read

    def add(self, pid: int, tid: int, role: str, name: str, cpu: int = 0, throttled_ns: int = 0) -> None:
        row = np.zeros((), OTHER)
        row["id"], row["role"], row["comm"] = pid << 32 | tid, ROLES.index(role), name.encode()
        row["cpu"], row["throttled_ns"] = cpu, throttled_ns
        self._rows[tid] = row

    def grow(self, tid: int, **ns: int) -> None:
        for name, more in ns.items():
            self._rows[tid][name] = int(self._rows[tid][name]) + more

    def set(self, tid: int, **values: int) -> None:
        for name, value in values.items():
            self._rows[tid][name] = value

    def remove(self, tid: int) -> None:
        del self._rows[tid]

    def rows(self, now: int) -> Array:
        """As they are read at an instant."""
        for tid, row in self._rows.items():
            if tid not in self.asleep:
                row["time_ns"] = max(now, int(row["time_ns"]))
                self._read[tid] = row.copy()
        return np.array([self._read[tid] for tid in self._rows], OTHER)
