"""What an exit reason means, its usual causes and what to try: look up, search, and write as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from textwrap import fill

from .meanings import MEANINGS, Meaning

VMX, SVM = 1, 2  # as in snapshot.py, which needs numpy; a help text must come at once
VENDORS = {VMX: "Intel", SVM: "AMD"}
_PREFIX = re.compile(r"^(?:EXIT_REASON|SVM_EXIT|VMEXIT)[ _]", re.IGNORECASE)
_NUMBER = re.compile(r"0x[0-9a-f]{1,8}|\d{1,10}", re.IGNORECASE)


def codes(meaning: Meaning) -> Iterator[tuple[int, int, str]]:
    """The (isa, code, kernel's name) that a meaning stands for."""
    for isa, names in ((VMX, meaning.vmx), (SVM, meaning.svm)):
        yield from ((isa, code, name) for code, name in names.items())


_BY_CODE = {(isa, code): meaning for meaning in MEANINGS for isa, code, _ in codes(meaning)}


def meaning(isa: int, code: int) -> Meaning | None:
    """What a code of kvm_exit means. VMX's flags, bits 31:16, are passed over; None if unknown."""
    return _BY_CODE.get((isa, code & 0xFFFF if isa == VMX else code & 0xFFFFFFFF))


def names() -> list[tuple[int, int, str]]:
    """All reasons known, as (isa, code, the kernel's name), in their vendors' order."""
    return sorted(entry for meaning in MEANINGS for entry in codes(meaning))


def _plain(name: str) -> str:
    """A name as it is compared: "SVM_EXIT_WRITE_CR0" and "write_cr0", "PF excp" and "pf", are the same."""
    words = re.sub(r"[^a-z0-9]+", "_", _PREFIX.sub("", name.strip()).lower()).strip("_")
    return words.removesuffix("_excp").removeprefix("excp_")


def find(text: str) -> list[Meaning]:
    """The meanings of a name in any spelling, or of a number (48, 0x400), which may be both vendors'; [] if none."""
    if _NUMBER.fullmatch(text.strip()):
        code = int(text, 16 if "x" in text.lower() else 10)
        found: Iterable[Meaning | None] = (meaning(VMX, code), meaning(SVM, code))
    else:
        found = (_BY_CODE[isa, code] for isa, code, name in names() if _plain(name) == _plain(text))
    return list({id(one): one for one in found if one}.values())


def similar(text: str) -> list[str]:
    """Up to four of the kernel's names that resemble a name that find() does not know."""
    spelt: dict[str, str] = {}
    for _, _, name in names():
        spelt.setdefault(_plain(name), name)
    close = get_close_matches(_plain(text[:80]), spelt, n=4, cutoff=0.6)
    within = [plain for plain in spelt if len(_plain(text)) > 2 and _plain(text) in plain and plain not in close]
    return [spelt[plain] for plain in [*close, *within][:4]]


def related(meaning: Meaning) -> list[str]:
    """The names of the related reasons, each with its vendor: "HLT (Intel), hlt (AMD)"."""
    shown = []
    for name in meaning.see:
        (other,) = find(name)
        isa = next(isa for isa, _, its in codes(other) if its == name)
        twin = next(((i, its) for i, _, its in codes(other) if i != isa), None)
        shown.append(f"{name} ({VENDORS[isa]}" + (f"; {VENDORS[twin[0]]}: {twin[1]})" if twin else ")"))
    return shown


def number(isa: int, code: int) -> str:
    """A code as its vendor writes it: Intel decimal, AMD hexadecimal."""
    return f"0x{code:03x}" if isa == SVM else str(code)


def text(meaning: Meaning, width: int = 80) -> str:
    """A meaning as plain text of at most `width` columns (40 at least), ending in a newline."""
    width = max(width, 40)

    def paragraph(head: str, body: str) -> str:
        return fill(f"{head}: {body}", width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)

    parts = [fill(meaning.title, width)]
    for isa, vendor in VENDORS.items():
        known = [f"{name} ({number(isa, code)})" for i, code, name in codes(meaning) if i == isa]
        parts.append(paragraph(vendor, ", ".join(known) or "no reason of its own"))
    parts += [paragraph("What it is", meaning.what), paragraph("Usual causes", meaning.causes)]
    parts += [
        paragraph(f"On {name}" if name in VENDORS.values() else name, note) for name, note in meaning.notes.items()
    ]
    parts += [paragraph("What to try", meaning.advice), paragraph("Read on", meaning.source)]
    if meaning.see:
        parts.append(paragraph("See also", ", ".join(related(meaning))))
    return "\n\n".join(["\n".join(parts[:3]), *parts[3:]]) + "\n"
