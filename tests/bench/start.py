"""How long it takes to start: `python -m tests.bench.start` (as root, where the kernel has kvm).

From the command to the first frame that shows a reading of the live kernel, to the end after `q`, `--help` and `explain`;
and the CPU time, the compiler's too, until the probes are attached.
Guests need not run: their exits make the table longer, not later.
"""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import statistics
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from kvmtop.bpf.collector import Collector

KVMTOP = str(Path(sys.executable).with_name("kvmtop"))
SHOWN = b"exits/s"  # in the header, as soon as there is a reading
ROUNDS = 10


def dashboard() -> tuple[float, float]:
    """s from the command to the first reading on the screen, and from `q` to the end."""
    start = time.perf_counter()
    pid, terminal = pty.fork()
    if not pid:
        os.execve(KVMTOP, [KVMTOP], {**os.environ, "TERM": "xterm-256color"})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 50, 120, 0, 0))
    shown, seen = _until(terminal, SHOWN), time.perf_counter()
    if SHOWN not in shown:
        raise SystemExit(shown.decode(errors="replace"))
    time.sleep(1.5)
    _drain(terminal)
    quitting = time.perf_counter()
    os.write(terminal, b"q")
    _until(terminal, None)
    os.waitpid(pid, 0)
    return seen - start, time.perf_counter() - quitting


def _until(terminal: int, word: bytes | None) -> bytes:
    found = b""
    while word is None or word not in found:
        try:
            found += os.read(terminal, 1 << 16)
        except OSError:  # the other end is closed
            break
    return found


def _drain(terminal: int) -> None:
    while select.select([terminal], [], [], 0)[0]:
        os.read(terminal, 1 << 16)


def told(*argv: str) -> float:
    """s that a command takes which only says something."""
    start = time.perf_counter()
    subprocess.run([KVMTOP, *argv], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def attached() -> float:
    """s of CPU that this process and the compiler take until the probes are attached."""
    start = _spent()
    collector = Collector()
    spent = _spent() - start
    collector.close()
    return spent


def _spent() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    cpu = [attached() for _ in range(ROUNDS)]
    print(f"CPU until attached: median {statistics.median(cpu):.2f} s, least {min(cpu):.2f} s of {ROUNDS}")
    starts, ends = zip(*(dashboard() for _ in range(ROUNDS)), strict=True)
    quick = [(" ".join(argv), [told(*argv) for _ in range(ROUNDS)]) for argv in (("--help",), ("explain", "hlt"))]
    for name, times in *quick, ("first table", starts), ("end after q", ends):
        print(f"{name:<12} median {statistics.median(times):.2f} s, longest {max(times):.2f} s of {ROUNDS}")


if __name__ == "__main__":
    main()
