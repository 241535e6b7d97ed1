"""What stands out as a line of links: one sentence with its rule, and the others in a few words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len

from .. import units
from ..insight.finding import Finding
from ..insight.rules import BY_NAME
from .rows import Link
from .text import shortened, wrapped

SENTENCE = 70  # characters: where there are fewer for it, a few words stand in for the sentence
MOST = 4  # lines of a sentence
NARROW = 60  # characters of the line
MARK = "▲ "
_DETAIL = r" of (?:a |the time)|, "  # from here on, a rule can do without


def finding_lines(
    found: Sequence[Finding],
    shown: int | None,
    width: int,
    now_ns: int,
    walking: bool,
    more: tuple[str, str] = ("", ""),
) -> list[list[Link]]:
    """A line in so many characters, or the whole of one in several where somebody walks them. shown: the one that is
    told; walking: Enter goes to it; more: a key, and what that tells of it."""
    if not found:
        return []
    if shown is None:
        head = Link("nothing here; elsewhere" if width > NARROW else "elsewhere", "quiet")
        return [[head, *_others(found, range(len(found)), width - len(head.text), ("f", " walks them"))]]
    lead = _hint("", more) if more[0] and width > NARROW else []
    return (_all if walking else _line)(found, shown, width, now_ns, lead)


def _line(found: Sequence[Finding], shown: int, width: int, now_ns: int, lead: list[Link]) -> list[list[Link]]:
    """The sentence first, then how long its rule has held, the rule and the others, as far as there is room."""
    one, others = found[shown], [n for n in range(len(found)) if n != shown]
    left = width - len(MARK) - cell_len("".join(_whole(one, now_ns))) - _length(lead)
    rests = _others(found, others, left, ("f", " walks them" if others else " tells more")), _few(found, others)
    rest = next((rest for rest in rests if _length(rest) <= left), rests[-1])
    text, tail = _told(one, now_ns, width - len(MARK) - _length([*lead, *rest]))
    told = [Link(MARK, "mark", one.state, shown), Link(text, "strong", one.state, shown)]
    return [[*told, *([Link(tail, "quiet", target=shown)] if tail else []), *lead, *rest]]


def _all(found: Sequence[Finding], shown: int, width: int, now_ns: int, lead: list[Link]) -> list[list[Link]]:
    """The sentence to its end, how long its rule has held, the rule, and what to try."""
    one, indent = found[shown], " " * len(MARK)
    first, *others = wrapped(one.text, width - len(MARK), MOST)
    lines = [[Link(MARK, "mark", one.state, shown), Link(first, "strong", one.state, shown)]]
    lines += [[Link(indent, "quiet"), Link(text, "strong", one.state, shown)] for text in others]
    hint = _hint(f"{shown + 1}/{len(found)} ", ("↵", " goes there"))
    hint += _hint("", ("e", " explains it")) if width > NARROW else []
    held = f"{_since(one, now_ns)}  [{one.rule}]".lstrip(", ")
    room = width - len(MARK) - _length([*lead, *hint])
    lines.append([Link(f"{indent}{shortened(held, room)}", "quiet", target=shown), *lead, *hint])
    rule = BY_NAME.get(one.name)
    for text in wrapped(f"try {rule.remedy.words[0]}", width - len(MARK), 2) if rule else ():
        lines.append([Link(f"{indent}{text}", "plain", target=shown)])
    return lines


def _whole(one: Finding, now_ns: int) -> tuple[str, str]:
    """The sentence, and how long its rule has held."""
    return one.text, f"{_since(one, now_ns)}  [{one.rule}]"


def _told(one: Finding, now_ns: int, room: int) -> tuple[str, str]:
    """The same in so many characters: first the rule gives way, then the time, then the end of the sentence."""
    text, tail = _whole(one, now_ns)
    since, brief = _since(one, now_ns), f"  [{re.split(_DETAIL, one.rule)[0]}]"
    for words, behind in (
        *((text, behind) for behind in (tail, f"{since}{brief}", since, "")),
        *(((one.short, behind) for behind in (f"{since}{brief}", brief)) if room < SENTENCE else ()),
    ):
        if cell_len(words) + cell_len(behind) <= room:
            return words, behind
    return shortened(one.short if room < SENTENCE else text, room), ""


def _since(one: Finding, now_ns: int) -> str:
    if not one.since:
        return ""
    return f", for {'more than ' if one.since.longer else ''}{units.spoken(max(now_ns - one.since.ns, 0))}"


def _others(found: Sequence[Finding], which: Sequence[int], width: int, key: tuple[str, str]) -> list[Link]:
    """Each in its few words, as far as there is room."""
    parts: list[Link] = []
    hint = _hint("", key)
    for number, at in enumerate(which):
        words = [*_hint(""), Link(MARK, "mark", found[at].state, at), Link(found[at].short, "link", target=at)]
        more = _hint(f"{len(which) - number} more")
        if _length([*parts, *words, *(more if number < len(which) - 1 else []), *hint]) > width:
            parts += more
            break
        parts += words
    return parts + hint


def _few(found: Sequence[Finding], which: Sequence[int]) -> list[Link]:
    """Nothing but their marks."""
    if not which:  # the foot has the key, too
        return []
    marks = [Link("▲", "mark", found[at].state, at) for at in which]
    return [*_hint(""), *marks, Link(" ", "quiet"), Link("f", "key"), Link(" next", "quiet")]


def _hint(words: str, key: tuple[str, str] = ("", "")) -> list[Link]:
    """Behind a gap."""
    return [Link(f"   {words}", "quiet"), *([Link(key[0], "key"), Link(key[1], "quiet")] if key[0] else [])]


def _length(parts: Sequence[Link]) -> int:
    return sum(cell_len(part.text) for part in parts)
