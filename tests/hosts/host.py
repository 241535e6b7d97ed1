"""What the emulated hosts have in common: how a host is set up from inside, runs its job and tells the result."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

# An /init is SETUP, something that mounts the userland at /host, ROOT, and what runs the job.
SETUP = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for module in /modules/*.ko; do insmod "$module"; done
"""
ROOT = """
mount -t tmpfs tmpfs /overlay; mkdir /overlay/up /overlay/work /overlay/root
mount -t overlay -o lowerdir=/host,upperdir=/overlay/up,workdir=/overlay/work overlay /overlay/root
root=/overlay/root
for fs in proc sys dev; do mkdir -p $root/$fs; mount --move /$fs $root/$fs; done
mkdir -p $root/dev/pts $root/dev/shm $root/run $root/root; mkdir -p -m 1777 $root/tmp $root/var/tmp
mount -t devpts devpts $root/dev/pts
mount -t tmpfs tmpfs $root/dev/shm; mount -t tmpfs tmpfs $root/run
mount -t tracefs nodev $root/sys/kernel/tracing; mount -t bpf bpf $root/sys/fs/bpf
mount -t cgroup2 cgroup2 $root/sys/fs/cgroup
ip link set lo up; hostname host
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""
# The job's terminal is the second serial line: the kernel's messages on the first do not mix with it.
# $out is the directory of its results.
JOB = "setsid -c chroot $root /bin/sh $out/job <$root/dev/ttyS1 >$root/dev/ttyS1 2>&1"


def job(argv: Sequence[str], out: Path, tty: bool = False) -> str:
    """The shell script that runs argv in the host as it would run here; `out` becomes its $HOST_OUT."""
    size = os.get_terminal_size(0) if tty else os.terminal_size((120, 40))  # whatever COLUMNS says
    terminal = f"sane rows {size.lines} cols {size.columns}" if tty else "raw -echo"
    passed = {k: v for k, v in os.environ.items() if k in ("HOME", "LANG", "NO_COLOR") or k.startswith("KVMTOP_")}
    env = {**passed, "TERM": "xterm-256color" if tty else "dumb", "HOST_OUT": str(out), "PATH": os.environ["PATH"]}
    exports = " ".join(f"{k}={shlex.quote(v)}" for k, v in env.items())
    stdin = "" if tty else " </dev/null"
    # The terminal hangs up, and drops what it has not sent, when its session ends: stty waits for it.
    run = f"cd {shlex.quote(os.getcwd())}\nexport {exports}\n{shlex.join(argv)}{stdin}"
    return f"stty {terminal}\n{run}\nstatus=$?; stty -echo; exit $status\n"


DIED = "the emulated host ended without a status"


def status(out: Path) -> int:
    """The job's exit status; 125 where the host never got so far."""
    try:
        return int((out / "status").read_text())
    except (OSError, ValueError):
        console = (out / "console.log").read_text(errors="replace") if (out / "console.log").exists() else ""
        # What the suite looks for comes last: a screen may have no room for all of it.
        print(f"{console[-3000:]}\n{DIED}; above is the end of its console", file=sys.stderr)
        return 125
