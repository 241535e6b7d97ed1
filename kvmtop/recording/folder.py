"""The directory that segments go to: who may write there, and what a writer that was killed has left in it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

from ..errors import KvmtopError
from .format import words
from .segments import beside, is_mine, is_recording, named, taken, whole
from .thinner import Old
from .thinning import FILE as THINNING
from .writing import Limits, Lock

OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Folder:
    """Where segments go, held for this process, with what others have left completed. Raises KvmtopError."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.path, self.limits = folder, limits
        try:
            if not os.path.lexists(folder):
                os.mkdir(folder, 0o700)
            found = os.stat(folder)
        except OSError as error:
            raise KvmtopError(f"cannot record to {folder}: {words(error)}") from None
        if not stat.S_ISDIR(found.st_mode):
            raise KvmtopError(f"cannot record to {folder}: it is no directory", 2)
        if found.st_mode & OTHERS or found.st_uid not in (0, os.geteuid()):
            raise KvmtopError(
                f"cannot record to {folder}: others may write there; chmod go-w, or make one of your own", 2
            )
        # A directory whose group owns what is made in it says by that who may read it.
        self.mode = 0o640 if found.st_mode & stat.S_ISGID and found.st_mode & stat.S_IRGRP else 0o600
        self._lock = Lock(folder, limits, self.mode)

    @property
    def rest(self) -> int:
        """Bytes that it takes beside segments, with what may be needed to thin one."""
        return taken(self.path) + taken(self._lock.path) + max(taken(self.path / THINNING), self.limits.of_thinned)

    def note(self, text: str) -> None:
        """Let --status say this."""
        self._lock.note(text)

    def close(self) -> None:
        """Another process may have it."""
        self._lock.close()

    def mend(self) -> list[Old]:
        """The segments that are here, oldest first, each whole; what nothing was written to yet is gone."""
        left = []
        if is_mine(half := self.path / THINNING):  # who thinned it was killed: the segment is what it was
            half.unlink(missing_ok=True)
        for segment in named(self.path):
            place = segment.path
            if not is_mine(place) or not (is_recording(place) or not taken(place)):
                continue
            with contextlib.suppress(OSError):
                written = os.stat(place).st_mtime
                if (taken(place) and not any(map(os.path.lexists, beside(place)))) or _completed(place):
                    left.append(Old(place, whole(place), written))
        return left


def _completed(place: Path) -> bool:
    """Play back what its writer had half written. Whether it is a whole recording then."""
    journal, log = beside(place)
    try:
        if not all(is_mine(one) for one in (journal, log) if os.path.lexists(one)) or taken(log):
            return False  # not what a writer of ours left
        log.unlink(missing_ok=True)  # SQLite would read it
        samples = 0
        if os.path.getsize(place):
            uri = f"{place.absolute().as_uri()}?mode=rw"
            with contextlib.closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
                if database.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'samples'").fetchone()[0]:
                    samples = database.execute("SELECT count(*) FROM samples").fetchone()[0]
        journal.unlink(missing_ok=True)  # one that is there still has nothing that was written to the file
        if not samples:
            place.unlink()
    except (OSError, sqlite3.Error):
        return False
    return bool(samples)
