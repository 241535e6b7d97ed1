"""The guest kernel's symbols, from a copy of its /proc/kallsyms or its System.map: untrusted text."""

from __future__ import annotations

import bisect
import io
import re
from collections.abc import Iterable
from pathlib import Path

from .. import bounded
from ..errors import KvmtopError
from ..sanitize import clean

MOST = 64 << 20  # bytes of a file; a kernel with all its modules has 200,000 symbols in 12 MB
MOST_SYMBOLS = 1 << 20  # which fit into 200 MB of memory
FURTHEST = 1 << 20  # bytes behind the last symbol that still count as a part of it
KERNEL_HALF = 1 << 63  # canonical addresses above belong to the kernel, on every 64-bit guest system in use
_LINE = re.compile(r"([0-9a-fA-F]{1,16}) [tTwWiV] (\S{1,500})(?:\s+\[(\S{1,100})\])?\s*")


class Symbols:
    """Functions by address."""

    def __init__(self, symbols: Iterable[tuple[int, str]] = ()) -> None:
        """(address, name), in any order."""
        self._symbols = sorted(symbols)
        self._addresses = [address for address, _ in self._symbols]

    @classmethod
    def read(cls, path: Path) -> Symbols:
        """A file in the form of /proc/kallsyms. Lines that make no sense are left out. Raises KvmtopError."""
        symbols: list[tuple[int, str]] = []
        text = bounded.whole(path, MOST, "it is no /proc/kallsyms and no System.map")
        for line in io.BytesIO(text):
            match = _LINE.fullmatch(line[:700].decode(errors="replace"))
            if match and int(match[1], 16):
                module = f" [{clean(match[3])}]" if match[3] else ""
                symbols.append((int(match[1], 16), clean(match[2]) + module))
                if len(symbols) > MOST_SYMBOLS:
                    raise KvmtopError(f"{path} has more than {MOST_SYMBOLS} symbols: no kernel has so many", 2)
        if not symbols:
            raise KvmtopError(
                f"{path} has no symbols with addresses: copy the guest's /proc/kallsyms as its root"
                " (others see zeros), or take its System.map",
                2,
            )
        return cls(symbols)

    def name(self, address: int) -> str:
        """ "function+0x12 [module]" for an address; empty where none is near."""
        start, symbol = self._symbol(address)
        name, _, module = symbol.partition(" ")
        offset = f"+0x{address - start:x}" if symbol and address > start else ""
        return f"{name}{offset}{f' {module}' if module else ''}"

    def function(self, address: int) -> str:
        """The same without how far into it."""
        return self._symbol(address)[1]

    def _symbol(self, address: int) -> tuple[int, str]:
        at = bisect.bisect_right(self._addresses, address) - 1
        return self._symbols[at] if at >= 0 and address - self._addresses[at] <= FURTHEST else (0, "")


def half(address: int) -> str:
    """Whose code an address is, by the half of the address space: "kernel" or "user"."""
    return "kernel" if address >= KERNEL_HALF else "user"
