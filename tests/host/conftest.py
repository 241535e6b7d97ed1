from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop.host import processes

from ..support.proc import Proc


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Proc:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    return Proc(tmp_path)
