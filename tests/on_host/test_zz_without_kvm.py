"""What kvmtop says where KVM is not loaded. Last of all: it unloads KVM."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..hosts.held import Held

KVMTOP = [sys.executable, "-m", "kvmtop"]


def test_without_kvm_and_without_tracefs(held: Held) -> None:
    held.release()
    vendor = "kvm_amd" if Path("/sys/module/kvm_amd").exists() else "kvm_intel"
    if subprocess.run(["rmmod", vendor, "kvm"]).returncode:
        pytest.skip("KVM cannot be unloaded here: built in or in use")
    done = subprocess.run([*KVMTOP, "-T", "1"], capture_output=True, text=True)
    assert done.returncode == 1 and "load KVM (modprobe" in done.stderr and done.stderr.count("\n") == 1
    subprocess.run(
        ["umount", "--recursive", "/sys/kernel/debug"]
    )  # another test or perf may have mounted it, and tracefs is in it too
    subprocess.run(["umount", "/sys/kernel/tracing"], check=True)
    done = subprocess.run([*KVMTOP, "-T", "1"], capture_output=True, text=True)  # mounts it, then misses KVM
    assert done.returncode == 1 and "load KVM" in done.stderr
    assert Path("/sys/kernel/tracing/events").is_dir()
