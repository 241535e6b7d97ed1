"""How long BPF programs run, as the kernel measures it while somebody asks (BPF_ENABLE_STATS, Linux 5.8, d46edd671a14).

While it does, each run of every BPF program of the host takes two more readings of the clock: so it is asked for short
moments only.
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass

from .. import bounded
from . import syscalls

SYSCTL = "/proc/sys/kernel/bpf_stats_enabled"


@dataclass(frozen=True)
class Runs:
    """Of one program: how long in all, how many, and how many more were left out since another one went on."""

    ns: int = 0
    count: int = 0
    missed: int = 0

    def __sub__(self, other: Runs) -> Runs:
        return Runs(self.ns - other.ns, self.count - other.count, self.missed - other.missed)


class Statistics:
    """Kept by the kernel from start() to stop(), which may come from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._timer: threading.Timer | None = None

    def start(self, seconds: float) -> str:
        """For at most so many seconds; "" or why it cannot be."""
        self.stop()
        try:
            fd = syscalls.enable_statistics()
        except OSError as error:
            return "" if _always() else _why(error)
        timer = threading.Timer(seconds, self.stop)
        timer.daemon = True
        with self._lock:
            self._fd, self._timer = fd, timer
        timer.start()
        return ""

    def stop(self) -> None:
        """No more."""
        with self._lock:
            fd, timer, self._fd, self._timer = self._fd, self._timer, None, None
        if timer:
            timer.cancel()
        if fd is not None:
            os.close(fd)


def unavailable() -> str:
    """Why the kernel does not measure here; "" if it does."""
    statistics = Statistics()
    try:
        return statistics.start(1)
    finally:
        statistics.stop()


def _always() -> bool:
    """Whether somebody has switched them on for good."""
    try:
        return bounded.head(SYSCTL).strip() == b"1"
    except OSError:
        return False


def _why(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "it takes CAP_SYS_ADMIN, or sysctl kernel.bpf_stats_enabled=1"
    return "it takes Linux 5.8" if error.errno == errno.EINVAL else os.strerror(error.errno or 0)
