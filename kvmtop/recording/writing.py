"""Who writes into a store: one at a time, by a lock on a file that says who that is, and what it keeps."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import units
from ..errors import KvmtopError
from ..sanitize import clean
from .format import words
from .segments import when

FILE = "kvmtop.lock"
MOST = 4096  # bytes of it
MOST_STAGES = 4  # of thinning
PATIENCE = 2.0  # seconds: --status holds the lock for a moment


@dataclass(frozen=True)
class Limits:
    """What a store keeps. Ages in s, sizes in bytes."""

    keep: float | None = None  # as long as there is room
    size: int = 10 * 10**9
    segment: int = 64 * 10**6  # then a new one begins,
    hours: float = 1.0  # and after so many; both so that not much goes with the oldest
    thin: tuple[tuple[float, float], ...] = ((86400.0, 10.0), (7 * 86400.0, 60.0))  # age: samples are so far apart

    @property
    def of_segment(self) -> int:
        """Bytes after which a new one begins."""
        return min(self.segment, self.size // 10)

    @property
    def of_thinned(self) -> int:
        """Bytes that are kept free for a segment that is being thinned, whose old file is there still."""
        return self.of_segment // 2 if self.thin else 0

    def __str__(self) -> str:
        kept = f"for {units.age(self.keep)}, " if self.keep is not None else ""
        return f"{kept}{units.number(self.size)}B at most"


@dataclass(frozen=True)
class Writer:
    """Who writes, or wrote last."""

    pid: int
    since: float  # s since 1970
    keep: float | None
    size: int
    thin: tuple[tuple[float, float], ...] = ()
    alive: bool = False  # whether it still does
    note: str = ""  # what of its work it could not do


class Lock:
    """Held as long as this writes into a folder."""

    def __init__(self, folder: Path, limits: Limits, mode: int) -> None:
        """Raises KvmtopError where another one does, or it cannot be written."""
        self.path = folder / FILE
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise KvmtopError(f"cannot record to {folder}: {words(error)}") from None
        try:
            found = os.fstat(self._fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise KvmtopError(f"cannot record to {folder}: {self.path} is somebody else's", 2)
            end = time.monotonic() + PATIENCE
            while not _locked(self._fd, fcntl.LOCK_EX):
                if time.monotonic() > end:
                    one = read(folder)
                    by = f"by process {one.pid}, since {when(one.since)}" if one else "by another process"
                    raise KvmtopError(f"{folder} is being recorded to {by}: end that first, or name another one", 2)
                time.sleep(0.05)
            about = asdict(Writer(os.getpid(), time.time(), limits.keep, limits.size, limits.thin))
            os.fchmod(self._fd, mode)
            os.ftruncate(self._fd, 0)
            self._end = os.pwrite(self._fd, json.dumps(about).encode() + b"\n", 0)
        except OSError as error:
            os.close(self._fd)
            raise KvmtopError(f"cannot record to {folder}: {words(error)}") from None
        except KvmtopError:
            os.close(self._fd)
            raise

    def note(self, text: str) -> None:
        """Say this, too, after who writes; nothing if it is empty."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._end)
            os.pwrite(self._fd, text.encode(errors="replace")[: MOST - self._end], self._end)

    def close(self) -> None:
        """Another one may."""
        with contextlib.suppress(OSError):
            os.close(self._fd)


def read(folder: Path) -> Writer | None:
    """Who writes into it, or wrote last; None where nobody did, or it is not to be known."""
    try:
        fd = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        line, _, note = os.pread(fd, MOST, 0).partition(b"\n")
        about = json.loads(line)
        alive = not _locked(fd, fcntl.LOCK_SH)
        pid, since, keep, size = (_number(about.get(name)) for name in ("pid", "since", "keep", "size"))
        thin = [[_number(one) or 0.0 for one in pair] for pair in about.get("thin", ())[:MOST_STAGES]]
        stages = tuple((after, step) for after, step in thin)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError):
        return None
    finally:
        os.close(fd)
    if pid is None or since is None or size is None:
        return None
    return Writer(int(pid), since, keep, int(size), stages, alive, clean(note.decode(errors="replace"), MOST))


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and 0 <= value < 1e18 else None


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
