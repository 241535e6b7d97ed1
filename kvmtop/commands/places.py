"""Where outputs go: no two of them may lead to one file, nor one to a file that is read."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import KvmtopError
from ..output import summary


@dataclass(frozen=True)
class _Place:
    words: str
    keys: frozenset[Hashable]
    open: bool = False  # a descriptor, which is written on where it stands


def check(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """Outputs by option, inputs by what they are. Raises KvmtopError.

    What is no file (a pipe, a terminal, /dev/null) may be shared.
    """
    written = [
        _Place(f"{option} {path}", frozenset(_keys(path)), summary.descriptor(path) is not None)
        for option, path in outputs.items()
    ]
    for number, words in ((1, "standard output"), (2, "standard error")):
        with contextlib.suppress(OSError):  # it is closed
            written.append(_Place(words, frozenset(_file(os.fstat(number))), True))
    for one, other in itertools.combinations(written, 2):
        if one.keys & other.keys and not (one.open and other.open):
            raise KvmtopError(f"{one.words} and {other.words} are one file: give each a file of its own", 2)
    for words, path in inputs.items():
        keys = frozenset(_keys(path))
        for place in written:
            if place.keys & keys:
                raise KvmtopError(f"cannot write {place.words}: it is {words}", 2)


def parts(recording: Path) -> dict[str, Path]:
    """Files that are read where this is, by what they are. Raises KvmtopError."""
    from ..recording.segment import paths

    parts = paths(recording) if recording.is_dir() else []
    return {f"{one.name}, a part of what is to be read": one for one in parts} or {
        "the recording that is to be read": recording
    }


def _keys(path: Path) -> Iterator[Hashable]:
    """What it leads to, if that is a file or could become one; and the name, which a new file takes the place of."""
    try:
        yield from _file(os.stat(path))
    except FileNotFoundError:  # a link may name what is not there yet
        yield from _name(Path(os.path.realpath(path)))
    except OSError:  # whoever opens it tells
        return
    if summary.descriptor(path) is None and (not os.path.lexists(path) or path.is_symlink() or path.is_file()):
        yield from _name(path)


def _file(found: os.stat_result) -> Iterator[Hashable]:
    if stat.S_ISREG(found.st_mode):
        yield found.st_dev, found.st_ino


def _name(path: Path) -> Iterator[Hashable]:
    with contextlib.suppress(OSError):
        parent = os.stat(path.parent)
        yield parent.st_dev, parent.st_ino, path.name
