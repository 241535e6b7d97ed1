"""An emulated AMD host: QEMU's TCG emulates SVM, so Debian's own kvm_amd runs real guests in it.

    python -m tests.hosts.amd --kernel 6.12 -- COMMAND ARG...

boots it on this machine's own file system (an overlay: what the job writes is lost, except in the
directory that $HOST_OUT names there), runs COMMAND as root in the current directory, prints its
output and returns its exit status.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import emulator, host, initramfs, kernels
from .host import status
from .kernels import HostUnavailable

VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
MODULES = [
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
    "overlay",
    "irqbypass",
    "kvm",
    "kvm-amd",
]

INIT = f"""{host.SETUP}
mount -t virtiofs hostroot /host || echo 'no host file system'
{host.ROOT}
out=@OUT@
mkdir -p $root$out; mount --bind /host$out $root$out
{host.JOB}
echo $? >/host$out/status; sync
echo o >$root/proc/sysrq-trigger; poweroff -f
"""


@contextlib.contextmanager
def command(
    argv: Sequence[str],
    *,
    kernel: str = "6.1",
    cpus: int = 2,
    memory: int = 3072,
    icount: bool = False,
    tty: bool = False,
) -> Iterator[tuple[list[str], Path]]:
    """The QEMU command that boots the host and runs argv in it, and the directory of its results.

    The job's terminal is QEMU's stdin and stdout. memory is in MiB. icount makes the host's clock
    count instructions, one a nanosecond, on one CPU. Raises HostUnavailable.
    """
    fsd = next((p for p in VIRTIOFSD if os.path.exists(p)), None)
    if not fsd:
        raise HostUnavailable("the emulated AMD host needs Debian's package qemu-system-common")
    if os.geteuid() != 0:
        raise HostUnavailable("the emulated AMD host needs root (virtiofsd shares the root file system)")
    image, qemu = kernels.get(kernel), emulator.get()
    with tempfile.TemporaryDirectory(prefix="kvmtop-host-", dir="/var/tmp") as folder:
        out = Path(folder)
        (out / "job").write_text(host.job(argv, out, tty))
        initramfs.build(out / "initrd", INIT.replace("@OUT@", str(out)), image, MODULES)
        socket = out / "fs.sock"
        with (out / "virtiofsd.log").open("wb") as log:
            share = subprocess.Popen(
                [fsd, f"--socket-path={socket}", "-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            deadline = time.monotonic() + 10
            while not socket.exists():
                if share.poll() is not None or time.monotonic() > deadline:
                    raise HostUnavailable(f"virtiofsd did not start: {(out / 'virtiofsd.log').read_text().strip()}")
                time.sleep(0.02)
            clock = ["-icount", "shift=0,sleep=on"] if icount else []
            yield (
                [
                    *qemu,
                    "-accel",
                    "tcg,thread=" + ("single" if icount else "multi"),
                    *clock,
                    "-cpu",
                    "max",
                    "-smp",
                    "1" if icount else str(cpus),
                    "-m",
                    str(memory),
                    "-no-reboot",
                    "-nodefaults",
                    "-kernel",
                    str(image.image),
                    "-initrd",
                    str(out / "initrd"),
                    "-append",
                    "console=ttyS0 panic=-1 nokaslr quiet nohz_full=1",
                    "-object",
                    f"memory-backend-memfd,id=mem,size={memory}M,share=on",
                    "-numa",
                    "node,memdev=mem",
                    "-chardev",
                    f"socket,id=fs,path={socket}",
                    "-device",
                    "vhost-user-fs-pci,chardev=fs,tag=hostroot",
                    "-serial",
                    f"file:{out / 'console.log'}",
                    "-serial",
                    "stdio",
                    "-display",
                    "none",
                    "-monitor",
                    "none",
                ],
                out,
            )
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(share.pid, signal.SIGKILL)
            share.wait()


SILENCE = 700  # seconds without a word of the job; what hangs is ended sooner by its own timeout


def run(
    argv: Sequence[str],
    *,
    timeout: float = 600,
    collect: Path | None = None,
    **options: object,
) -> subprocess.CompletedProcess[str]:
    """Run argv in a fresh host; files that it left in $HOST_OUT/keep are copied to the folder `collect`.

    Raises HostUnavailable, and subprocess.TimeoutExpired after `timeout` seconds.
    """
    with command(argv, **options) as (qemu, out):  # type: ignore[arg-type]
        # A group of its own: what a test's Ctrl-C or timeout ends must not leave a QEMU behind.
        process = subprocess.Popen(qemu, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True)
        output: list[bytes] = []
        heard = start = time.monotonic()

        def listen() -> None:
            nonlocal heard
            while chunk := os.read(process.stdout.fileno(), 65536):  # type: ignore[union-attr]
                output.append(chunk)
                heard = time.monotonic()

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            while process.poll() is None:
                listener.join(1)
                if time.monotonic() - start > timeout:
                    raise subprocess.TimeoutExpired(list(argv), timeout, b"".join(output))
                if time.monotonic() - heard > SILENCE:
                    print(f"the emulated host said nothing for {SILENCE} s and is stopped", file=sys.stderr)
                    break
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            if process.wait():
                print(f"the emulated host's QEMU ended with status {process.returncode}", file=sys.stderr)
            listener.join()
        stdout = b"".join(output)
        if collect and (out / "keep").exists():
            shutil.copytree(out / "keep", collect, dirs_exist_ok=True)
        return subprocess.CompletedProcess(list(argv), status(out), stdout.decode(errors="replace"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hosts.amd", description="Run a command in an emulated AMD host."
    )
    parser.add_argument("--kernel", choices=kernels.META, default="6.1")
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--memory", type=int, default=3072, help="MiB")
    parser.add_argument("--icount", action="store_true", help="the clock counts instructions, one a nanosecond")
    parser.add_argument("--tty", action="store_true", help="give the job this terminal")
    parser.add_argument("argv", nargs="+", metavar="COMMAND")
    options = vars(parser.parse_args())
    argv = options.pop("argv")
    try:
        with command(argv, **options) as (qemu, out):
            if options["tty"]:
                subprocess.run(["stty", "raw", "-echo"])
                try:
                    subprocess.run(qemu)
                finally:
                    subprocess.run(["stty", "sane"])
            else:
                subprocess.run(qemu, stdin=subprocess.DEVNULL)
            return status(out)
    except HostUnavailable as error:
        print(error, file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
