"""What kvmtop's own probes add, in few words: at least so much, without what the tracepoints cost around them."""

from __future__ import annotations

from .. import units
from ..model.price import Price

WIDE = 140  # characters of a line in which there is room for words


def short(price: Price) -> str:
    """As "probes ≥1.60µs/exit", always as wide, since lines shall not jump; a switch where no exit is looked at."""
    what, ns = _most(price)
    return f"probes {_least(ns):>7}/{what}"


def _most(price: Price) -> tuple[str, float | None]:
    added = price.added
    if price.looking and not added.exit_ns and added.switch_ns:
        return "switch", price.added_switch_ns
    return "exit", price.added_exit_ns if price.looking else price.counting_exit_ns


def _least(ns: float | None) -> str:
    return units.DASH if ns is None else f"≥{units.duration(ns)}"


def words(price: Price) -> str:
    """The same with more words: what looking adds to an exit and to a switch, and what counting takes anyway."""
    if price.why:
        return f"probes {units.DASH}/exit: not measured, {price.why}"
    parts = []
    if not price.looking or price.added.exit_ns or not price.exits:
        parts.append(f"{_least(_most(price)[1]):>7}/exit")
    if price.added.switch_ns:
        parts.append(f"{_least(price.added_switch_ns):>7}/switch")
    return f"probes {', '.join(parts)}" + (
        f", counting {_least(price.counting_exit_ns):>7}/exit" if price.looking else ""
    )
