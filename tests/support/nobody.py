"""kvmtop as a user who may read nothing of the tests' own: not the checkout, which may be in root's home."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
import rich

import kvmtop
from kvmtop.bpf import privileges
from kvmtop.host import processes

USER = 65534

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not privileges.may_load_bpf() or processes.namespace() is not None,
    reason="only root gets as far as this",
)


def copy(folder: Path) -> None:
    """What a run without the dashboard imports, for everybody to read."""
    libraries = Path(numpy.__file__).parents[1].glob("numpy.libs")  # a wheel's, which numpy finds beside it
    for source in (*(Path(module.__file__ or "").parent for module in (kvmtop, numpy, rich)), *libraries):
        shutil.copytree(source, folder / source.name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


def as_nobody(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run the Python that is everybody's with the copy; as the user of the tests, where that is not root."""
    user = USER if os.geteuid() == 0 else None
    return subprocess.run(
        [os.path.realpath(sys.executable), *argv], capture_output=True, text=True, timeout=60, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)}, user=user, group=user, extra_groups=[] if user else None,
    )  # fmt: skip
