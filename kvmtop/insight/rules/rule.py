"""What a rule is, and what it looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import cached_property

import numpy as np

from ...model.arrays import F64, I64, U64, Array, Mask
from ...model.exit_stats import own_time
from ...model.interval import Interval
from ...model.keys import pack, unpack
from ...model.reasons import among
from ...model.scope import ALL, Scope
from ...model.session import Session
from ...model.snapshot import TOUCH, Snapshot
from ...model.vocabulary import Key, looks_at
from ...reference.labels import Labels
from ..accesses import change, own, seconds
from ..finding import CERTAIN, USUAL, Finding, Limits
from ..vcpus import VcpuRow, vcpu_rows

SCHED, STACKS = "sched", "stacks"  # what can be looked at beside the kinds of what exits touch


@dataclass(frozen=True)
class Exits:
    """Those of some reasons in a VM. rate: a second; cost: of their own doing, in vCPUs' time a second; key: the one
    with the most time."""

    rate: float
    cost: float
    key: Key


@dataclass(frozen=True)
class View:
    """An interval as rules see it: the VMs and vCPUs of a scope, and what was looked at."""

    session: Session
    interval: Interval
    vms: Sequence[VcpuRow]
    vcpus: Sequence[VcpuRow]  # that have not ended
    labels: Labels
    limits: Limits = USUAL
    scope: Scope = ALL

    @classmethod
    def of(
        cls,
        session: Session,
        interval: Interval,
        rows: Sequence[VcpuRow],
        labels: Labels,
        limits: Limits = USUAL,
        scope: Scope = ALL,
    ) -> View:
        """rows: the interval's vcpu_rows()."""
        if scope != ALL:
            rows = [row for row in rows if scope.covers(row.scope) or row.scope.covers(scope)]
        vms = [row for row in rows if row.scope.thread is None]
        vcpus = [row for row in rows if row.scope.thread is not None and not row.ended]
        return cls(session, interval, vms, vcpus, labels, limits, scope)

    @classmethod
    def between(cls, before: Snapshot | None, after: Snapshot, labels: Labels, limits: Limits = USUAL) -> View:
        """Of two readings by themselves: without a history. None: since counting began."""
        session = Session()
        session.last = before
        interval = session.add(after)
        rows = vcpu_rows(session, interval, trend=0)
        return cls.of(session, interval, rows, replace(labels, names=after.names), limits)

    def of_vm(self, pid: int) -> View:
        """The part that is of one VM, as if there were no other."""
        vms = [vm for vm in self.vms if vm.number == pid]
        return replace(self, vms=vms, vcpus=self._vcpus_of.get(pid, ()), scope=Scope(pid))

    @cached_property
    def _vcpus_of(self) -> dict[int | None, list[VcpuRow]]:
        found: dict[int | None, list[VcpuRow]] = {}
        for vcpu in self.vcpus:
            found.setdefault(vcpu.scope.pid, []).append(vcpu)
        return found

    def looks_at(self, kind: str, vm: VcpuRow) -> bool:
        """Whether somebody looks at a kind of what a VM's exits touch, or at SCHED or STACKS of it."""
        after, pid = self.interval.after, vm.number
        if kind == SCHED:
            return after.scheduling is not None and after.scheduling.pid in (0, pid)
        if kind == STACKS:
            return after.stacks is not None and looks_at(after.stacks.pids, pid)
        look = after.details.look if after.details else None
        return look is not None and kind in look.kinds and looks_at(look.pids, pid)

    def exits(self, vm: VcpuRow, codes: Set[Key]) -> Exits | None:
        """Those of these reasons; None where it had none."""
        pids, keys, counts, own = self._by_vm
        asked: dict[Set[Key], I64] = self.interval.memo.setdefault("columns", {})  # by rules, not by VM
        if (which := asked.get(codes := frozenset(codes))) is None:
            which = asked[codes] = np.flatnonzero(among(keys, {*codes}))
        if not len(which):  # as a rule
            return None
        at = np.searchsorted(pids, vm.number)
        if at >= len(pids) or pids[at] != vm.number or not counts[at, which].any():
            return None
        most = which[own[at, which].argmax()]
        return Exits(
            float(counts[at, which].sum()) / self.interval.seconds,
            float(own[at, which].sum()) / (self.interval.seconds * 1e9),
            unpack(int(keys[most])),
        )

    @cached_property
    def _by_vm(self) -> tuple[I64, U64, I64, F64]:
        """pids, ascending; reasons, packed; exits and ns of their own doing, shape (pids, reasons)."""
        interval, memo = self.interval, self.interval.memo
        if "by_vm" not in memo:
            keys, column = interval.reasons
            there = interval.rows["thread"] >= 0
            rows = interval.rows[there]
            pids, vm = np.unique(unpack(interval.after.threads["id"])[0].astype("i8"), return_inverse=True)
            cell = vm[rows["thread"]] * len(keys) + column[there]
            shape = len(pids), len(keys)
            counts, owns = (
                np.bincount(cell, ns, shape[0] * shape[1]).reshape(shape)
                for ns in (rows["count"], own_time(rows, False))
            )
            memo["by_vm"] = pids, keys, counts.astype("i8"), owns
        found: tuple[I64, U64, I64, F64] = memo["by_vm"]
        return found

    @cached_property
    def touched(self) -> Array:
        """What exits touched in the interval: dtype TOUCH; nothing while nobody looks."""
        memo = self.interval.memo
        if "touched" not in memo:
            rows = change(self.interval)
            memo["touched"] = np.zeros(0, TOUCH) if rows is None else rows[rows["count"] > 0]
        found: Array = memo["touched"]
        return found

    @staticmethod
    def is_of(rows: Array, vm: VcpuRow) -> Mask:
        """Which rows with an id are of a VM."""
        mine: Mask = unpack(rows["id"])[0] == vm.number
        return mine

    @staticmethod
    def id(vcpu: VcpuRow) -> int:
        """A vCPU's tgid and tid, packed."""
        return int(pack(vcpu.scope.pid or 0, vcpu.number))

    def touches(self, vm: VcpuRow, rows: Array) -> tuple[float, float]:
        """Of rows of `touched` those of a VM: events a second, and vCPUs' time a second of their own doing."""
        mine = rows[self.is_of(rows, vm)]
        length = seconds(self.interval)
        return float(mine["count"].sum()) / length, float(own(mine).sum()) / (length * 1e9)

    def share(self, vm: VcpuRow, state: str) -> float:
        """vCPUs' time a second that a VM's vCPUs spend in a state."""
        return sum(one.share(state) for one in self.vcpus if one.scope.pid == vm.scope.pid)


@dataclass(frozen=True)
class Remedy:
    """What to try, in the words of those who do it; "" where there is nothing."""

    host: str = ""
    guest: str = ""
    vm: str = ""  # in its definition: libvirt's XML, or QEMU's options

    @property
    def words(self) -> list[str]:
        """Each with where that is."""
        where = ("on the host", self.host), ("in the guest", self.guest), ("in the VM's definition", self.vm)
        return [f"{place}: {what}" for place, what in where if what]


@dataclass(frozen=True)
class Rule:
    """What stands out, and why. find: what of it there is in a View."""

    name: str  # by which JSON, metrics and `kvmtop explain` know it
    title: str
    condition: str  # in words; {user} and so on stand for Limits
    find: Callable[[View], Iterable[Finding]]
    unless: str  # what looks like it, and is not
    remedy: Remedy = Remedy()
    needs: frozenset[str] = frozenset()  # what must be looked at: kinds, SCHED, STACKS; any of them will do
    more: frozenset[str] = frozenset()  # what makes it say more
    explains: frozenset[str] = frozenset()  # rules that say no more than this one does, of the same VM
    confidence: str = CERTAIN
    see: str = ""  # the command that shows its figures, with {vm}

    def holds(self, limits: Limits) -> str:
        """The condition with its bounds."""
        return self.condition.format(**{name: f"{value:.0%}" for name, value in asdict(limits).items()})


def who(vcpu: VcpuRow) -> str:
    """A vCPU by its name."""
    return f"{vcpu.name} of {vcpu.vm}"
