"""The text that kvm_service_time.stp printed when it ended, byte for byte."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..model.exit_stats import by_reason
from ..model.interval import diff
from ..model.nesting import together
from ..model.snapshot import Snapshot
from ..model.vocabulary import SVM, UNKNOWN, VMX

_INTEL = "# Intel exit reasons are EXIT_REASON_* in linux/arch/x86/include/asm/vmx.h\n"
_AMD = "# AMD reasons are SVM_EXIT_* in linux/arch/x86/include/asm/svm.h\n"
_COLUMNS = "count sum(us) min(us) avg(us) max(us)\n"
_HEADERS = {
    VMX: f"{_INTEL}# reason: {_COLUMNS}",
    SVM: f"{_AMD}# reason(hex): {_COLUMNS}",
    UNKNOWN: f"{_INTEL}{_AMD}# reason reason(hex): {_COLUMNS}",
}


def text(snapshot: Snapshot, isa: int = UNKNOWN) -> str:
    """The whole run's table; `isa` where the kernel's exits do not tell (-G kvm=intel|amd). Times in µs.

    Exits that are still open are left out, as the script does.
    """
    flavour = snapshot.isa or isa
    if flavour not in _HEADERS:
        flavour = UNKNOWN
    lines = ["\n", _HEADERS[flavour]]
    for row in rows(snapshot):
        code = {VMX: f"{row.code}", SVM: f"0x{row.code:03x}"}.get(flavour, f"{row.code} 0x{row.code:03x}")
        low, high = ("-" if value is None else value for value in (row.min, row.max))
        lines.append(f"{code}: {row.count} {row.sum} {low} {row.avg} {high}\n")
    return "".join(lines)


@dataclass(frozen=True)
class Row:
    """One reason of the whole run; times in µs, rounded down. min, max: None where a stretch of it does not tell."""

    isa: int
    code: int
    name: str
    count: int
    sum: int
    min: int | None
    avg: int
    max: int | None


def rows(snapshot: Snapshot) -> Iterator[Row]:
    """What the table holds, by code; a nested guest's exits are exits as any, as the script had them."""
    for reason in sorted(by_reason(diff(None, together(snapshot))), key=lambda reason: reason.code):
        if reason.count:
            total = reason.total // 1000
            low, high = (None if value is None else value // 1000 for value in (reason.min, reason.max))
            yield Row(reason.isa, reason.code, reason.name, reason.count, total, low, total // reason.count, high)


def write(path: Path, content: str) -> None:
    """Write a file whole or not at all. Raises OSError.

    It takes the file's place under its name: what a symbolic link there points to stays as it is.
    """
    if (fd := special(path)) is not None:
        with open(fd, "w") as file:
            file.write(content)
        return
    handle, name = tempfile.mkstemp(prefix=".kvmtop.", dir=path.parent)
    try:
        with open(handle, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


def special(path: Path) -> int | None:
    """A descriptor to write to what is no file, and keeps its place: /dev/stdout, a shell's >(…), a pipe, a terminal.

    Not through a symbolic link, nor into a pipe, that somebody else may have put there. Raises OSError.
    """
    if (fd := descriptor(path)) is not None:  # it may be a file, but its name must stay
        return os.dup(fd)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
        return None
    if stat.S_ISFIFO(found.st_mode) and found.st_uid not in (0, os.geteuid()):
        raise PermissionError(errno.EPERM, "it is another user's pipe")
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(fd, True)  # only the opening shall not wait for a reader, without an end
    return fd


def descriptor(path: Path) -> int | None:
    """N where the path is /proc/self/fd/N or a symbolic link to it."""
    own = ("/proc/self/fd", f"/proc/{os.getpid()}/fd")
    name = path.name if os.path.realpath(path.parent) in own else ""
    with contextlib.suppress(OSError):
        link = Path(os.readlink(path))
        name = link.name if str(link.parent) in own else name
    return int(name) if re.fullmatch("[0-9]{1,9}", name) else None
