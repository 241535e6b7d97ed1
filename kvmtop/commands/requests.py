"""What options ask for, in the terms of the modules that do it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..insight.accesses import POLLING, TOUCHED
from ..model.vocabulary import DetailRequest
from ..reference import qemu_mtree
from ..reference.guest_symbols import Symbols
from ..reference.labels import Labels
from ..tables.row_choice import Idle, RowChoice
from .arguments import SCHEDULER


def details(
    kinds: Collection[str], slow_ns: int | None, pids: Collection[int] = (), stacks: bool = False
) -> DetailRequest | None:
    """What to look at all the time, for --event, --slow and --stacks. pids: those of --pid."""
    if not kinds and not slow_ns and not stacks:
        return None
    wanted = set(kinds) - {SCHEDULER} | (TOUCHED if slow_ns else set())
    sched = (next(iter(pids)) if len(set(pids)) == 1 else 0) if SCHEDULER in kinds else None
    found = frozenset(wanted | POLLING if "poll" in wanted else wanted)
    return DetailRequest(found, slow_ns=slow_ns, sched=sched, stacks=stacks)


def labels(guest_kallsyms: Path | None, memory_map: Path | None) -> Labels:
    """Names of guest code and of addresses. Raises KvmtopError."""
    symbols = Symbols.read(guest_kallsyms) if guest_kallsyms else Symbols()
    memory = qemu_mtree.MemoryMap.read(memory_map) if memory_map else None
    return Labels(symbols=symbols, memory=memory)


def rows(reason: str | None, sort: str | None, top: int | None, idle: Idle) -> RowChoice | None:
    """The reasons to show; None where nothing is asked for, and programs get all by code. Raises KvmtopError."""
    if reason is None and sort is None and top is None and idle == "last":
        return None
    return RowChoice.of(reason, "time" if sort is None else sort, top, idle)
