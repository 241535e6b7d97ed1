"""The running kernel's functions and variables, by address and by name: /proc/kallsyms."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np

from .. import bounded
from . import privileges

PATH, RESTRICT = Path("/proc/kallsyms"), Path("/proc/sys/kernel/kptr_restrict")
_LINE = re.compile(r"([0-9a-f]{1,16}) ([a-zA-Z]) (\S+)(?:\t(\[\S+\]))?")


def _lines(path: Path) -> Iterable[tuple[int, str, str]]:
    """Address, type and name of each; none where the kernel does not say (kernel.kptr_restrict)."""
    return ((at, kind, name) for at, kind, name, _ in _symbols(path))


def _symbols(path: Path) -> Iterable[tuple[int, str, str, str]]:
    """The same with the module: "[kvm]", or "" for the kernel itself."""
    with contextlib.suppress(OSError), open(path, encoding="ascii", errors="replace") as lines:
        for line in lines:
            if found := _LINE.match(line[:200]):
                yield int(found[1], 16), found[2], found[3], found[4] or ""


def addresses(names: Iterable[str], path: Path = PATH) -> dict[str, int]:
    """Where these are; a name that is not told, or has no address, is missing."""
    wanted = set(names)
    return {name: at for at, _, name in _lines(path) if name in wanted and at}


def bounds(name: str, path: Path = PATH) -> tuple[int, int] | None:
    """Where a function begins, and where what follows it does; None where that is not told."""
    found = [(at, one) for at, kind, one in _lines(path) if kind in "tTwW"]
    start = next((at for at, one in found if one == name), 0)
    following = min((at for at, _ in found if at > start), default=0)
    return (start, following) if start and following else None


def why_unnamed(restrict: Path = RESTRICT) -> str:
    """Why the kernel does not tell where its functions are, and what to do, in a sentence (kallsyms_show_value)."""
    try:
        level = bounded.head(restrict).strip()
    except OSError:
        level = b""
    if level == b"2":
        return "the kernel's functions have no names, since kernel.kptr_restrict is 2: sysctl kernel.kptr_restrict=1"
    if not privileges.capable(privileges.SYSLOG):
        return "the kernel's functions have no names, since kvmtop has no CAP_SYSLOG: run it as root"
    return (
        "the kernel's functions have no names, since /proc/kallsyms does not tell them: a kernel with CONFIG_KALLSYMS"
    )


class Functions:
    """All functions, to name addresses: 200,000 of them, 20 MB. unnamed: why there are none, in a sentence, or ""."""

    def __init__(self, path: Path = PATH) -> None:
        """Reads them, which takes a third of a second."""
        found = sorted((at, name, module) for at, kind, name, module in _symbols(path) if kind in "tTwW" and at)
        self._at = np.array([at for at, _, _ in found], "u8")
        self._names = [name for _, name, _ in found]
        self._modules = {at: module for at, _, module in found if module}
        self.unnamed = "" if found else why_unnamed()

    def name(self, address: int) -> str:
        """The function that an address lies in; "" where nobody knows."""
        place = self._place(address)
        return self._names[place] if place >= 0 else ""

    def full(self, address: int) -> str:
        """The same with its module: "kvm_vcpu_block [kvm]"."""
        place = self._place(address)
        return f"{self._names[place]} {self._modules.get(int(self._at[place]), '')}".rstrip() if place >= 0 else ""

    def _place(self, address: int) -> int:
        return int(np.searchsorted(self._at, np.uint64(address), side="right")) - 1


@cache
def functions() -> Functions:
    """Those of the running kernel, read once."""
    return Functions()
