"""An emulated Intel host: Bochs emulates VMX, so Debian's own kvm_intel runs real guests in it.

    python -m tests.hosts.intel --kernel 6.12 -- COMMAND ARG...

boots it on a copy of what a job needs (this project, its virtual environment, Python, bcc, perf and
a shell; what the job writes is lost, except in $HOST_OUT/keep), runs COMMAND as root in the current
directory, prints its output and returns its exit status.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from . import host, initramfs, kernels, userland
from .kernels import HostUnavailable

PACKAGES = {  # what must be there, by the Debian package that has it
    "bochs": "/usr/bin/bochs-bin",
    "bochs-term": "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so",
    "bochsbios": "/usr/share/bochs/BIOS-bochs-latest",
    "vgabios": "/usr/share/bochs/VGABIOS-lgpl-latest",
    "grub-pc-bin": "/usr/lib/grub/i386-pc/linux.mod",
    "grub-common": "/usr/bin/grub-mkrescue",
    "xorriso": "/usr/bin/xorriso",
    "mtools": "/usr/bin/mformat",
    "squashfs-tools": "/usr/bin/mksquashfs",
}
MODULES = [
    "scsi_common",
    "scsi_mod",
    "libata",
    "ata_piix",
    "sd_mod",
    "squashfs",
    "overlay",
    "irqbypass",
    "kvm",
    "kvm-intel",
]
CYLINDER = 16 * 63 * 512  # Bochs wants disks of whole cylinders
RESULT = 512 * CYLINDER  # 264 MB, sparse: room for the tar of $HOST_OUT
MARK = "kvmtop-host:"  # what /init tells us on the first serial line

INIT = f"""{host.SETUP}
disk() {{ until ls /sys/bus/scsi/devices/$1/block 2>&-; do usleep 10000; done; }}
mkdir /base /project
mount -t squashfs -o ro /dev/$(disk 0:0:1:0) /project; mount -t squashfs -o ro /dev/$(disk 1:0:0:0) /base
result=/dev/$(disk 1:0:1:0)
{host.ROOT.replace("=/host", "=/project:/base")}
read out </project/host-out
echo {MARK} job >$root/dev/ttyS0
{host.JOB}
echo $? >$root$out/status
mkdir -p $root$out/keep; tar cf $root$result -C $root$out status keep; sync
echo {MARK} end >$root/dev/ttyS0
echo o >$root/proc/sysrq-trigger; poweroff -f
"""
# The processor executes one instruction a tick, so many a second of the host's clock, whatever its CPUID says
# of its frequency. Without tsc_early_khz the kernel believes CPUID, and its seconds last for minutes.
IPS = 100_000_000
COMMAND_LINE = (
    "console=ttyS0,115200 quiet panic=0 mitigations=off tsc=reliable"
    f" tsc_early_khz={IPS // 1000} lpj={IPS // 250}"
    # Half of the time to boot: the self-tests of ciphers and the check of a certificate.
    " cryptomgr.notests initcall_blacklist=load_system_certificate_list"
)
GRUB = f"""set timeout=0
linux /vmlinuz {COMMAND_LINE} @SMP@
initrd /initrd
boot
"""
BOCHSRC = f"""
cpu: model=corei7_skylake_x, count=@CPUS@, ips={IPS}, reset_on_triple_fault=0, ignore_bad_msrs=1
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
vga: extension=none, update_freq=1
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata0-master: type=cdrom, path=boot.iso, status=inserted
ata0-slave: type=disk, mode=flat, path=project.sqfs, cylinders=0
ata1-master: type=disk, mode=flat, path=base.sqfs, cylinders=0
ata1-slave: type=disk, mode=flat, path=result.tar, cylinders=0
boot: cdrom
plugin_ctrl: serial=1
com1: enabled=1, mode=file, dev=console.log
com2: enabled=1, mode=file, dev=output.log
clock: sync=none
panic: action=fatal
log: bochs.log
error: action=ignore
display_library: term
"""


def _pad(path: Path) -> None:
    os.truncate(path, -(-path.stat().st_size // CYLINDER) * CYLINDER)


def _cached(folder: Path, name: str, stamp: str, make: Callable[[Path], None]) -> None:
    """Link the cached file `name` into the folder, made anew where it was made with another stamp."""
    kept, stamped = kernels.cache() / name, kernels.cache() / f"{name}.stamp"
    with open(kernels.cache() / "lock", "w") as lock:  # several hosts may start at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists() or not stamped.exists() or stamped.read_text() != stamp:
            part = kept.with_suffix(".part")
            make(part)
            _pad(part)
            part.replace(kept)
            stamped.write_text(stamp)
        os.link(kept, folder / name)  # a host that runs keeps its file, whatever replaces it in the cache


def _iso(path: Path, image: kernels.Kernel, grub_cfg: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        grub = Path(folder) / "boot" / "grub"
        grub.mkdir(parents=True)
        (grub / "grub.cfg").write_text(grub_cfg)
        shutil.copy(image.image, Path(folder) / "vmlinuz")
        initramfs.build(Path(folder) / "initrd", INIT, image, MODULES)
        subprocess.run(
            ["grub-mkrescue", "-d", "/usr/lib/grub/i386-pc", "-o", path, folder], check=True, capture_output=True
        )


@contextlib.contextmanager
def command(
    argv: Sequence[str], *, kernel: str = "6.1", cpus: int = 1, memory: int = 1024
) -> Iterator[tuple[list[str], Path]]:
    """The Bochs command that boots the host and runs argv in it, and the directory it must run in.

    memory is in MiB. cpus take turns on one of this machine's. Raises HostUnavailable.
    """
    missing = [package for package, path in PACKAGES.items() if not os.path.exists(path)]
    if missing:
        raise HostUnavailable(f"the emulated Intel host needs Debian's packages {' '.join(missing)}")
    image = kernels.get(kernel)
    # In the cache, since its files are linked.
    with tempfile.TemporaryDirectory(prefix="run-", dir=kernels.cache()) as folder:
        out = Path(folder)
        _cached(out, "base.sqfs", userland.stamp(), userland.build)
        grub = GRUB.replace("@SMP@", "nosmp" if cpus == 1 else "")
        recipe = "\0".join([image.version, grub, INIT, *MODULES, Path(initramfs.__file__).read_text()])
        iso = f"boot-{kernel}{'' if cpus == 1 else '-smp'}.iso"
        _cached(out, iso, hashlib.sha256(recipe.encode()).hexdigest(), lambda path: _iso(path, image, grub))
        (out / iso).rename(out / "boot.iso")
        files = {"host-out": f"{out}\n", f"{out}/job": host.job(argv, out)}
        userland.build_project(out / "project.sqfs", out, files)
        _pad(out / "project.sqfs")
        (out / "result.tar").touch()
        os.truncate(out / "result.tar", RESULT)
        (out / "bochsrc").write_text(BOCHSRC.replace("@CPUS@", str(cpus)) + f"megs: {memory}\n")
        (out / "debugger").write_text("c\n")  # Debian's Bochs starts in its debugger: continue
        # setpriv: whatever ends this process ends Bochs, which would run on for ever.
        yield ["setpriv", "--pdeathsig", "KILL", "bochs-bin", "-q", "-f", "bochsrc", "-rc", "debugger"], out


def _boot(bochs: Sequence[str], out: Path, output: BinaryIO, timeout: float | None) -> None:
    """Run Bochs until the job has ended, and write the job's output as it comes."""
    screen, terminal = pty.openpty()  # Bochs' text display needs one; nobody reads it
    deadline = time.monotonic() + timeout if timeout else None
    process = subprocess.Popen(
        bochs,
        cwd=out,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**os.environ, "TERM": "vt100"},
    )
    os.close(terminal)
    try:
        job, console = out / "output.log", out / "console.log"
        job.touch()
        with job.open("rb") as produced:
            ended = False
            while not ended:
                ended = process.poll() is not None
                if select.select([screen], [], [], 0.1)[0]:
                    with contextlib.suppress(OSError):  # EIO: Bochs has ended
                        os.read(screen, 65536)
                said = console.read_text(errors="replace") if console.exists() else ""
                ended = ended or re.search(f"{MARK} end|Kernel panic", said) is not None
                output.write(produced.read())
                output.flush()
                if deadline and time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired(list(bochs), timeout or 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(screen)
    if f"{MARK} end" in said:
        with tarfile.open(out / "result.tar", "r:") as archive:
            archive.extractall(out)


def run(
    argv: Sequence[str],
    *,
    timeout: float = 900,
    collect: Path | None = None,
    kernel: str = "6.1",
    cpus: int = 1,
    memory: int = 1024,
) -> subprocess.CompletedProcess[str]:
    """Run argv in a fresh host; files that it left in $HOST_OUT/keep are copied to the folder `collect`.

    Raises HostUnavailable, and subprocess.TimeoutExpired after `timeout` seconds.
    """
    with command(argv, kernel=kernel, cpus=cpus, memory=memory) as (bochs, out):
        output = io.BytesIO()
        _boot(bochs, out, output, timeout)
        if collect and (out / "keep").exists():
            shutil.copytree(out / "keep", collect, dirs_exist_ok=True)
        return subprocess.CompletedProcess(list(argv), host.status(out), output.getvalue().decode(errors="replace"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.hosts.intel", description="Run a command in an emulated Intel host."
    )
    parser.add_argument("--kernel", choices=kernels.META, default="6.1")
    parser.add_argument("--cpus", type=int, default=1, help="each as slow as all: they take turns")
    parser.add_argument("--memory", type=int, default=1024, help="MiB")
    parser.add_argument("argv", nargs="+", metavar="COMMAND")
    options = vars(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the temporary files go
    try:
        with command(options.pop("argv"), **options) as (bochs, out):
            _boot(bochs, out, sys.stdout.buffer, None)
            return host.status(out)
    except HostUnavailable as error:
        print(error, file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
