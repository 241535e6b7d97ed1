"""The running kernel's types (BTF), as libbpf reads them: where a structure's members are.

Interface: bpf/btf.h of libbpf, which libbcc needs anyway; Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator
from typing import Any

STRUCT, UNION, TYPEDEF, VOLATILE, CONST, FUNCTION = 4, 5, 8, 9, 10, 12
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


class Btf:
    """The types of the kernel and of the module kvm."""

    def __init__(self, library: Any, kernel: int, kvm: int | None) -> None:
        self._library, self._kernel, self._kvm = library, kernel, kvm

    def id(self, name: str, kind: int) -> int | None:
        """Of a type of the kernel itself."""
        found = int(self._library.btf__find_by_name_kind(self._kernel, name.encode(), kind))
        return found if found > 0 else None

    def offset(self, structure: str, path: str) -> int | None:
        """Of a member (a.b.c: within others) from the structure's beginning, in bytes; None where there is none."""
        for btf in (self._kvm, self._kernel):
            start = self._library.btf__find_by_name_kind(btf, structure.encode(), STRUCT) if btf else 0
            if start > 0:
                at, type = 0, int(start)
                for name in path.split("."):
                    found = self._member(btf, type, name.encode(), _DEEPEST)
                    if not found:
                        return None
                    at, type = at + found[0], found[1]
                return at // 8
        return None

    def _member(self, btf: Any, type: int, name: bytes, depth: int) -> tuple[int, int] | None:
        """Its offset in bits, and its type."""
        head = self._library.btf__type_by_id(btf, type)
        kind = head.contents.info >> 24 & 31 if head else 0
        while kind in (TYPEDEF, VOLATILE, CONST):
            head = self._library.btf__type_by_id(btf, head.contents.type)
            kind = head.contents.info >> 24 & 31 if head else 0
        if kind not in (STRUCT, UNION) or not depth:
            return None
        info, first = head.contents.info, ctypes.addressof(head.contents) + ctypes.sizeof(_Type)
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
    library = kernel = kvm = None
    with contextlib.suppress(OSError, AttributeError):
        library = _library()
        kernel = library.btf__load_vmlinux_btf()
        kvm = library.btf__load_module_btf(b"kvm", kernel) if kernel else None
    # libbpf before 1.0 returns an error as a pointer: the highest 4,095.
    kernel, kvm = (at if at and at < 2**64 - 4096 else None for at in (kernel, kvm))
    try:
        yield Btf(library, kernel, kvm) if kernel else None
    finally:
        for btf in (kvm, kernel):
            if btf and library:
                library.btf__free(btf)
