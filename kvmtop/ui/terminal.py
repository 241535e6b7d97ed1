"""The terminal, which may go at any moment: an ssh connection drops, a window is closed."""

from __future__ import annotations

import contextlib
import os
from typing import Any, TextIO


class Vanishing:
    """Standard error that goes on into nothing once its terminal has gone.

    Textual's writer thread ends with the first error; what is written after that fills its queue, and waits for ever.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """As TextIO's; never raises OSError."""
        with self._surviving():
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """As TextIO's; never raises OSError."""
        with self._surviving():
            self._file.flush()

    @contextlib.contextmanager
    def _surviving(self) -> Any:
        try:
            yield
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._file.fileno())
            os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
