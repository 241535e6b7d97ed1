"""Files that are read up to a bound: how much is in them is for others to say, even in /proc."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import KvmtopError

# bytes; a command line may have 6 MB (bprm_stack_limits() in fs/exec.c), and a VMM can make its own as long as its
# memory (PR_SET_MM_MAP). The longest ones of QEMU have some 100 kB, what else the kernel says of a process 10 kB.
MOST = 1 << 20


def head(path: str | Path, most: int = MOST) -> bytes:
    """The first bytes of a file. Raises OSError."""
    with open(path, "rb") as file:
        return file.read(most)


def short(path: str | Path, most: int = 1 << 14) -> bytes:
    """The same by one read, which takes a third of the time: of /proc/TID, asked of thousands. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, most)
    finally:
        os.close(file)


def text(path: str | Path) -> str:
    """The same as text, whatever they are. Raises OSError."""
    return head(path).decode(errors="replace")


def whole(path: Path, most: int, why: str) -> bytes:
    """A file that somebody named; why: what more than so many bytes tell. Raises KvmtopError."""
    try:
        found = head(path, most + 1)
    except OSError as error:
        raise KvmtopError(f"cannot read {path}: {error.strerror}", 2) from None
    if len(found) > most:
        raise KvmtopError(f"{path} has more than {most >> 20} MB: {why}", 2)
    return found
