"""Debian kernels for the emulated hosts: downloaded with apt, unpacked into a cache, never installed."""

from __future__ import annotations

import fcntl
import lzma
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Debian's meta package for each kernel line; its one dependency names the current build.
META = {"6.1": "linux-image-cloud-amd64", "6.12": "linux-image-6.12-cloud-amd64"}


class HostUnavailable(RuntimeError):
    """This machine lacks something that an emulated host needs; the message says what."""


@dataclass(frozen=True)
class Kernel:
    version: str  # "6.1.0-56-cloud-amd64"
    image: Path
    modules: Path  # .../lib/modules/VERSION

    def module(self, name: str) -> bytes | None:
        """The module's ELF image, or None where it is built in."""
        for path in self.modules.rglob(f"{name}.ko*"):
            data = path.read_bytes()
            return lzma.decompress(data) if path.suffix == ".xz" else data
        return None


def cache() -> Path:
    path = Path(os.environ.get("KVMTOP_HOST_CACHE", Path.home() / ".cache" / "kvmtop-hosts"))
    path.mkdir(parents=True, exist_ok=True)
    return path


def get(line: str) -> Kernel:
    """The kernel of a line ("6.1" or "6.12"), downloaded on first use.

    Raises HostUnavailable where apt cannot provide it.
    """
    root = cache() / f"linux-{line}"
    with open(cache() / "lock", "w") as lock:  # several hosts may start at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "boot").exists():
            _download(META[line], root)
    image = next((root / "boot").glob("vmlinuz-*"))
    version = image.name.removeprefix("vmlinuz-")
    modules = next(p for p in (root / "lib/modules" / version, root / "usr/lib/modules" / version) if p.exists())
    return Kernel(version, image, modules)


def _download(meta: str, root: Path) -> None:
    if not shutil.which("apt-get"):
        raise HostUnavailable("the emulated hosts need apt-get to fetch Debian's kernels")
    depends = subprocess.run(["apt-cache", "depends", meta], capture_output=True, text=True)
    package = re.search(r"Depends: (linux-image-\S+)", depends.stdout)
    if not package:
        raise HostUnavailable(f"apt knows no package {meta} (run 'apt-get update' on Debian 12)")
    work = root.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    fetched = subprocess.run(["apt-get", "download", package[1]], cwd=work, capture_output=True, text=True)
    if fetched.returncode:
        raise HostUnavailable(f"apt-get download {package[1]} failed: {fetched.stderr.strip()}")
    subprocess.run(["dpkg", "-x", next(work.glob("*.deb")), work], check=True)
    for deb in work.glob("*.deb"):
        deb.unlink()
    work.rename(root)
