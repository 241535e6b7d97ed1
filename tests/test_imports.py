"""No import is hidden from lint-imports; pyproject.toml holds who may import what."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .support.sources import FILES, ROOT


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_is_hidden(path: Path) -> None:
    assert not re.search(r"__import__|\bimportlib\b", path.read_text())
