"""What kvmtop and others say of the same seconds of the same guest: `python -m tools.sidebyside`.

On the emulated AMD host all of them are attached, a guest boots and works, and is stopped before any of them is asked.
Writes tests/data/sidebyside.txt, which docs/other-tools.md quotes; fails where a count differs from the kernel's own.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.hosts import amd, qemu
from tests.hosts.held import Held
from tests.on_host import truth

OUT = Path(__file__).parents[1] / "tests" / "data" / "sidebyside.txt"
DEBUGFS = Path("/sys/kernel/debug")
COUNTERS = ("exits", "halt_exits", "io_exits", "irq_exits", "mmio_exits")  # of kvm_stat's, those of exits
KVMTOP = (sys.executable, "-m", "kvmtop")


# As short as it can be; tests/bench/cost.py has one with all that kvmtop's summary has.
BPFTRACE = """
tracepoint:kvm:kvm_exit { @left[tid] = nsecs; @why[tid] = args->exit_reason; }
tracepoint:kvm:kvm_entry /@left[tid]/ { @us[@why[tid]] = stats((nsecs - @left[tid]) / 1000); delete(@left[tid]); }
END { clear(@left); clear(@why); }
"""


def wait_until(begun: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not begun():
        assert time.monotonic() < end, "a tool does not begin"
        time.sleep(0.2)


def said(*argv: str | Path) -> str:
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr  # perf's report is on the second where the first is no terminal


def play(folder: Path) -> tuple[dict[str, str], truth.Truth]:
    """In the host: what each tool prints, by its command, and the kernel's own counts."""
    recording, data = folder / "run.kvmtop", folder / "perf.data"
    commands: dict[str, Sequence[str | Path]] = {
        "kvmtop": [*KVMTOP, "--batch", "--interval", "3600", "--record", recording],
        "perf": ["perf", "kvm", "stat", "record", "-a", "-k", "mono", "-o", data],
        "bpftrace": ["bpftrace", "-e", BPFTRACE],
    }
    subprocess.run(["mount", "-t", "debugfs", "debugfs", DEBUGFS], check=True)
    signs: dict[str, Callable[[subprocess.Popen[bytes]], object]] = {
        "kvmtop": lambda _: recording.exists(),
        "perf": lambda tool: "perf_event" in Path(f"/proc/{tool.pid}/maps").read_text(),  # its buffers
        "bpftrace": lambda _: "Attaching" in (folder / "bpftrace").read_text(),
    }
    tools = []
    for name, argv in commands.items():
        with (folder / name).open("w") as out:
            tools.append(tool := subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out))
        wait_until(functools.partial(signs[name], tool))
    time.sleep(4)  # bpftrace says it before it is true
    with truth.counting() as kernel, qemu.guest("web01", 2) as vm:
        qemu.wait_until_up(vm, 180)
        time.sleep(5)
        vm.send_signal(signal.SIGSTOP)
        time.sleep(1)
        kernel.read()
        counters = "".join(f"{name} {(DEBUGFS / 'kvm' / name).read_text()}" for name in COUNTERS)
        for tool in tools:
            tool.send_signal(signal.SIGINT)
            tool.wait(60)
    return {
        "kvmtop replay run.kvmtop --batch": said(*KVMTOP, "replay", recording, "--batch"),
        "perf kvm stat report": said("perf", "kvm", "-i", data, "stat", "report"),
        f"grep . /sys/kernel/debug/kvm/{{{','.join(COUNTERS)}}}": counters,
        "bpftrace -e '…'": (folder / "bpftrace").read_text(),
    }, kernel


COUNTS = (  # kvmtop's, perf's, bpftrace's
    r"^0x\w+: (\d+) ",
    r"^ +\w+ +(\d+) +[\d.]+%",
    r"^@us\[\d+\]: count (\d+),",
)


def counts(text: str) -> list[list[int]]:
    """How often each reason came, as each tool says; sorted, for each names reasons its own way."""
    return [sorted(map(int, re.findall(pattern, text, re.MULTILINE))) for pattern in COUNTS]


def main() -> int:
    if "HOST_OUT" in os.environ:
        Held()
        with tempfile.TemporaryDirectory() as folder:
            found, kernel = play(Path(folder))
        text = "\n\n".join(f"$ {command}\n{output.strip()}" for command, output in found.items())
        print(text)
        ours, *others = counts(text)
        assert others == [ours, ours]
        assert sum(kernel.values()) == sum(ours) + 2, kernel  # each vCPU stopped in an exit
        return 0
    done = amd.run([sys.executable, "-m", "tools.sidebyside"], timeout=600)
    print(done.stdout)
    if not done.returncode:
        OUT.write_text(done.stdout)
    return int(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
