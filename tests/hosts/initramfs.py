"""An initramfs: busybox, kernel modules and an init script, as one cpio archive."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from .kernels import HostUnavailable, Kernel


def build(path: Path, init: str, kernel: Kernel, modules: Iterable[str], files: Mapping[str, bytes] = {}) -> None:
    """Write an initramfs whose /init is the given script, with /modules/NN-name.ko in load order.

    A module that the kernel has built in is left out. Raises HostUnavailable without a static busybox.
    """
    busybox = Path(shutil.which("busybox") or "/bin/busybox")
    if not busybox.exists():
        raise HostUnavailable("the emulated hosts need Debian's package busybox-static")
    content = {"bin/busybox": busybox.read_bytes(), "init": init.encode(), **files}
    for number, name in enumerate(modules):
        image = kernel.module(name)
        if image:
            content[f"modules/{number:02}-{name}.ko"] = unsigned(image)
    folders = {"dev", "proc", "sys", "host", "overlay", *(str(p) for n in content for p in list(Path(n).parents)[:-1])}
    with path.open("wb") as out:
        for name in sorted(folders):
            out.write(_entry(name, 0o040755, b""))
        for name, data in content.items():
            out.write(_entry(name, 0o100755, data))
        out.write(_entry("TRAILER!!!", 0, b""))


def unsigned(module: bytes) -> bytes:
    """The module without its signature, whose check takes an emulated processor a second."""
    magic = b"~Module signature appended~\n"
    if not module.endswith(magic):
        return module
    # struct module_signature ends in the big-endian length of the signature before it
    end = len(module) - len(magic)
    return module[: end - 12 - int.from_bytes(module[end - 4 : end], "big")]


def _entry(name: str, mode: int, data: bytes) -> bytes:
    # The "newc" layout, see the kernel's Documentation/driver-api/early-userspace/buffer-format.rst
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % n for n in numbers) + encoded
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
