"""What Path.read_text finds in a test."""

from __future__ import annotations

from pathlib import Path

import pytest


class Files:
    """Paths and their texts; all others are missing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: dict[str, str] = {}
        monkeypatch.setattr(Path, "read_text", lambda path: self.read(str(path)))

    def read(self, path: str) -> str:
        if path not in self.found:
            raise FileNotFoundError(path)
        return self.found[path]
