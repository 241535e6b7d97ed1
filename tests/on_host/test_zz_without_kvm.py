"""KVM goes, comes back, and is hidden by lockdown, which only the next boot undoes: last of all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pytest

from ..hosts import kernels
from ..hosts.held import Held
from . import truth
from .exact import SCRIPT, exact
from .run import Run

KVMTOP = [sys.executable, "-m", "kvmtop"]
VENDOR, CPUID = ("kvm_amd", 0x72) if Path("/sys/module/kvm_amd").exists() else ("kvm_intel", 10)
SECURITYFS = Path("/sys/kernel/security")


def unload(module: str, patience: float = 10) -> str:
    """Empty, or what is in the way; a kvmtop that has ended is so for a moment, until the kernel has freed its probes."""
    end = time.monotonic() + patience
    while (done := subprocess.run(["rmmod", module], capture_output=True, text=True)).returncode:
        if time.monotonic() > end:
            return f"{done.stderr or 'rmmod failed'} {holders()}"
        time.sleep(0.2)
    return ""


def holders() -> str:
    """Who has KVM or a probe of it open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if (name := os.readlink(link)).startswith(
                ("/dev/kvm", "anon_inode:kvm", "anon_inode:[perf", "anon_inode:bpf")
            ):
                command = Path("/proc", link.parts[2], "cmdline").read_text().replace("\0", " ")
                found.add(f"{link.parts[2]} ({command}): {name}")
    return "; ".join(sorted(found)) or "nobody has it open"


def load(*modules: str, parameters: Sequence[str] = ()) -> None:
    """The modules of an emulated host are where its kernel was unpacked."""
    for module in modules:
        if Path("/sys/module", module).exists():
            continue
        if subprocess.run(["modprobe", module, *parameters], capture_output=True).returncode:
            release = os.uname().release
            places = [kernels.cache().glob(f"linux-*/{under}lib/modules/{release}") for under in ("", "usr/")]
            image = next(next(chain(*places)).rglob(f"{module.replace('_', '-')}.ko*"))
            subprocess.run(["insmod", image, *parameters], check=True)


def refused(*arguments: str) -> str:
    """The sentence that it says, and ends with."""
    done = subprocess.run([*KVMTOP, "-T", "1", *arguments], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done
    return done.stderr


def test_kvm_is_unloaded_and_loaded_again_under_it(held: Held, tmp_path: Path) -> None:
    """The processor's module may go; the kernel keeps the one with the tracepoints for as long as kvmtop runs."""
    held.release_kvm()
    run = Run(tmp_path / "log")
    try:
        if why := unload(VENDOR):
            assert "HOST_OUT" not in os.environ, why
            pytest.skip(f"KVM cannot be unloaded here: {why}")
        try:
            assert "in use" in unload("kvm", patience=2)
            run.wait(2)
        finally:
            load(VENDOR)
        with exact(run):
            truth.run_guest(*SCRIPT)
        run.end(signal.SIGTERM)
    finally:
        run.process.kill()


def test_without_kvm_and_without_tracefs(held: Held, tmp_path: Path) -> None:
    held.release()
    if why := unload(VENDOR) or unload("kvm"):
        load(VENDOR)
        assert "HOST_OUT" not in os.environ, why
        pytest.skip(f"KVM cannot be unloaded here: {why}")
    try:
        assert "load KVM (modprobe" in refused()
        # Another test or perf may have mounted it, and tracefs is in it too.
        subprocess.run(["umount", "--recursive", "/sys/kernel/debug"])
        subprocess.run(["umount", "/sys/kernel/tracing"], check=True)
        assert "load KVM" in refused()  # mounts it, then misses KVM
        assert Path("/sys/kernel/tracing/events").is_dir()
    finally:
        load("kvm", VENDOR)
    run = Run(tmp_path / "log")
    with exact(run):
        truth.run_guest(*SCRIPT)
    run.end(signal.SIGTERM)


def counts(log: Path, *options: str) -> bool:
    """Lockdown forbids even to read the kernel's own histogram."""
    run = Run(log, *options)
    truth.run_guest("cpuid:1000")
    run.wait(2)
    found = run.counted()[CPUID]
    run.end(signal.SIGTERM)
    return found == 1000


@pytest.mark.skipif("HOST_OUT" not in os.environ, reason="only where the next boot is not missed: an emulated host")
def test_locked_down(tmp_path: Path) -> None:
    """What was there before can be read all the same; of what is loaded since, Linux 6.1 shows no events."""
    if not (SECURITYFS / "lockdown").exists():
        subprocess.run(["mount", "-t", "securityfs", "none", SECURITYFS], check=True)
    (SECURITYFS / "lockdown").write_text("confidentiality")
    assert counts(tmp_path / "before", "--event", "io")
    assert (unload(VENDOR), unload("kvm")) == ("", "")
    load("kvm", VENDOR)
    if (truth.EVENT / "format").exists():  # seen on 6.12
        assert counts(tmp_path / "since")
        return
    assert "the kernel is locked down (confidentiality)" in refused()
    subprocess.run(["umount", SECURITYFS], check=True)
    assert "KVM is loaded, but this kernel shows no tracepoint kvm:kvm_exit: it may be locked down" in refused()
