"""What an exit reason means, its usual causes and what to try: look up, search, and write as text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from textwrap import fill

from ..model.vocabulary import SVM, VMX, vendor
from .exit_reason_texts import MEANINGS, Meaning

VENDORS = {VMX: "Intel", SVM: "AMD"}
_PREFIX = re.compile(r"^(?:EXIT_REASON_|SVM_EXIT_|VMEXIT_|SVM_(?=VMGEXIT))", re.IGNORECASE)
# The header's SVM_EXIT_* where the kernel's own table calls it something else.
_HEADER = {
    "ioio": "io",
    "intr": "interrupt",
    "vmmcall": "hypercall",
    "err": "invalid_guest_state",
    "idle_hlt": "idle_halt",
    "tr_read": "read_rt",
    "tr_write": "write_rt",
    "vmgexit_psc": "vmgexit_page_state_change",
    "vmgexit_hv_features": "vmgexit_hypervisor_feature",
}
_NUMBER = re.compile(r"0x[0-9a-f]{1,8}|[0-9]{1,10}", re.IGNORECASE)


def codes(meaning: Meaning) -> Iterator[tuple[int, int, str]]:
    """The (isa, code, kernel's name) that a meaning stands for."""
    for isa, names in ((VMX, meaning.vmx), (SVM, meaning.svm)):
        yield from ((isa, code, name) for code, name in names.items())


_BY_CODE = {(isa, code): meaning for meaning in MEANINGS for isa, code, _ in codes(meaning)}


def meaning(isa: int, code: int) -> Meaning | None:
    """What a code of kvm_exit means. VMX's flags, bits 31:16, are passed over; None if unknown."""
    isa = vendor(isa)
    return _BY_CODE.get((isa, code & 0xFFFF if isa == VMX else code & 0xFFFFFFFF))


def names() -> list[tuple[int, int, str]]:
    """All reasons known, as (isa, code, the kernel's name), in their vendors' order."""
    return sorted(entry for meaning in MEANINGS for entry in codes(meaning))


def _plain(name: str) -> str:
    """A name as it is compared: "SVM_EXIT_WRITE_CR0" and "write_cr0", "PF excp" and "pf", are the same."""
    # kvm_exit joins VMX's flags with |; behind it may be whose exit it was: level() in model/vocabulary.py.
    bare = _PREFIX.sub("", name.partition("|")[0].partition(" (")[0].strip())
    plain = re.sub(r"[^a-z0-9]+", "_", bare.lower()).strip("_").removesuffix("_excp")
    # SVM_EXIT_READ_CR0 is read_cr0, but SVM_EXIT_IDTR_READ is read_idtr.
    plain = re.sub(r"^([a-z]+[0-9]?)_(write)(_trap)$|^([gil]dtr)_(read|write)$", r"\2\5_\1\4\3", plain)
    return _HEADER.get(plain, plain)


def find(text: str) -> list[Meaning]:
    """The meanings of a name in any spelling, or of a number (48, 0x400), which may be both vendors'; [] if none."""
    if _NUMBER.fullmatch(text.strip()):
        code = int(text, 16 if "x" in text.lower() else 10)
        svm = meaning(SVM, code)
        # 0x80000021 is VMX's 33 with a flag, but 0x80000001 is SVM's own.
        found = [meaning(VMX, code) if code >> 16 == 0 or not svm else None, svm] if code >> 32 == 0 else []
    else:
        found = [_BY_CODE[isa, code] for isa, code, name in names() if _plain(name) == _plain(text)]
    return list({one.title: one for one in found if one}.values())


def similar(text: str) -> list[str]:
    """Up to four of the kernel's names that contain or resemble a name that find() does not know."""
    spelt: dict[str, str] = {}
    for _, _, name in names():
        spelt.setdefault(_plain(name), name)
    plain = _plain(text[:80])
    within = [one for one in spelt if len(plain) > 1 and f"_{plain}" in f"_{one}"]
    return [spelt[one] for one in dict.fromkeys([*within, *get_close_matches(plain, spelt, n=4)])][:4]


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
    return f"0x{code:03x}" if vendor(isa) == SVM else str(code)


def text(meaning: Meaning, width: int = 80) -> str:
    """A meaning as plain text of at most `width` columns (40 at least), ending in a newline."""
    width = max(width, 40)

    def paragraph(head: str, body: str) -> str:
        return fill(f"{head}: {body}", width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)

    parts = [fill(meaning.title, width)]
    for isa, name in VENDORS.items():
        known = [f"{one} ({number(isa, code)})" for i, code, one in codes(meaning) if i == isa]
        parts.append(paragraph(name, ", ".join(known) or "no reason of its own"))
    parts += [paragraph("What it is", meaning.what), paragraph("Usual causes", meaning.causes)]
    parts += [
        paragraph(f"On {name}" if name in VENDORS.values() else name, note) for name, note in meaning.notes.items()
    ]
    parts += [paragraph("What to try", meaning.advice), paragraph("Read on", meaning.source)]
    if meaning.see:
        parts.append(paragraph("See also", ", ".join(related(meaning))))
    return "\n\n".join(["\n".join(parts[:3]), *parts[3:]]) + "\n"


def listed() -> str:
    """All of them, one a line."""
    longest = max(len(name) for _, _, name in names())
    return "".join(
        f"{VENDORS[isa]:5} {number(isa, code):>10}  {name:{longest}}  {_BY_CODE[isa, code].title}\n"
        for isa, code, name in names()
    )
