"""The kernel's stacks of a reason's exits as blocks: each as wide as its share of the time, over what it called."""

from __future__ import annotations

from collections.abc import Sequence

from .. import units
from ..insight.stacks import MARKS, Frame, Spent, causes, tree
from ..reference.kernel_stacks import doing
from ..reference.word_texts import IN_SHORT
from .page import Block, KernelTime

MOST = 3  # causes in a line,
LEAST = 0.01  # with at least so much of the time
BLOCKS = 400  # of a tree; what is less than the rest is left out
DEEP = 40


def icicle(one: Spent | None, since: str = "the page was opened", unnamed: str = "") -> KernelTime:
    """Of one reason; None: it had no time since the look began. since: when that was, in words; unnamed: why functions
    have no names, in a sentence."""
    if one is None:
        return KernelTime(f"no such exit since {since}", "", Block((), 0, 0, "kernel", ""))
    said = [cause for cause in causes(one) if cause.share >= LEAST][:MOST]
    headline = ", ".join(f"{units.percent(cause.share)} {_by(cause.state)} {cause.what}" for cause in said)
    root = tree(one.parts)
    whole = max(root.ns, 1)
    room = sorted((frame.ns for frame in _all(root)), reverse=True)[:BLOCKS][-1:]
    hint = f"{units.duration(one.time)} since {since} · {one.samples} samples"
    return KernelTime(unnamed or headline, hint, _block(root, whole, max(*room, 1), 0))


def _by(state: str) -> str:
    return {"idle": "idle:", "blocked": "blocked in", "kernel": "in"}[state]


def _all(frame: Frame) -> list[Frame]:
    found = [frame]
    for one in found:
        found += one.children.values()
    return found


def _block(frame: Frame, whole: int, least: int, depth: int) -> Block:
    chain = [frame]
    while frame.name and len(chain[-1].children) == 1 and chain[-1].called[0].ns == frame.ns:
        chain += chain[-1].called
    last = chain[-1]
    names = tuple(one.name for one in chain if one.name)
    shown = [one for one in last.called if one.ns >= least and depth < DEEP]
    own = last.ns - sum(one.ns for one in last.children.values())
    called = [_block(one, whole, least, depth + 1) for one in shown]
    return Block(names, frame.ns / whole, own / whole, last.state, _words(chain), called)


def _words(chain: Sequence[Frame]) -> str:
    """What there is to say of a block: its last function, how much, and what that means."""
    last = chain[-1]
    mark = last.name if last.name in MARKS.values() else ""
    functions = [one.name for one in reversed(chain) if one.name not in MARKS.values()]
    told = doing(functions, bool(mark) and last.state in ("idle", "blocked"))
    counted = [f"{last.samples} samples"] if last.samples else []
    off = last.times - last.samples
    counted += [f"{off} times off the CPU"] if off else []
    why = f"{told.what}: {told.why}" if told and told.why else told.what if told else ""
    if mark and not why and last.state in IN_SHORT:
        why = IN_SHORT[last.state]
    name = " ".join(filter(None, (functions[0] if functions else "", mark)))
    return " · ".join(filter(None, (name, units.duration(last.ns), *counted, why)))
