"""Whether halt polling pays, in words."""

from __future__ import annotations

from .. import units
from ..insight.halt_polling import Polling, Verdict

_WORDS = {
    Verdict.NO_HALT: "no halt",
    Verdict.NOT_POLLED: "no halt was polled",
    Verdict.CHEAP: "cheap",
    Verdict.PAYS: "pays",
    Verdict.WASTEFUL: "wasteful",
}


def verdict(one: Polling) -> str:
    """One line of judgement, with the numbers it rests on."""
    words = _WORDS[one.verdict]
    if one.hit is not None:
        polls = one.hits + one.wasted
        words += f": {units.percent(one.hit)} of {polls} polls hit, {units.percent(one.burnt)} of a CPU spent"
    return words + ("; lower kvm's halt_poll_ns" if one.verdict is Verdict.WASTEFUL else "")
