"""A real Linux guest under QEMU and KVM, for the tests that run on a host (emulated or not)."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import initramfs, kernels

# Boots, says so, and does its work for ever.
INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in /modules/*.ko; do [ -f "$module" ] && insmod "$module"; done
echo up
{work}
while :; do sleep 1000; done
"""
# It idles with some work: a tick's worth of everything a small server does.
IDLE = "while :; do sleep 0.2; echo tick; cat /proc/interrupts /proc/stat >/dev/null; done"


@contextlib.contextmanager
def guest(
    name: str,
    cpus: int = 1,
    memory: int = 192,
    kernel: str = "6.1",
    *extra: str,
    work: str = IDLE,
    modules: Sequence[str] = (),
    boot: str = "",
    files: Mapping[str, bytes] = {},
    before: Sequence[str] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A running QEMU whose VM has that name; killed at the end.

    memory in MiB; extra: for QEMU; work: a shell script, what the guest does; modules: what it needs for that;
    boot: for its kernel's command line; files: more of them in its root; before: what runs QEMU.
    """
    image = kernels.get(kernel)
    with tempfile.TemporaryDirectory(prefix="kvmtop-guest-") as folder:
        initrd = Path(folder) / "initrd"
        initramfs.build(initrd, INIT.replace("{work}", work), image, modules, files)
        log = Path(folder) / "console"
        process = subprocess.Popen(
            [
                *before,
                "qemu-system-x86_64",
                "-accel",
                "kvm",
                "-cpu",
                "host",
                "-name",
                f"guest={name},debug-threads=on",
                "-smp",
                str(cpus),
                "-m",
                str(memory),
                "-nodefaults",
                "-kernel",
                image.image,
                "-initrd",
                initrd,
                "-append",
                f"console=ttyS0 quiet panic=-1 {boot}",
                "-serial",
                f"file:{log}",
                "-display",
                "none",
                "-monitor",
                f"unix:{folder}/monitor,server=on,wait=off",
                "-no-reboot",
                *extra,
            ],
            stdin=subprocess.DEVNULL,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def console(process: subprocess.Popen[bytes]) -> str:
    """What the guest has said so far."""
    path = Path(next(a for a in map(str, process.args) if a.startswith("file:")).removeprefix("file:"))  # type: ignore[arg-type]
    return path.read_text(errors="replace") if path.exists() else ""


def wait_until_up(process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Wait for the guest's user space. Raises TimeoutError, or RuntimeError if QEMU ended."""
    wait_for(process, "up", seconds)


def wait_for(process: subprocess.Popen[bytes], word: str, seconds: float) -> None:
    """Wait for a word on the guest's console. Raises TimeoutError, or RuntimeError if QEMU ended."""
    end = time.monotonic() + seconds
    while word not in (said := console(process)).split():
        if process.poll() is not None:
            raise RuntimeError(f"QEMU ended with status {process.returncode}")
        if time.monotonic() > end:
            raise TimeoutError(f"the guest did not say {word!r}, but: {said[-1000:]}")
        time.sleep(0.1)


def monitor(process: subprocess.Popen[bytes], command: str) -> str:
    """Give QEMU's monitor a command ("stop", "cont"), and what it answers. Raises TimeoutError if it does not."""
    import socket

    path = next(a for a in map(str, process.args) if a.startswith("unix:")).removeprefix("unix:").partition(",")[0]  # type: ignore[arg-type]
    prompt = b"(qemu) "
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(path)
        said = b""
        for number, word in enumerate((b"", command.encode() + b"\n"), 1):
            client.sendall(word)
            while said.count(prompt) < number:
                said += client.recv(65536)
    return said.split(prompt)[1].partition(b"\n")[2].decode().replace("\r", "")
