"""FILE-journal, which is beside a recording while it is written and after its writer was killed, and a copy of both.

SQLite takes FILE-journal and FILE-wal for parts of a database, whoever put them there: a FIFO keeps it waiting for
ever, and another user's files change what it reads. So it is never shown a place where others may put files.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ..errors import KvmtopError, tell

LONGEST_LOCK = 5.0  # seconds
MOST_LIVE = 1 << 30  # bytes: a writer that waits for the lock gives up after 5 s


@contextlib.contextmanager
def journal_of(file: BinaryIO, path: Path) -> Iterator[BinaryIO | None]:
    """The journal of a recording, opened, if there is one. Only the recording's owner may say what belongs into it:
    whatever else has the journal's name is not even opened, and told of.
    """
    with contextlib.ExitStack() as opened:
        try:
            place = os.open(f"{path}-journal", os.O_PATH | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        opened.callback(os.close, place)
        found = os.fstat(place)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.fstat(file.fileno()).st_uid:
            tell(f"{path}-journal is not a file of the owner of {path}: it is left out")
            yield None
            return
        yield opened.enter_context(open(f"/proc/self/fd/{place}", "rb"))


def copy(file: BinaryIO, journal: BinaryIO, path: Path, target: Path) -> None:
    """Copy a recording and its journal as they are between two samples, or in the middle of a writer's last one.

    No more is copied than is written in them, and at most half of what is free there; 1 GiB where nothing is half
    written, since somebody may be waiting to write. Raises KvmtopError, and OSError.
    """
    _lock(file, path)
    room = shutil.disk_usage(target.parent).free // 2
    advice = "name a directory with more room in TMPDIR"
    if not os.fstat(journal.fileno()).st_size and room > MOST_LIVE:
        room, advice = MOST_LIVE, f"end what writes it; if nothing does, remove {path}-journal"
    if _copy(journal, Path(f"{target}-journal"), _copy(file, target, room)) < 0:
        limit = f"{room >> 20} MB at most in {target.parent.parent}"
        raise KvmtopError(f"{path} was not closed, and its copy may have {limit}: {advice}", 2)


def _lock(file: BinaryIO, path: Path) -> None:
    """Hold the bytes that SQLite locks: until the file is closed, nobody writes to it."""
    end = time.monotonic() + LONGEST_LOCK
    while True:
        try:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, 512, 1 << 30)
            return
        except BlockingIOError:
            if time.monotonic() > end:
                raise KvmtopError(f"another program keeps {path} locked: end it, and try again", 2) from None
        time.sleep(0.01)


def _copy(source: BinaryIO, target: Path, room: int) -> int:
    """Copy a file, but for its holes; how much room is left. Where there is none, less than 0."""
    fd, end = source.fileno(), 0
    size = os.fstat(fd).st_size
    with open(target, "wb") as out:
        out.truncate(size)
        while end < size:
            try:
                begin = os.lseek(fd, end, os.SEEK_DATA)
            except OSError:  # a hole to its end
                break
            end = os.lseek(fd, begin, os.SEEK_HOLE)
            room -= end - begin
            if room < 0:
                break
            out.seek(begin)
            while begin < end and (sent := os.sendfile(out.fileno(), fd, begin, end - begin)):
                begin += sent
    return room
