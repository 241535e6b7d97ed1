"""The kernel's stacks while exits last: against ftrace's events, and who serves a guest's pages."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kvmtop.bpf import syscalls
from kvmtop.host.live import Live
from kvmtop.insight.stacks import Spent, causes, spent
from kvmtop.model.keys import unpack
from kvmtop.model.snapshot import Snapshot, Stacks
from kvmtop.model.stacks import FREQUENCY, Off
from kvmtop.model.vocabulary import DetailRequest

from ..support.attached import attached
from . import ftrace, truth
from .scenarios import ON_CPU, vm

STACKS = DetailRequest(stacks=True)
PAGES = 100
SWITCH = re.compile(r"prev_pid=(\d+) .* prev_state=(\S+) ==> .* next_pid=(\d+) ")


@pytest.fixture(scope="module")
def recorder() -> Iterator[ftrace.Recorder]:
    one = ftrace.Recorder()
    yield one
    one.close()


def switches(events: Sequence[ftrace.Event], tid: int) -> dict[str, tuple[int, int]]:
    """By state at the switch ("S", "R" …), how often a thread was off the CPU with an exit open, and ns of it."""
    found: dict[str, tuple[int, int]] = {}
    is_open, away = False, None
    for event in events:
        if event.name == "sched_switch" and (match := SWITCH.search(event.text)):
            if int(match[1]) == tid and is_open:
                away = event.ns, match[2][0]
            elif int(match[3]) == tid and away:
                times, ns = found.get(away[1], (0, 0))
                found[away[1]] = times + 1, ns + event.ns - away[0]
                away = None
        elif event.tid == tid and event.name in ("kvm_exit", "kvm_entry"):
            is_open = event.name == "kvm_exit"
    return found


def asleep(stacks: Stacks, tid: int, function: str = "") -> Off:
    """The times that a thread slept with this function in its stack."""
    found = Off(0, 0, 0, 0)
    for stack, off in stacks.off.items():
        names = [frame.partition(" ")[0] for frame in stack.frames]
        if (
            unpack(stack.thread)[1] == tid
            and stack.state in ("blocked", "idle")
            and (not function or function in names)
        ):
            found = Off(*map(sum, zip(found, off, strict=True)))
    return found


def of(snapshot: Snapshot, name: str) -> Spent:
    return next(one for one in spent(snapshot) if one.name == name)


@pytest.mark.parametrize(
    ("how", "function", "what"),
    [((), "handle_userfault", "userfaultfd"), (("--fuse",), "request_wait_answer", "FUSE")],
    ids=["userfaultfd", "FUSE"],
)
def test_a_page_that_takes_5_ms_is_found_in_its_stack_and_to_5_percent(
    how: tuple[str, ...], function: str, what: str, recorder: ftrace.Recorder
) -> None:
    live = Live(look=STACKS)
    try:
        recorder.start()
        with vm("fault", "--fault", "0.005", "--faults", str(PAGES), *how) as guest:
            guest.says("served")
            snapshot, (tid,) = live.read(), guest.tids()
            events = recorder.stop()
            served = int(re.findall(rf"^served {PAGES} in (\d+) ns$", guest.said(), re.M)[0])
    finally:
        live.close()
    assert snapshot.stacks
    ours, theirs = asleep(snapshot.stacks, tid, function), switches(events, tid)
    print(ours, theirs, served)
    # Who was preempted before it slept, for as long as the page took, did not sleep then: few, and ftrace knows them.
    assert PAGES - 5 <= ours.times <= PAGES
    assert served < ours.ns  # the vCPU sleeps from before the handler hears of it until after
    # All sleeps with an exit open; the last, of the VMM, goes on.
    everything = asleep(snapshot.stacks, tid)
    slept = [one for state, one in theirs.items() if state != "R"]
    assert everything.times == sum(times for times, _ in slept)
    others = everything.ns - ours.ns
    lasted = sum(ns for _, ns in slept) + max(
        (off.ns for stack, off in snapshot.stacks.off.items() if not off.times), default=0
    )
    assert ours.ns == pytest.approx(lasted - others, rel=0.05)
    npf = of(snapshot, "npf")
    most = causes(npf)[0]
    assert (most.state, most.what, most.function) == ("blocked", what, function)
    assert most.ns == ours.ns - ours.waited
    assert sum(part.ns for part in npf.parts) == pytest.approx(npf.time, rel=0.01)


def test_the_samples_own_timer_is_no_news() -> None:
    """A guest that makes few exits is interrupted 99 times a second by it alone."""
    live = Live(look=STACKS)
    try:
        with vm("busy", before=ON_CPU) as guest:
            time.sleep(4)
            snapshot, (tid,) = live.read(), guest.tids()
    finally:
        live.close()
    assert snapshot.stacks
    counts, exits = Counter[str](), {one.name: one for one in spent(snapshot)}
    for stack, count in snapshot.stacks.samples.items():
        if unpack(stack.thread)[1] == tid:
            counts[snapshot.names.name(stack.isa, stack.code)] += count
    print(counts, {name: (one.exits, one.states) for name, one in exits.items()})
    assert exits["interrupt"].exits > 2 * FREQUENCY
    # As many as the time allows in which such exits were open, and no more.
    expected = exits["interrupt"].states["kernel"] / 1e9 * FREQUENCY
    assert counts["interrupt"] <= expected + 3 * expected**0.5 + 3


def test_samples_are_as_many_as_the_time_in_the_kernel_allows() -> None:
    live = Live(look=STACKS)
    try:
        pid = truth.run_guest("cpuid:40000", "rdmsr:20000")
        snapshot = live.read()
    finally:
        live.close()
    assert snapshot.stacks  # a busy host may have lost samples, which is said
    names = {one.name: one for one in spent(snapshot)}
    for name in ("cpuid", "msr"):
        one = names[name]
        expected = one.states["kernel"] / 1e9 * FREQUENCY
        print(name, one.exits, one.states, one.samples, expected)
        assert 0 < one.samples <= expected + 4 * expected**0.5 + 3
    assert all(unpack(stack.thread)[0] == pid for stack in snapshot.stacks.samples)
    tops = Counter(frame for part in names["msr"].parts for frame in set(part.frames) for _ in range(part.times))
    assert tops["kvm_vcpu_ioctl [kvm]"] > names["msr"].samples / 2


def test_a_halted_vcpu_is_halted_by_its_stack() -> None:
    live = Live(look=STACKS)
    try:
        with vm("hlt", "--irqchip", "--kick", "0.1") as guest:
            time.sleep(2)
            snapshot, (tid,) = live.read(), guest.tids()
    finally:
        live.close()
    assert snapshot.stacks
    found = asleep(snapshot.stacks, tid, "kvm_vcpu_block")
    hlt = of(snapshot, "hlt")
    print(found, hlt.exits, hlt.states, snapshot.caveats, *causes(hlt), sep="\n")
    assert found.times > 5 and causes(hlt)[0][:2] == ("idle", "halt") and 0.9 < causes(hlt)[0].share <= 1


def test_a_kernel_that_names_no_functions_is_told_so() -> None:
    restrict = Path("/proc/sys/kernel/kptr_restrict")
    before = restrict.read_text()
    restrict.write_text("2")
    live = Live(look=STACKS)
    try:
        truth.run_guest("cpuid:40000")
        snapshot = live.read()
    finally:
        live.close()
        restrict.write_text(before)
    assert snapshot.stacks and "kernel.kptr_restrict is 2" in snapshot.stacks.unnamed
    assert of(snapshot, "cpuid").samples and not any(part.frames for part in of(snapshot, "cpuid").parts)


def links() -> Counter[str]:
    """What this process has of what programs are attached by."""
    found = Counter[str]()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            link = os.readlink(f"/proc/self/fd/{entry}")
            ours = link in ("anon_inode:[perf_event]", "anon_inode:bpf-raw-tracepoint", "anon_inode:bpf_link")
            # An iterator is on nothing's way; the one for APICs comes whenever its thread has loaded it.
            found[link] += ours and "link_type:\titer\n" not in Path(f"/proc/self/fdinfo/{entry}").read_text()
    return +found


def test_nothing_more_is_attached_while_nobody_looks() -> None:
    live = Live()
    try:
        live.read()
        closed, always = links(), attached()
        live.look(STACKS)
        live.read()
        more = links() - closed
        # sched_switch, and what tells whose exit it was: kvm_nested_vmexit and its inject (Linux 5.7 and later).
        assert more.pop("anon_inode:[perf_event]") == len(syscalls.online_cpus()) and more.total() == 3
        live.look(None)
        live.read()
        assert links() == closed and attached() == always
    finally:
        live.close()
    assert not links()


def test_on_the_command_line(tmp_path: Path) -> None:
    folded = tmp_path / "stacks.folded"
    for how, words in ((["--batch", "--stacks"], True), ([f"--stacks={folded}"], False)):
        argv = [sys.executable, "-m", "kvmtop", "-i", "1", *how]
        with (
            vm("fault", "--fault", "0.005") as guest,
            subprocess.Popen(
                [*argv, "-p", str(guest.process.pid), "-T", "3"], stdout=subprocess.PIPE, text=True
            ) as kvmtop,
        ):
            out, _ = kvmtop.communicate(timeout=100)
        assert kvmtop.returncode == 0 and "# reason(hex): count" in out and ("# Where in the kernel" in out) == words
        if words:
            print(out[out.index("# Where") :])
            assert re.search(r"^npf: \d+ exits, .* blocked", out, re.M)
            assert re.search(r"^ +\d\d\.\d% blocked in userfaultfd \(handle_userfault: ", out, re.M)
    lines = folded.read_text().splitlines()
    most = max(lines, key=lambda line: int(line.rpartition(" ")[2]))
    frames = most.rpartition(" ")[0].split(";")
    assert frames[1:3] == ["vCPU 0", "npf"] and frames[-2:] == ["handle_userfault", "(blocked)"]
