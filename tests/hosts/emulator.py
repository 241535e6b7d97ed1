"""QEMU 10.0 of Debian 13 for the emulated AMD hosts: fetched with an apt of its own, unpacked into a cache, never installed.

QEMU 7.2 (Debian 12) will not do: in 3 of 10 runs with a guest at work a CPU of the host never came back from it
("rcu_preempt detected stalls"), and a guest's switching of AVX state corrupts the host's vector registers (numpy sorted
2,398 of 2,546 arrays wrongly while a guest booted; with 10.0 none of 7,801). Only the emulator is of Debian 13, and runs by its own loader on its own libraries; the
guests in the hosts run by the machine's QEMU, as its users' do.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from .kernels import HostUnavailable, cache

SUITE = "trixie"
PACKAGES = ("qemu-system-x86", "seabios")  # seabios is only recommended by it
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def mirror() -> str:
    """Where this machine's apt has Debian from."""
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(targets, capture_output=True, text=True).stdout.split()
    return found[0] if found else "http://deb.debian.org/debian"


def get() -> list[str]:
    """The start of a command that runs it, fetched on first use (15 s, 40 MB). Raises HostUnavailable."""
    root = cache() / f"qemu-{SUITE}"
    with open(cache() / "lock", "w") as lock:  # several hosts may start at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            _fetch(root)
    loader, libraries = root / "usr/lib64/ld-linux-x86-64.so.2", root / "usr/lib/x86_64-linux-gnu"
    qemu = [root / "usr/bin/qemu-system-x86_64", "-L", root / "usr/share/seabios", "-L", root / "usr/share/qemu"]
    return [str(word) for word in (loader, "--library-path", libraries, *qemu)]


def _fetch(root: Path) -> None:
    if not shutil.which("apt-get") or not KEYRING.exists():
        raise HostUnavailable("the emulated AMD hosts need apt-get and Debian's package debian-archive-keyring")
    work = root.with_suffix(".part")
    shutil.rmtree(work, ignore_errors=True)
    for folder in ("lists/partial", "archives/partial", "root"):
        (work / folder).mkdir(parents=True)
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {SUITE} main\n")
    (work / "status").touch()  # nothing is installed, so apt fetches the libraries, too
    settings = {
        "Dir::State": work,
        "Dir::State::status": work / "status",
        "Dir::Cache": work,
        "Dir::Etc::SourceList": work / "sources.list",
        "Dir::Etc::SourceParts": "-",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",
        "APT::Architecture": "amd64",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in settings.items())]
    for step in (["update"], ["install", "--yes", "--download-only", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run([*apt, *step], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
        if done.returncode:
            raise HostUnavailable(f"apt-get {step[0]} for Debian's {SUITE} failed: {done.stderr.strip()}")
    for deb in (work / "archives").glob("*.deb"):
        subprocess.run(["dpkg", "-x", deb, work / "root"], check=True)
    (work / "root").rename(root)
    shutil.rmtree(work)
