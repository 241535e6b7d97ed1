"""`kvmtop record --status [DIR]`: who records there, and what is in it."""

from __future__ import annotations

from pathlib import Path


def run(folder: Path) -> int:
    """Print it; the status. Raises KvmtopError."""
    from ..recording import status

    found = status.of(folder)
    print(folder)
    for word, text in found.lines:
        print(f"  {word:<11} {text}")
    return 0
