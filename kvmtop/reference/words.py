"""Every word on kvmtop's screens: what it means, looked up by name. Reasons are words, too: exit_reasons.py has those.

To add a word: a Word in word_texts.py, or in column_texts.py where it heads a column; findings have a group of their
own. tests/reference/test_words.py goes through what the code shows and fails for what is missing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from textwrap import fill

from ..errors import KvmtopError
from . import exit_reasons
from .apicv import INHIBITS
from .column_texts import COLUMNS
from .word import GROUPS, Word
from .word_texts import WORDS

MOST = 4  # names that are suggested


def _columns() -> Iterator[Word]:
    """One for each title and text, with all tables that have it."""
    found: dict[tuple[str, str], list[Word]] = {}
    for word in COLUMNS:
        found.setdefault((word.name, word.text), []).append(word)
    for words in found.values():
        also = dict.fromkeys(name for word in words for name in word.also)
        yield replace(words[0], where=", ".join(word.where for word in words), also=tuple(also))


def _inhibits() -> Iterator[Word]:
    """Why APICv and AVIC are off, as the kernel calls it."""
    for name, (why, advice) in INHIBITS.items():
        rest = f" What to try: {advice}." if advice else ""
        yield Word(name, "inhibit", f"APICv or AVIC is off: {why}.{rest}", see=("APICv",))


ALL: tuple[Word, ...] = (*WORDS, *_columns(), *_inhibits())


def _short(name: str) -> str:
    """A column's title without its unit: "time" is TIME/S and TIME%."""
    return name.casefold().removesuffix("%").removesuffix("/s")


def _names(word: Word) -> Iterator[str]:
    yield from (word.name, *word.also)


def find(query: str, words: Sequence[Word] = ALL) -> list[Word]:
    """The words of a name, in any case and with its unit or without; [] if none. Reasons are not among them."""
    wanted = query.strip().casefold()
    exact = [word for word in words if any(wanted == name.casefold() for name in _names(word))]
    return exact or [word for word in words if any(_short(wanted) == _short(name) for name in _names(word))]


def similar(query: str, words: Sequence[Word] = ALL) -> list[str]:
    """Up to MOST names, of reasons and others, that contain or resemble one that is not known."""
    spelt: dict[str, str] = {}
    for name in (name for word in words for name in _names(word)):
        spelt.setdefault(_short(name), name)
    wanted = _short(query.strip()[:80])
    reasons = exit_reasons.similar(query)
    close = [spelt[name] for name in get_close_matches(wanted, spelt, n=MOST)]
    within = [spelt[name] for name in spelt if len(wanted) > 2 and f" {wanted}" in f" {name}"]
    # What is spelt alike comes before what merely contains it; reasons are asked for most.
    return list(dict.fromkeys([*reasons[:2], *close, *reasons, *within]))[:MOST]


def sentence(text: str) -> str:
    """A fragment, as columns have it in the help, as a sentence."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def text(word: Word, width: int = 80) -> str:
    """A word as plain text of at most `width` columns (40 at least), ending in a newline."""
    width = max(width, 40)
    head = f"{word.name}: {GROUPS[word.group]}" + (f" of {word.where}" if word.where else "")
    parts = [head, sentence(word.text)]
    if word.see:
        parts.append(f"See also: {', '.join(word.see)}")
    return "\n".join(_filled(part, width) for part in parts) + "\n"


def in_help() -> list[tuple[str, str]]:
    """Those for the dashboard's help: what is neither a column nor named by what it is beside."""
    return [(word.name, word.text) for word in ALL if word.group == "word"]


def _filled(text: str, width: int) -> str:
    return fill(text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def listed(width: int, words: Sequence[Word] = ALL) -> str:
    """All words by group, each with how its text begins; the reasons last."""
    lines = []
    for group, what in GROUPS.items():
        mine = sorted((word for word in words if word.group == group), key=lambda word: word.name.casefold())
        if mine:
            lines += [f"{sentence(what).rstrip('.')}:", *_begun(mine, width), ""]
    return "\n".join([*lines, "Exit reasons:", exit_reasons.listed()])


def _begun(words: Iterable[Word], width: int) -> Iterator[str]:
    seen = set[str]()
    for word in words:
        if word.name not in seen:
            room = width - 23
            brief = word.text if len(word.text) <= room else f"{word.text[: room - 1].rpartition(' ')[0]}…"
            yield f"  {word.name:<20} {brief}"
        seen.add(word.name)


def explain(query: str, width: int = 80, words: Sequence[Word] = ALL) -> str:
    """What kvmtop explain prints: all that a name or number stands for, or for "list" all names. Raises KvmtopError."""
    if query == "list":
        return listed(width, words)
    found = [exit_reasons.text(one, width) for one in exit_reasons.find(query)]
    found += [text(word, width) for word in find(query, words)]
    if not found:
        close = similar(query, words)
        instead = f": did you mean {', '.join(close)}?" if close else ""
        raise KvmtopError(f"no word {query[:60]!r} is known{instead} (kvmtop explain lists them all)", 2)
    return "\n".join(found)
