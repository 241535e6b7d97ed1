"""Text that grows with each interval: to a file or standard output, beside what is shown."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..errors import KvmtopError
from ..model.interval import Interval
from ..model.provenance import HERE, Origin
from ..model.session import Session
from ..model.snapshot import Snapshot
from ..model.source import Source, Wrapper
from . import summary

_PREFIX = ".kvmtop."


@dataclass
class Output:
    """One stream of text: what it starts with, what each interval adds, what ends it."""

    file: TextIO
    path: Path | None  # None: standard output
    start: str
    interval: Callable[[Session, Interval, Origin], str]
    end: Callable[[Snapshot, Origin], str]
    broken: bool = False

    def write(self, text: str) -> None:
        """Raises KvmtopError for a file, OSError for standard output; nothing is written after that."""
        if self.broken or not text:
            return
        try:
            self.file.write(text)
            self.file.flush()
        except OSError as error:
            self.broken = True
            if self.path is None:
                raise
            raise KvmtopError(f"cannot write {self.path}: {error.strerror}") from error


class Tee(Wrapper):
    """A Source whose every reading is written to outputs, too."""

    def __init__(self, source: Source, outputs: Sequence[Output]) -> None:
        super().__init__(source)
        self._outputs, self._session = outputs, Session()
        for output in outputs:
            output.write(output.start)

    def read(self) -> Snapshot:
        """The counters now. Raises KvmtopError, and OSError where standard output fails."""
        snapshot = self._source.read()
        interval = self._session.add(snapshot)
        for output in self._outputs:
            output.write(output.interval(self._session, interval, self.origin))
        return snapshot


def finish(outputs: Sequence[Output], final: Snapshot, origin: Origin = HERE) -> Iterator[KvmtopError]:
    """End all outputs, even if one fails; what went wrong now with a file, or with standard output."""
    for output in outputs:
        try:
            output.write(output.end(final, origin))
        except KvmtopError as error:
            yield error
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # the reader or the terminal has gone
                yield KvmtopError(f"cannot write to standard output: {error.strerror}")
        if output.path is not None:
            with contextlib.suppress(OSError):  # what was written is flushed, what failed has been told
                output.file.close()


@contextlib.contextmanager
def creating(*paths: Path) -> Iterator[list[TextIO]]:
    """Streams into new files that only their owner may read, none of them if anything fails. Raises OSError.

    When the block ends they take the place of what had their names, so a symbolic link planted there leads nowhere; a
    pipe or a terminal is written to as it is, if nobody else put it there (summary.special). Until then they have no
    name, where the file system can do that, so nothing is left of them whatever ends this process.
    """
    files: list[TextIO] = []
    with contextlib.ExitStack() as undo:
        new = list[tuple[int, str, Path]]()  # "": it has no name yet
        for path in paths:
            with _naming(path):
                if (fd := summary.special(path)) is None:
                    fd, name = _unnamed(path.parent) or tempfile.mkstemp(prefix=_PREFIX, dir=path.parent)  # 0600
                    new.append((fd, name, path))
                    undo.callback(_remove, name)
            files.append(undo.enter_context(open(fd, "w", encoding="utf-8")))
        yield files
        for fd, name, path in new:
            with _naming(path):
                if not name:
                    name = _named(fd, path.parent)
                    undo.callback(_remove, name)
                os.replace(name, path)
        undo.pop_all()


def _unnamed(folder: Path) -> tuple[int, str] | None:
    """A file there without a name; None where that is not to be had (NFS, some FUSE), or nothing at all."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600), ""
    except OSError:
        return None


def _named(fd: int, folder: Path) -> str:
    """A name for it. Raises OSError."""
    name = str(folder / f"{_PREFIX}{secrets.token_hex(8)}")
    files = os.open("/proc/self/fd", os.O_RDONLY | os.O_CLOEXEC)
    try:  # with a directory for the first name Python asks for linkat(2), which follows that name to the file
        os.link(str(fd), name, src_dir_fd=files, follow_symlinks=True)
    finally:
        os.close(files)
    return name


def _remove(name: str) -> None:
    with contextlib.suppress(FileNotFoundError):  # it has its place already
        os.unlink(name)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors are of this path, whatever the file is called for the time being."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
