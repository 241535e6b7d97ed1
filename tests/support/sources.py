"""kvmtop's own sources."""

from __future__ import annotations

from pathlib import Path

import kvmtop

ROOT = Path(kvmtop.__file__).parent

FILES = sorted(ROOT.rglob("*.py"))
