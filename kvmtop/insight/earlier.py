"""Since when what stands out of a VM has done so, by a recording of its host.

Moments further and further back are looked at, until one at which it did not hold, and then those between: so that it
held all the time in between is not claimed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..recording.always import ALWAYS
from ..recording.store import Dropped, Store
from ..reference.labels import Labels
from .diagnosis import Cause, Diagnosis
from .finding import USUAL, Began, Limits
from .findings import of_each_vm
from .rules.rule import View

MOST = 200  # moments that are looked at, 50 ms each where there are 200 busy vCPUs


def since_when(found: Diagnosis, path: Path | None = None, limits: Limits = USUAL) -> Diagnosis:
    """The same with since when, by this recording; by the one that is always made, where there is one. Raises
    KvmtopError."""
    if not found.causes:
        return found
    if path is None and not os.access(ALWAYS, os.R_OK | os.X_OK):
        return replace(found, since_unknown=f"there is no recording in {ALWAYS} that can be read")
    store = Store(path or ALWAYS)
    try:
        return replace(found, causes=Earlier(store, limits).told(found.causes))
    finally:
        store.free()


class Earlier:
    """Of one recording."""

    def __init__(self, store: Store, limits: Limits = USUAL) -> None:
        self._store, self._limits = store, limits
        self._known: dict[int, dict[str, set[str]]] = {}

    def told(self, causes: Sequence[Cause]) -> list[Cause]:
        """The same with since when they have held. Raises KvmtopError."""
        return [replace(one, began=self.began(one.vm.vm, one)) if one.vm else one for one in causes]

    def began(self, vm: str, cause: Cause) -> Began | None:
        """Of a VM by its name; None where it did not hold when the recording ended. What it explains stands for it,
        since a recording may know no more. Raises KvmtopError."""
        names, last = {cause.rule.name, *cause.rule.explains}, len(self._store) - 1
        looked = 0

        def holds(n: int) -> bool:
            nonlocal looked
            looked += 1
            return bool(names & self._at(n).get(vm, set()))

        if last < 0 or not holds(last):
            return None
        held, before, step = last, None, 1
        while held > 0 and before is None and looked < MOST:
            n = max(held - step, 0)
            held, before, step = (n, None, 2 * step) if holds(n) else (held, n, step)
        while before is not None and held - before > 1 and looked < MOST:
            middle = (held + before) // 2
            held, before = (middle, before) if holds(middle) else (held, middle)
        wall = self._store.wall
        return Began(wall(held), None if before is None else wall(before), looked)

    def _at(self, n: int) -> dict[str, set[str]]:
        """By VM, the rules that have found something in interval n."""
        if n not in self._known:
            try:
                view = View.between(self._store.before(n), self._store.at(n), Labels(), self._limits)
            except Dropped:
                return {}
            self._known[n] = {vm.vm: {one.name for one in found} for vm, found in of_each_vm(view)}
        return self._known[n]
