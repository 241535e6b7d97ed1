"""The running kernel's types (BTF), as libbpf reads them: where a structure's members are.

Interface: bpf/btf.h of libbpf, which libbcc needs anyway; Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

POINTER, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, FUNCTION, PROTOTYPE = 2, 4, 5, 6, 8, 9, 10, 12, 13
MODULES = ("kvm", "kvm_amd", "kvm_intel")  # whose types are read beside the kernel's, where they are loaded
_KIND_FLAG = 1 << 31  # offsets of members in bits 23:0, sizes of bit fields above
_DEEPEST = 8  # anonymous structures in one another


class _Type(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("type", ctypes.c_uint32))


class _Member(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("type", ctypes.c_uint32), ("offset", ctypes.c_uint32))


def _library() -> Any:
    """libbpf. Raises OSError."""
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    pointer, number, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
    for name, result, arguments in (
        ("libbpf_set_print", pointer, (pointer,)),
        ("btf__load_vmlinux_btf", pointer, ()),
        ("btf__load_module_btf", pointer, (text, pointer)),
        ("btf__find_by_name_kind", number, (pointer, text, ctypes.c_uint32)),
        ("btf__type_by_id", ctypes.POINTER(_Type), (pointer, ctypes.c_uint32)),
        ("btf__name_by_offset", text, (pointer, ctypes.c_uint32)),
        ("btf__free", None, (pointer,)),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(None)
    return library


class _Argument(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("type", ctypes.c_uint32))


class _Enumerator(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint32), ("value", ctypes.c_int32))


class Btf:
    """The types of the kernel and of KVM's modules."""

    def __init__(self, library: Any, kernel: int, modules: Sequence[int]) -> None:
        self._library, self._kernel, self._all = library, kernel, (*modules, kernel)
        self._found: dict[tuple[str, int], tuple[int, int] | None] = {}  # a search reads all of the kernel's types

    def id(self, name: str, kind: int) -> int | None:
        """Of a type of the kernel itself."""
        found = int(self._library.btf__find_by_name_kind(self._kernel, name.encode(), kind))
        return found if found > 0 else None

    def offset(self, structure: str, path: str) -> int | None:
        """Of a member (a.b.c: within others) from the structure's beginning, in bytes; None where there is none."""
        if not (start := self._find(structure, STRUCT)):
            return None
        btf, type = start
        at = 0
        for name in path.split("."):
            found = self._member(btf, type, name.encode(), _DEEPEST)
            if not found:
                return None
            at, type = at + found[0], found[1]
        return at // 8

    def arguments(self, event: str) -> tuple[str, ...] | None:
        """The names of the types of a tracepoint's arguments, of pointers what they point to; None where it has none.

        By name alone an argument cannot be told: those of a function that is pointed to have none in BTF.
        """
        start = self._find(f"btf_trace_{event}", TYPEDEF)
        head = self._skip(*start, (TYPEDEF, POINTER)) if start else None
        if not start or not head or head.info >> 24 & 31 != PROTOTYPE:
            return None
        first = ctypes.addressof(head) + ctypes.sizeof(_Type)
        given = (_Argument * (head.info & 0xFFFF)).from_address(first)
        return tuple(self._name(start[0], one.type) for one in given[1:])  # the first is a program's own

    def enumerators(self, name: str) -> dict[str, int]:
        """The names of an enum's values, in the kernel's order; none where there is no such enum."""
        if not (start := self._find(name, ENUM)):
            return {}
        head = self._library.btf__type_by_id(*start).contents
        first = ctypes.addressof(head) + ctypes.sizeof(_Type)
        named: dict[str, int] = {}
        for one in (_Enumerator * (head.info & 0xFFFF)).from_address(first):
            text = self._library.btf__name_by_offset(start[0], one.name)
            named[text.decode(errors="replace") if text else ""] = one.value
        return named

    def _find(self, name: str, kind: int) -> tuple[int, int] | None:
        """Whose type it is, and its id there."""
        if (name, kind) not in self._found:
            ids = ((btf, int(self._library.btf__find_by_name_kind(btf, name.encode(), kind))) for btf in self._all)
            self._found[name, kind] = next(((btf, id) for btf, id in ids if id > 0), None)
        return self._found[name, kind]

    def _skip(self, btf: Any, type: int, kinds: Sequence[int]) -> _Type | None:
        """The type, or what it is made of where it is one of these kinds."""
        head = self._library.btf__type_by_id(btf, type)
        while head and head.contents.info >> 24 & 31 in kinds:
            head = self._library.btf__type_by_id(btf, head.contents.type)
        return head.contents if head else None

    def _name(self, btf: Any, type: int) -> str:
        head = self._skip(btf, type, (POINTER, VOLATILE, CONST))
        name = self._library.btf__name_by_offset(btf, head.name) if head else None
        return name.decode(errors="replace") if name else ""

    def _member(self, btf: Any, type: int, name: bytes, depth: int) -> tuple[int, int] | None:
        """Its offset in bits, and its type."""
        head = self._skip(btf, type, (TYPEDEF, VOLATILE, CONST))
        if not head or head.info >> 24 & 31 not in (STRUCT, UNION) or not depth:
            return None
        info, first = head.info, ctypes.addressof(head) + ctypes.sizeof(_Type)
        for member in (_Member * (info & 0xFFFF)).from_address(first):
            at = member.offset & 0xFFFFFF if info & _KIND_FLAG else member.offset
            if member.name and self._library.btf__name_by_offset(btf, member.name):
                if self._library.btf__name_by_offset(btf, member.name) == name:
                    return at, member.type
            elif found := self._member(btf, member.type, name, depth - 1):
                return at + found[0], found[1]
        return None


def offsets(types: Btf, wanted: Iterable[tuple[str, str, tuple[str, ...]]]) -> list[str] | None:
    """-D flags that tell where members are: flag, structure, member; of several members any. None if one is missing."""
    flags = []
    for flag, structure, paths in wanted:
        at = next((at for path in paths if (at := types.offset(structure, path)) is not None), None)
        if at is None:
            return None
        flags.append(f"-D{flag}={at}")
    return flags


@contextlib.contextmanager
def load() -> Iterator[Btf | None]:
    """The types, for as long as they are needed (20 MB); None where the kernel tells none, or libbpf is missing."""
    library = kernel = None
    modules: list[int] = []
    with contextlib.suppress(OSError, AttributeError):
        library = _library()
        if kernel := _pointer(library.btf__load_vmlinux_btf()):
            found = (_pointer(library.btf__load_module_btf(name.encode(), kernel)) for name in MODULES)
            modules = [module for module in found if module]
    try:
        yield Btf(library, kernel, modules) if kernel else None
    finally:
        for btf in (*modules, kernel):
            if btf and library:
                library.btf__free(btf)


def _pointer(found: int | None) -> int | None:
    """libbpf before 1.0 returns an error as a pointer: the highest 4,095."""
    return found if found and found < 2**64 - 4096 else None
