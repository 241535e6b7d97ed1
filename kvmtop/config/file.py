"""The file of whoever runs kvmtop. It decides how the dashboard looks, and nothing else."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import KvmtopError
from .owner import Owner
from .preferences import BY_NAME, Preferences, Value, read

MOST = 1 << 14  # bytes


@dataclass
class Config:
    """path: where it is kept, None: nowhere; there: it is; complaints: a sentence for each line that is wrong."""

    path: Path | None = None
    preferences: Preferences = field(default_factory=lambda: Preferences({}))
    complaints: list[str] = field(default_factory=list)
    owner: Owner = field(default_factory=Owner)
    there: bool = False

    @classmethod
    def load(cls, path: Path | None = None) -> Config:
        """That of this user, or another one. Raises KvmtopError where the other one cannot be read."""
        owner = Owner.of_this_run()
        folder = owner.configuration
        found = cls(path or (folder and folder / "kvmtop" / "config.toml"), owner=owner)
        if found.path is None:
            return found
        found.there = True  # also what cannot be read
        try:
            text = found._text()
            found.preferences, wrong = read(_parsed(text), text)
            found.complaints = [f"{found.path}: {sentence}" for sentence in wrong]
        except FileNotFoundError as error:
            found.there = False
            if path:
                raise KvmtopError(f"cannot read {path}: {error.strerror}", 2) from None
        except (OSError, KvmtopError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            sentence = f"cannot read {found.path}: {why}"
            if path and isinstance(error, OSError):
                raise KvmtopError(sentence, 2) from None
            found.complaints = [f"{sentence}; kvmtop's defaults are taken"]
        return found

    def _text(self) -> str:
        """Raises OSError, and KvmtopError where it is no text."""
        path = str(self.path)

        def text() -> bytes:
            # Who opens a pipe waits for a writer; a device may do anything.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
            with open(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EINVAL, "it is no file")
                return file.read(MOST + 1)

        found = self.owner.does(text)
        if len(found) > MOST:
            raise KvmtopError(f"it has more than {MOST >> 10} kB")
        try:
            return found.decode().replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            raise KvmtopError(f"it is not UTF-8 (byte {error.start})") from None

    def keep(self, changes: Mapping[str, Value]) -> None:
        """Write these settings into the file as it is now; all else in it stays. Raises KvmtopError."""
        if self.path is None:
            raise KvmtopError("there is no file to keep it in")
        import tomlkit

        try:
            try:
                text = self._text()
            except FileNotFoundError:
                text = "# How kvmtop's dashboard looks; `kvmtop config` shows all that can be set here.\n"
            _parsed(text)
            document = tomlkit.parse(text)
            for name, value in changes.items():
                place, setting = document, BY_NAME[name]
                if setting.table:
                    place = document.setdefault(setting.table, tomlkit.table())
                place[setting.key] = list(value) if isinstance(value, tuple) else _whole(value)
            text = tomlkit.dumps(document)
            kept = read(_parsed(text), text)[0].values
            if any(kept.get(name) != value for name, value in changes.items()):
                raise KvmtopError("what is in the way of these settings has to be changed by hand")
            self.owner.does(lambda: _write(str(self.path), text.encode()))
        except (OSError, KvmtopError, tomlkit.exceptions.TOMLKitError, TypeError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise KvmtopError(f"cannot change {self.path}: {why}") from None


def _parsed(text: str) -> dict[str, object]:
    """Raises KvmtopError."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of a number too long, of brackets in brackets
        raise KvmtopError("it is nested too deeply" if isinstance(error, RecursionError) else str(error)) from None


def _whole(value: Value) -> Value:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _write(path: str, content: bytes) -> None:
    """A file whole or not at all, behind the symbolic link that it may be. Raises OSError."""
    path = os.path.realpath(path)
    folder = os.path.dirname(path)
    os.makedirs(folder, 0o700, exist_ok=True)
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        mode = 0o644
    handle, name = tempfile.mkstemp(prefix=".kvmtop.", dir=folder)
    try:
        with open(handle, "wb") as file:
            file.write(content)
            os.fchmod(handle, mode)
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
