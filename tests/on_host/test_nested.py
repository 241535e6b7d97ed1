"""A guest that runs guests of its own: kvm_exit tells the exits of both, which the raw way reads from two VMCBs."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kvmtop.bpf.collector import Collector
from kvmtop.bpf.kvm_exit import RAW
from kvmtop.bpf.stacks import StackProbes
from kvmtop.host.selftest_guest import END, Step
from kvmtop.model.exit_stats import counts
from kvmtop.model.interval import diff
from kvmtop.model.nesting import nesting
from kvmtop.model.vocabulary import NESTED, REFLECTED, SVM, DetailRequest, Key, Names

from ..hosts import qemu
from . import ftrace, truth

NESTED_ALLOWED = Path("/sys/module/kvm_amd/parameters/nested")
VMM = Path(__file__).with_name("nested_vmm.c")
STEPS = (Step("cpuid", 1500), Step("out", 50), Step("rdmsr", 30), Step("hlt", 3), Step("mmio", 20))
EXITS = {0x72: 1500, 0x7B: 51, 0x7C: 30, 0x78: 3}  # and the `out` that ends it
CPUID, NPF, VMRUN = 0x72, 0x400, 0x80
VCPUS = 2
# A vCPU's thread halted, or without a CPU, is not nesting.
EVENTS = {
    "kvm/kvm_nested_vmexit": "",
    "kvm/kvm_nested_vmexit_inject": "",
    "kvm/kvm_nested_vmenter": "",
    "kvm/kvm_exit": f"exit_reason == {VMRUN}",
    "kvm/kvm_entry": "",
    "sched/sched_switch": 'prev_comm ~ "CPU*" || next_comm ~ "CPU*"',
}


@dataclass
class Told:
    """What the kernel's events say of one thread."""

    exits: Counter[tuple[int, int]] = field(default_factory=Counter)  # by level and reason
    ns: int = 0  # nesting, as model/nesting.py has it
    last: tuple[int, int] | None = None
    left: int = 0  # when that was
    out: int = 0  # since when
    entering: int = 0
    off: int = 0
    away: int = 0

    def add(self, event: ftrace.Event, names: Names) -> None:
        """The next event of it, but for switches."""
        if event.name == "kvm_nested_vmexit":
            self.last = NESTED, code(event, names)
            self.exits[self.last] += 1
            self.left = event.ns
        elif event.name == "kvm_nested_vmexit_inject":
            if self.last == (NESTED, code(event, names)):
                self.exits[self.last] -= 1
                self.last = NESTED | REFLECTED, self.last[1]
                self.exits[self.last] += 1
            self._begin(self.left)
        elif event.name == "kvm_exit":
            self._begin(event.ns)
        elif event.name == "kvm_nested_vmenter":
            self.entering = self.out
        elif self.entering:
            self.ns += event.ns - self.entering - self.away
            self.out = self.entering = 0

    def _begin(self, ns: int) -> None:
        if not self.out:
            self.out, self.away = ns, 0


def code(event: ftrace.Event, names: Names) -> int:
    """The number of the reason that an event names."""
    found = re.search(r"reason:? (.+?) +(?:rip|ext_inf1)", event.text)
    assert found, event
    word = found[1].strip()
    return next((number for number, name in names.reasons[SVM].items() if name == word), -1)


def replay(events: Iterable[ftrace.Event], names: Names) -> dict[int, Told]:
    """By tid."""
    found: dict[int, Told] = {}
    for event in events:
        if event.name == "sched_switch":
            before, after = (int(tid) for tid in re.findall(r"_pid=(\d+)", event.text))
            if before in found:
                found[before].off = event.ns
            if after in found and found[after].off:
                found[after].away += event.ns - found[after].off
                found[after].off = 0
        else:
            found.setdefault(event.tid, Told()).add(event, names)
    return {tid: one for tid, one in found.items() if one.exits}


@pytest.mark.skipif(
    not NESTED_ALLOWED.exists() or NESTED_ALLOWED.read_text().strip() not in "1Y", reason="no nested guests on AMD here"
)
@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
def test_the_exits_of_a_guest_and_of_its_guests_are_told_apart(tmp_path: Path) -> None:
    """Two vCPUs, each with a guest of its own that halts, does I/O and pages."""
    vmm = tmp_path / "vmm"
    subprocess.run(["gcc", "-static", "-o", vmm, VMM], check=True)
    files = {"vmm": vmm.read_bytes(), "code": b"".join(step.code() for step in STEPS) + END}
    work = "taskset 1 /vmm /code & taskset 2 /vmm /code & wait; echo over"
    recorder = ftrace.Recorder("nested", instead=EVENTS)
    known, taking_over = Collector(checked=True), Collector()
    stacks = StackProbes(known.sched_flags, known.threads, known.shared())
    stacks.look(DetailRequest(stacks=True), known.read)
    recorder.start()
    with (
        contextlib.closing(recorder),
        contextlib.closing(known),
        contextlib.closing(taking_over),
        contextlib.closing(stacks),
        truth.counting() as kernel,
        truth.counting(event=truth.EVENT.with_name("kvm_nested_vmexit")) as inner,
        qemu.guest("outer", VCPUS, 512, modules=("irqbypass", "kvm", "kvm-amd"), files=files, work=work) as outer,
    ):
        qemu.wait_for(outer, "begun", 300)
        while not inner.read():
            pass
        told = taking_over.read().counted_by or ""
        at_change = sum(inner.read().values())
        qemu.wait_for(outer, "over", 300)
        last = known.read(stacks.sample)
        found = stacks.read(last)
        outer.kill()
        outer.wait()
        kernel.read()
        inner.read()
        events = recorder.stop()
    print(f"{sum(kernel.values()):,} exits, {sum(inner.values()):,} of them nested, {at_change:,} before the change")
    assert told.startswith(RAW) and 0 < at_change < VCPUS * 1500
    assert all(inner[SVM, reason] == VCPUS * times for reason, times in EXITS.items())
    assert found
    slept, cells = Counter[Key](), diff(found.base, last).rows
    for stack, off in found.off.items():
        slept[stack.isa, stack.code] += off.ns - off.waited if stack.state in ("idle", "blocked") else 0
    for key, ns in slept.items():
        its = cells[(cells["isa"] == key[0]) & (cells["reason"] == key[1])]
        wanted_ns = int(its["idle"].sum() + its["blocked"].sum())
        print(
            f"asleep in {key[0]:#x} {known.names.name(*key)}: {ns / 1e6:.3f} ms, by the counters {wanted_ns / 1e6:.3f} ms"
        )
        assert ns == pytest.approx(wanted_ns, rel=0.01, abs=5_000_000)
    stories = replay(events, known.names)
    wanted = sum((one.exits for one in stories.values()), Counter[tuple[int, int]]())
    for snapshot in (known.close(), taking_over.close()):
        assert truth.counted(snapshot) == kernel
        assert (snapshot.lost, snapshot.overwritten) == (0, 0)
        levels = {(isa - SVM, reason): count for (isa, reason), count in counts(snapshot).items() if isa != SVM}
        print(
            {f"{level:#x} {known.names.name(SVM, reason)}": count for (level, reason), count in sorted(levels.items())}
        )
        assert levels == +wanted
        assert all(levels[NESTED | REFLECTED, reason] == VCPUS * times for reason, times in EXITS.items())
        assert levels[NESTED | REFLECTED, NPF] >= VCPUS * 20  # the device that there is not, and the pages
        spent = dict(
            zip((snapshot.threads["id"] & 0xFFFFFFFF).tolist(), nesting(diff(None, snapshot)).tolist(), strict=True)
        )
        for tid, one in stories.items():
            print(f"nesting of {tid}: {spent[tid] / 1e9:.3f} s, by the events {one.ns / 1e9:.3f} s")
            assert spent[tid] == pytest.approx(one.ns, rel=0.05)
