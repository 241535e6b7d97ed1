"""How much of what is seen kvmtop's own BPF programs have made."""

from __future__ import annotations

from ..model.interval import Interval
from ..model.scope import ALL, Scope


def own_share(interval: Interval, scope: Scope = ALL) -> float | None:
    """The share (of 1) of vCPUs' time that kvmtop's programs took in their exits, counting and looking; most of it is
    in the state kernel. None where it is not known: nobody looks or asks, or the kernel does not measure (Price.why).

    At least so much: what a tracepoint costs around the programs is not in it, nor what they take at switches.
    """
    price, after = interval.after.price, interval.after
    if price is None or price.counting_exit_ns is None or price.added_exit_ns is None:
        return None
    mask, rows = scope.mask(after), interval.rows
    rows = rows[rows["thread"] >= 0]
    known = interval.known
    if mask is not None:
        rows, known = rows[mask[rows["thread"]]], known[mask]
    time = int(known.sum())
    if time <= 0:
        return None
    return min(int(rows["count"].sum()) * (price.counting_exit_ns + price.added_exit_ns) / time, 1.0)
