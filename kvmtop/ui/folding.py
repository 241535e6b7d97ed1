"""Which VMs have their vCPUs left out: those that somebody has folded, and where there are few rows, those of which
nothing is to be said."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..insight.vcpus import VcpuRow

ROWS = 48  # of the screen, from which on nothing is folded by itself


class Folding:
    """Decided for each VM once, and anew with another size of the screen: nothing folds while somebody reads it."""

    def __init__(self) -> None:
        self._chosen: dict[int, bool] = {}  # by pid
        self._decided: dict[int, bool] = {}
        self._size: object = None

    def folded(
        self, rows: Sequence[VcpuRow], room: int, size: object, spared: Collection[int | None]
    ) -> set[int | None]:
        """The pids. rows: those of the list; room: how many there is room for, 0: for all; size: of the screen; spared:
        VMs that stay open by themselves."""
        if size != self._size:  # not the room, which changes as findings come and go
            self._size, self._decided = size, {}
        pids = dict.fromkeys(row.scope.pid for row in rows if row.scope.pid is not None)
        if any(pid not in self._decided for pid in pids):
            few = 0 < room < len(rows)
            self._decided = {pid: self._decided.get(pid, few and pid not in spared) for pid in pids}
        return {pid for pid in pids if self._chosen.get(pid, self._decided[pid])}

    def turn(self, pid: int) -> None:
        """Fold it, or open it."""
        self._chosen[pid] = not self._chosen.get(pid, self._decided.get(pid, False))

    def open(self, pid: int | None) -> None:
        """Somebody goes to one of its vCPUs."""
        if pid is not None:
            self._chosen[pid] = False
