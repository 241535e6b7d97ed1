"""The kernel's own description of a tracepoint: where its fields are and how it names their values.

Fields of kvm_exit moved in 5.10 and 6.14 and distributions backport, so the format file is asked and
never the kernel's version. Format: Documentation/trace/events.rst, "Event formats".
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import bounded
from ..errors import KvmtopError
from ..model.vocabulary import SVM, VMX, Names
from . import syscalls

_FIELD = re.compile(r"field:(.*?)(\w+)(?:\[\d*\])?;\s*offset:(\d{1,9});\s*size:(\d{1,9});(?:\s*signed:(\d);)?")
_CALL = re.compile(r"__print_(symbolic|flags)\(\s*(?:\([^()]*\))?\s*REC->(\w+)")
_PAIR = re.compile(r'\{([^{},"]+),\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\}')
_TERM = re.compile(r"(-?(?:0[xX][0-9a-fA-F]{1,16}|\d{1,20}))(?:\s*<<\s*(\d{1,2}))?")


@dataclass(frozen=True)
class Field:
    """A field's place in the record, in bytes."""

    offset: int
    size: int
    signed: bool


@dataclass(frozen=True)
class Table:
    """One __print_symbolic or __print_flags of the print fmt: names of a field's values or bits."""

    field: str
    flags: bool
    names: Mapping[int, str]


@dataclass(frozen=True)
class Tracepoint:
    """A parsed format file."""

    name: str
    fields: Mapping[str, Field]
    tables: tuple[Table, ...]
    print_fmt: str

    @classmethod
    def parse(cls, text: str) -> Tracepoint:
        """Parse a format file. Entries that make no sense are left out. Raises KvmtopError without any field."""
        head, _, fmt = text.partition("print fmt:")
        fields = {m[2]: Field(int(m[3]), int(m[4]), m[5] == "1") for m in _FIELD.finditer(head)}
        name = re.search(r"^name: (\w+)", head, re.M)
        if not name or not fields:
            raise KvmtopError("a tracepoint's format file is empty or damaged; is tracefs mounted and readable?")
        tables = tuple(
            Table(call[2], call[1] == "flags", _pairs(fmt[call.end() :].partition("__print_")[0]))
            for call in _CALL.finditer(fmt)
        )
        return cls(name[1], fields, tables, fmt)


def _pairs(text: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for match in _PAIR.finditer(text):
        value = _value(match[1])
        if value is not None and value >> 32 in (0, -1, 0xFFFFFFFF):  # fits 32 bits; -1ull does as -1
            names.setdefault(value & 0xFFFFFFFF, _string(match[2]))
    return names


def _string(literals: str) -> str:
    """What C string literals say together, without what a terminal might obey."""
    text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals))
    return "".join(c for c in re.sub(r'\\(["\\])', r"\1", text) if c.isprintable())


def _value(expression: str) -> int | None:
    """A C constant as print fmts have them: 12, 0x040 + 1, -1, (1UL << 31), BIT(26); None for anything else."""
    text = re.sub(r"\bBIT(?:_ULL)?\s*\(\s*(\d+)\s*\)", r"1 << \1", expression)
    text = re.sub(r"\b(0[xX][0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", re.sub(r"[()]", " ", text)).strip()
    parts = re.split(r"\s*([+|])\s*", text)
    value = 0
    for operator, part in zip(["+", *parts[1::2]], parts[::2], strict=True):
        term = _TERM.fullmatch(part)
        if not term:
            return None
        number = int(term[1], 16 if "x" in term[1].lower() else 10) << int(term[2] or 0)
        value = value + number if operator == "+" else value | number
    return value


def names(kvm_exit: Tracepoint) -> Names:
    """The exit reasons' names, from kvm_exit's print fmt.

    It reads `(REC->isa == 1) ? __print_symbolic(VMX…) : __print_symbolic(SVM…)`, and for VMX ends with
    __print_flags (arch/x86/kvm/trace.h, TRACE_EVENT_KVM_EXIT).
    """
    symbolic = [t for t in kvm_exit.tables if t.field == "exit_reason" and not t.flags]
    flags = next((t.names for t in kvm_exit.tables if t.field == "exit_reason" and t.flags), {})
    tested = re.search(r"REC->isa == (\d)\b", kvm_exit.print_fmt)
    first = int(tested[1]) if tested else VMX
    order = (first, SVM if first == VMX else VMX)
    return Names({isa: table.names for isa, table in zip(order, symbolic, strict=False)}, flags)


def missing(name: str) -> str:
    """Why there is no tracepoint kvm:NAME, and what to do."""
    if why := syscalls.locked_down():
        return why
    if Path("/sys/module/kvm").exists():
        return (
            f"KVM is loaded, but this kernel shows no tracepoint kvm:{name}: it may be locked down (confidentiality,"
            " see /sys/kernel/security/lockdown), or was built without tracing"
        )
    return f"this kernel has no tracepoint kvm:{name}: load KVM (modprobe kvm_intel or kvm_amd)"


class Tracefs:
    """The mounted tracefs."""

    def __init__(self) -> None:
        """Find tracefs, or mount it where the kernel has its place for it. Raises KvmtopError."""
        for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing"):
            if os.path.isdir(f"{place}/events"):
                self.root = Path(place)
                return
        self.root = Path("/sys/kernel/tracing")
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"tracefs", bytes(self.root), b"tracefs", 0, None) or not (self.root / "events").is_dir():
            reason = os.strerror(ctypes.get_errno()) if ctypes.get_errno() else "this kernel has no tracing"
            raise KvmtopError(
                syscalls.locked_down()
                or f"tracefs is not mounted, or not for this user, and could not be mounted ({reason}):"
                f" run kvmtop as root or with CAP_DAC_READ_SEARCH, or mount -t tracefs nodev {self.root}"
            )

    def format(self, category: str, name: str) -> Tracepoint | None:
        """The parsed format of a tracepoint; None where this kernel has none such. Raises KvmtopError."""
        path = self.root / "events" / category / name / "format"
        try:
            return Tracepoint.parse(bounded.text(path))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KvmtopError(
                syscalls.locked_down()
                or f"cannot read {path} ({error.strerror}): run kvmtop as root (sudo kvmtop)"
                " or with CAP_DAC_READ_SEARCH"
            ) from None

    def number(self, category: str, name: str) -> int:
        """The tracepoint's number, by which perf_event_open(2) knows it. Raises OSError."""
        return int(bounded.head(self.root / "events" / category / name / "id"))
