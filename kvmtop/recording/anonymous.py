"""What leaves a recording that strangers shall read: what names guests, and where in them something is.

Left are numbers, what the kernel calls its own functions, exit reasons and devices' registers, and who is who by a
number: "VM 1". Process ids and thread ids stay, as they name nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..model.arrays import Array
from ..model.provenance import Origin
from ..model.scheduling import Process, Scheduling
from ..model.snapshot import NO_INFO, Details, Snapshot
from ..model.source import Source, Wrapper
from ..model.vocabulary import KINDS, DetailRequest, Vm

# Their values are guest addresses. Without them a row would claim an address that it has not, so nobody looks.
ADDRESSES = frozenset({"mmio", "fault", "rip"})
_NUMBERS = [KINDS.index(kind) for kind in ADDRESSES]


class Anonymous(Wrapper):
    """A Source without names and addresses of guests."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self._names = dict[str, str]()

    @property
    def origin(self) -> Origin:
        """Of a host without a name."""
        return replace(self._source.origin, host="host")

    def read(self) -> Snapshot:
        """The counters now. Raises KvmtopError."""
        return self._without(self._source.read())

    def look(self, look: DetailRequest | None) -> None:
        """Tell these details from the next reading on, but for addresses; or none."""
        self._source.look(look and replace(look, kinds=look.kinds - ADDRESSES))

    def slow(self) -> Array:
        """The slow exits since the last reading or call; dtype SLOW."""
        return _slow(self._source.slow())

    def close(self) -> Snapshot:
        """Stop counting; the final counters."""
        return self._without(self._source.close())

    def _without(self, snapshot: Snapshot) -> Snapshot:
        vms = {pid: self._vm(vm) for pid, vm in snapshot.vms.items()}
        others = snapshot.others.copy()
        others["comm"] = b""
        return replace(
            snapshot,
            vms=vms,
            others=others,
            details=snapshot.details and _details(snapshot.details),
            scheduling=snapshot.scheduling and self._scheduling(snapshot.scheduling),
        )

    def _called(self, what: str, name: str) -> str:
        """The same number for the same name, in the order in which they come."""
        number = sum(known.startswith(f"{what} ") for known in self._names.values()) + 1
        return self._names.setdefault(f"{what} {name}", f"{what} {number}")

    def _vm(self, vm: Vm) -> Vm:
        quota = f"its cgroup:{vm.quota.rpartition(':')[2]}" if vm.quota else ""
        return replace(vm, name=self._called("VM", f"{vm.name} {vm.pid}"), comm="", aliases=(), quota=quota)

    def _scheduling(self, told: Scheduling) -> Scheduling:
        charges = told.charges.copy()
        charges["comm"] = b""
        processes: Mapping[int, Process] = {
            tgid: Process(
                self._called("process", f"{tgid}"),
                one.cgroup and self._called("cgroup", one.cgroup),
                one.vm and self._called("VM", f"{one.vm} {tgid}"),
            )
            for tgid, one in told.processes.items()
        }
        cgroups = {number: path and self._called("cgroup", path) for number, path in told.cgroups.items()}
        return replace(told, charges=charges, processes=processes, cgroups=cgroups, calls={})


def _details(details: Details) -> Details:
    """Whatever it was asked for, too: a command's own look is at work from the start."""
    kept = ~np.isin(details.touched["kind"], _NUMBERS)
    return replace(
        details,
        look=replace(details.look, kinds=details.look.kinds - ADDRESSES),
        touched=details.touched[kept],
        touched_ids=details.touched_ids[kept],
        dropped={kind: events for kind, events in details.dropped.items() if kind not in ADDRESSES},
        slow=_slow(details.slow),
    )


def _slow(rows: Array) -> Array:
    """Without addresses: where the guest was, what the hardware says of the exit, what it touched if that is one."""
    rows = rows.copy()
    rows["rip"], rows["info1"], rows["info2"] = 0, NO_INFO, 0
    for number in _NUMBERS:
        rows["kind"][rows["kind"] == number] = 0
    rows["value"][rows["kind"] == 0] = 0
    return rows
