"""A directory of recordings that follow each other: what its files are called, and which of them are kvmtop's.

Each segment is a recording by itself, called by the instant of its first sample in UTC. Whatever else is in the
directory is left alone: what has another name, is no file, or has another owner than who writes here.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from .format import APPLICATION

NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d{6}Z)(?:-([1-9]\d{0,3}))?\.kvmtop", re.ASCII)
_WHEN = "%Y-%m-%dT%H%M%SZ"
_MAGIC, _AT = b"SQLite format 3\0", 68  # where SQLite has the application's id


@dataclass(frozen=True, order=True)
class Segment:
    """A recording of a store; in order of time, as the clock went."""

    start: int  # s since 1970, when its first sample was taken
    number: int  # of those that began in one second
    path: Path = field(compare=False)


def path(folder: Path, wall_ns: int) -> Path:
    """Where the segment goes that begins at this instant: nothing is there. Raises FileExistsError."""
    when = datetime.fromtimestamp(wall_ns // 10**9, UTC).strftime(_WHEN)
    for number in range(10_000):
        found = folder / f"{when}{f'-{number}' * bool(number)}.kvmtop"
        if not any(os.path.lexists(f"{found}{suffix}") for suffix in ("", "-journal", "-wal")):
            return found
    raise FileExistsError(17, "there are 10,000 of this second", str(folder))


def named(folder: Path) -> list[Segment]:
    """What has the name of a segment, the oldest first. Raises OSError."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if match := NAME.fullmatch(entry.name):
                with contextlib.suppress(ValueError):  # the 31st of February
                    start = datetime.strptime(match[1], _WHEN).replace(tzinfo=UTC)
                    found.append(Segment(int(start.timestamp()), int(match[2] or 0), Path(entry.path)))
    return sorted(found)


def segments(folder: Path) -> list[Segment]:
    """The recordings among them. Raises OSError."""
    return [segment for segment in named(folder) if is_recording(segment.path)]


def is_recording(path: Path) -> bool:
    """Whether it is a file of kvmtop's, by what is in it: no link, no FIFO, nothing of another program's."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        header = os.pread(fd, _AT + 4, 0) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    except OSError:
        return False
    finally:
        os.close(fd)
    return header.startswith(_MAGIC) and header[_AT:] == APPLICATION.to_bytes(4, "big")


def is_mine(path: Path) -> bool:
    """Whether it is a file, and of who asks."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def beside(path: Path) -> tuple[Path, Path]:
    """What SQLite has beside a file: its journal, and a log, whose place is only held."""
    return Path(f"{path}-journal"), Path(f"{path}-wal")


def taken(path: Path) -> int:
    """Bytes that it takes of the disk, by whichever account is higher; 0 where it is not there."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0
    return max(found.st_size, found.st_blocks * 512)


def whole(place: Path) -> int:
    """Bytes that a segment takes of the disk, with what is beside it."""
    return sum(map(taken, (place, *beside(place))))


def when(seconds: float) -> str:
    """An instant, in s since 1970, as this machine's clock shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds))
