"""What bounded.head finds in a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop import bounded


class Files:
    """Paths and their texts; all others are missing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: dict[str, str] = {}
        monkeypatch.setattr(bounded, "head", lambda path, most=0: self.read(path).encode())

    def read(self, path: str | Path) -> str:
        if (path := str(path)) not in self.found:
            raise FileNotFoundError(path)
        return self.found[path]
