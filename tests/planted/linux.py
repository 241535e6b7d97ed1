"""Linux guests in a real QEMU, whose user space does one thing: what program.c has, or a shell's words."""

from __future__ import annotations

import contextlib
import functools
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..hosts import qemu

VIRTIO = ("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci")
VIRTIO_DISK = (*VIRTIO, "virtio_blk")
VIRTIO_NET = (*VIRTIO, "failover", "net_failover", "virtio_net")
IDE_DISK = ("scsi_common", "scsi_mod", "libata", "ata_piix", "sd_mod")
UP = 240.0  # seconds


@functools.cache
def compiled(source: Path) -> bytes:
    """As a guest runs it. Raises CalledProcessError, FileNotFoundError without gcc."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "program"
        subprocess.run(["gcc", "-O1", "-static", "-pthread", "-o", made, source], check=True)
        return made.read_bytes()


@contextlib.contextmanager
def guest(
    name: str,
    work: str,
    *extra: str,
    cpus: int = 1,
    boot: str = "",
    modules: Sequence[str] = (),
    before: Sequence[str] = (),
    files: Mapping[str, bytes] = {},
) -> Iterator[subprocess.Popen[bytes]]:
    """One that has booted and is at work. before: taskset and the like, what runs its QEMU."""
    if "/program" in work:
        files = {**files, "program": compiled(Path(__file__).with_name("program.c"))}
    booting = qemu.guest(
        name, cpus, 192, "6.1", *extra, work=work, modules=modules, boot=boot, files=files, before=before
    )
    with booting as process:
        qemu.wait_until_up(process, UP)
        yield process


@contextlib.contextmanager
def disk(megabytes: int = 16) -> Iterator[Path]:
    """An empty one, in a file."""
    with tempfile.NamedTemporaryFile(prefix="kvmtop-disk-") as file:
        file.truncate(megabytes << 20)
        yield Path(file.name)
