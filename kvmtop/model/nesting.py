"""What it costs a vCPU that its guest runs guests: its hypervisor's work and KVM's between their exits and entries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .arrays import I64, find
from .exit_stats import own_time
from .interval import Interval
from .reasons import ENTER
from .snapshot import Snapshot
from .vocabulary import NESTED


def together(snapshot: Snapshot) -> Snapshot:
    """The same with the exits of nested guests among the others of their reasons."""
    if not (snapshot.heads["isa"] & NESTED).any():
        return snapshot
    cells = snapshot.cells.copy()
    cells["isa"] &= NESTED - 1
    return replace(snapshot, cells=cells)


def nested(interval: Interval) -> bool:
    """Whether nested guests have left their guest code since the source began, as far as the kernel tells."""
    return bool((interval.after.heads["isa"] & NESTED).any())


def nesting(interval: Interval) -> I64:
    """Shape (threads,): ns that each thread spent on its nested guests without running them.

    That is from an exit of the nested guest (L2) that the hypervisor in the VM (L1) was given, through what that one
    does then and the exits that this takes, to the end of the exit in which it enters L2 again: VMRUN and its like.
    Halts and waits for a CPU are left out, and so is what has not led to such an entry yet: L1 may have left L2 for
    good. Of what L1 runs in between nobody can tell what is for L2.
    """
    after, before = interval.after, interval.before
    spent: I64 = after.threads["nested_ns"].astype("i8")
    if before is not None:
        at = find(after.thread_ids, before.thread_ids)
        spent[at[at >= 0]] -= before.threads["nested_ns"][at >= 0].astype("i8")
        # Of what was open at the beginning, and is over, only the rest lies in the interval.
        opened = np.zeros(len(spent), "i8")
        opened[at[at >= 0]] = before.threads["out_ns"][at >= 0].astype("i8")
        spent = np.maximum(spent - opened, 0)
    own = (interval.rows["thread"] >= 0) & (interval.rows["isa"] & NESTED == 0)
    rows = interval.rows[own & interval.are(ENTER)]
    spent += np.bincount(rows["thread"], own_time(rows, False), len(spent)).astype("i8")
    return spent
