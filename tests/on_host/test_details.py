"""What exits touch, which guest code made them, slow exits and polls, against the kernel, perf and known guests."""

from __future__ import annotations

import contextlib
import ctypes
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.bpf import syscalls
from kvmtop.host.live import Live
from kvmtop.host.selftest_guest import CODE, MMIO, MSR_READ, MSR_WRITE, PORT
from kvmtop.insight import halt_polling, slow_exits
from kvmtop.insight.accesses import Access, accesses
from kvmtop.model.interval import diff
from kvmtop.model.keys import unpack
from kvmtop.model.reasons import IO
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import KINDS, DetailRequest
from kvmtop.reference.labels import Labels
from kvmtop.tables.slow_exits import line

from ..hosts import qemu
from ..support.attached import attached
from . import scenarios, truth
from .exact import perf_events

EVERYTHING = DetailRequest(frozenset(KINDS) - {""})
EVENTS = Path("/sys/kernel/tracing/events/kvm")
CPUID_AT = CODE + 6 + 3  # after mov esi,N; of the loop the instruction after xor eax,eax
TRIGGERS = {"kvm_pio": ("port", "rw"), "kvm_msr": ("ecx", "write"), "kvm_mmio": ("gpa", "type")}
SCRIPT = ("cpuid:500", "out:50", "in:20", "rdmsr:30", "wrmsr:40", "mmio:7", "hlt:3")


@contextlib.contextmanager
def hist_triggers() -> Iterator[dict[str, truth.Truth]]:
    """The kernel's own count of the events by key, filled in when the block ends."""
    with contextlib.ExitStack() as stack:
        found = {
            event: stack.enter_context(truth.counting(*keys, event=EVENTS / event)) for event, keys in TRIGGERS.items()
        }
        yield found
        for counted in found.values():
            counted.read()


def by_key(rows: list[Access], kind: str) -> dict[tuple[int, int], int]:
    """(value, whether a write) → events."""
    found: dict[tuple[int, int], int] = {}
    for row in rows:
        if row.kind == kind:
            found[row.value, row.extra & 1] = found.get((row.value, row.extra & 1), 0) + row.count
    return found


def watched(vcpus: int, *script: str, look: DetailRequest = EVERYTHING) -> Snapshot:
    """What was seen of a known guest."""
    live = Live(look=look)
    try:
        truth.run_guest("--vcpus", str(vcpus), *script)
        return live.read()
    finally:
        live.close()


def test_a_known_guest_touches_what_its_program_says() -> None:
    with hist_triggers() as theirs:
        snapshot = watched(2, *SCRIPT)
    rows = accesses(diff(None, snapshot), ALL)
    ports, msrs, mmio = (by_key(rows, kind) for kind in ("io", "msr", "mmio"))
    assert ports == {(PORT, 1): 100, (PORT, 0): 40, (0xF4, 1): 2}
    assert msrs == {(MSR_READ, 0): 60, (MSR_WRITE, 1): 80}
    assert mmio == {(MMIO, 1): 14}
    assert by_key(rows, "cpuid") == {(0, 0): 1000}
    assert by_key(rows, "user")[2, 0] == 142  # KVM_EXIT_IO: all of them, and the one that ends it
    assert theirs["kvm_pio"] == ports
    assert theirs["kvm_msr"] == msrs
    assert theirs["kvm_mmio"] == {(MMIO, 2): 14}
    for row in rows:
        ended = row.count - (2 if row.value == 0xF4 else 0)
        if row.kind in ("io", "msr", "mmio", "cpuid"):
            assert row.exits == ended == sum(row.hist), row  # each exit once, its time with it
            assert not row.exits or 0 < row.total / row.exits <= (row.max or 0)
    labels = Labels(snapshot.names)
    assert {labels.what(row.kind, row.value, row.extra) for row in rows} >= {
        "port 0x10 out 1 B",
        f"MSR 0x{MSR_READ:x} IA32_APICBASE read",
        f"MMIO 0x{MMIO:x} write 1 B",
    }
    one = int(snapshot.thread_ids[0])
    assert by_key(accesses(diff(None, snapshot), Scope(0, one)), "io") == {(PORT, 1): 50, (PORT, 0): 20, (0xF4, 1): 1}


def test_the_guest_code_is_known_to_the_instruction() -> None:
    snapshot = watched(1, "cpuid:3000", "out:10")
    code = accesses(diff(None, snapshot), ALL, ["rip"])
    most = max(code, key=lambda row: row.count)
    assert (most.value, most.count) == (CPUID_AT, 3000)
    assert Labels().what("rip", most.value, 0) == f"0x{CPUID_AT:x} (user)"


def test_one_reason_alone() -> None:
    first = watched(1, "cpuid:10", "rdmsr:10")
    key = next(
        (int(c["isa"]), int(c["reason"]))
        for c in first.cells
        if first.names.name(int(c["isa"]), int(c["reason"])).lower() == "cpuid"
    )
    snapshot = watched(1, *SCRIPT, look=DetailRequest(EVERYTHING.kinds, only=key))
    kinds = {row.kind for row in accesses(diff(None, snapshot), ALL, EVERYTHING.kinds)}
    assert kinds == {"cpuid", "rip"}


def test_one_vm_alone() -> None:
    """Of stacks, tests/bpf has the same."""
    argv = [sys.executable, "-m", "kvmtop.host.selftest_guest", "--io-sleep", "0.01", "out:0"]
    counts, seen = dict[int, int](), set[int]()
    with (
        scenarios.process(argv) as one,
        scenarios.process(argv) as other,
        contextlib.closing(Live()) as live,
    ):
        live.look(DetailRequest(frozenset({"io", "rip"}), slow_ns=1, pids=frozenset({one.pid})))
        live.read()  # and what is asked for is attached
        before, end = live.read(), time.monotonic() + 60
        while min(counts.values(), default=0) < 100 and time.monotonic() < end:
            time.sleep(0.5)
            after = live.read()
            assert live.trouble is None and after.details, live.trouble
            interval = diff(before, after)
            rows = interval.rows[interval.are(IO)]
            pids = unpack(after.threads["id"][rows["thread"]])[0]
            counts = {guest.pid: int(rows["count"][pids == guest.pid].sum()) for guest in (one, other)}
            seen |= {*unpack(after.details.touched["id"])[0].tolist(), *unpack(after.details.slow["id"])[0].tolist()}
    assert min(counts.values()) >= 100
    assert seen == {one.pid}
    ports = sum(row.count for row in accesses(interval, Scope(one.pid), ["io"]))
    assert ports == pytest.approx(counts[one.pid], rel=0.3)  # they are read one after the other


def test_slow_exits_are_those_of_a_vmm_that_sleeps() -> None:
    live = Live(look=DetailRequest(EVERYTHING.kinds, slow_ns=15_000_000))
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "kvmtop.host.selftest_guest", "--io-sleep", "0.02", "cpuid:500", "out:20", "hlt:2"]
        ) as process:
            assert process.wait() == 0
        snapshot = live.read()
        assert snapshot.details is not None
        every = slow_exits.read(snapshot.details.slow, snapshot)
    finally:
        live.close()
    for one in every:
        print(line(one, Labels(snapshot.names)))
    found = [one for one in every if one.name in ("io", "IO_INSTRUCTION")]  # a busy host stands still in others, too
    assert len(found) == 20 and snapshot.details.undelivered == 0
    for one in found:
        assert (one.kind, one.value, one.extra) == ("io", PORT, 0x101)
        assert one.pid == process.pid and one.vcpu == 0 and one.ns >= 20_000_000
        # The VMM sleeps, and computes; its sleep begins before it is switched out, which takes this host some ms.
        assert one.parts["blocked"] >= 10_000_000 and one.parts["user"] > 0
        assert sum(one.parts.values()) == one.ns and one.parts["kernel"] < 0.2 * one.ns
        assert one.rip < 0x10000


def test_slow_exits_on_the_command_line() -> None:
    kvmtop = subprocess.Popen(
        [sys.executable, "-m", "kvmtop", "-b", "-i", "2", "--slow", "15ms", "--event", "io,rip"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert kvmtop.stdout
    kvmtop.stdout.readline()  # it counts
    with subprocess.Popen(
        [sys.executable, "-m", "kvmtop.host.selftest_guest", "--io-sleep", "0.02", "out:20"]
    ) as guest:
        assert guest.wait() == 0
    time.sleep(3)
    kvmtop.send_signal(signal.SIGINT)
    out, err = kvmtop.communicate(timeout=60)
    assert kvmtop.returncode == 0, err
    lines = re.findall(
        r"^\d\d:\d\d:\d\d\.\d{6} .* vCPU 0 \S+ [\d.]+ms \(kernel .* user .*\) CPU \d rip 0x\w+ \(user\) port 0x10 out 1 B$",
        out,
        re.M,
    )
    assert len(lines) == 20, out
    assert re.search(r"^port 0x10 out 1 B +[\d.]+", out, re.M), out
    print(out)


def test_a_burst_of_slow_exits_is_bounded_and_counted() -> None:
    live = Live(look=DetailRequest(frozenset({"io"}), slow_ns=1))
    try:
        truth.run_guest("out:2000")
        details = live.read().details
    finally:
        live.close()
    assert details is not None
    assert len(details.slow) + details.undelivered >= 2000  # all exits but idle ones are slow here
    assert 0 < len(details.slow) <= 64 * syscalls.possible_cpus() and details.undelivered > 0


def test_keys_without_room_are_counted() -> None:
    """More keys than rows: what is dropped and what is kept add up to the kernel's count."""
    live = Live(look=DetailRequest(frozenset({"rip", "io"})))
    assert live._detail is not None
    free = live._detail._probes.maps["free_rows"]
    taken = (ctypes.c_uint32 * 1)()
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = struct.pack("<QQQQ", free, 0, ctypes.addressof(taken), 0)
    left = 8191
    while left > 2:  # bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM): take all rows but two away
        assert libc.syscall(321, 21, attributes, len(attributes)) == 0
        left -= 1
    try:
        truth.run_guest(*SCRIPT)
        snapshot = live.read()
    finally:
        live.close()
    details = snapshot.details
    assert details is not None and len(details.touched) == 2
    kept = {kind: sum(row.count for row in accesses(diff(None, snapshot), ALL, [kind])) for kind in ("rip", "io")}
    exits = int(snapshot.cells["count"].sum()) + 1  # the last is still open
    assert kept["rip"] + details.dropped.get("rip", 0) == exits
    assert kept["io"] + details.dropped.get("io", 0) == 71


def test_nothing_more_is_attached_while_nobody_looks() -> None:
    always = {"kvm_exit", "kvm_entry", "kvm_userspace_exit", "kvm_fpu"}
    always |= {"sched_switch", "sched_wakeup", "sched_process_exit"}
    always |= {"kvm_nested_vmexit", "kvm_nested_vmexit_inject", "kvm_nested_vmenter"}
    live = Live()
    try:
        live.read()
        assert attached() == always
        live.look(DetailRequest(frozenset({"io", "msr"})))
        live.read()
        assert attached() == always | {"kvm_pio", "kvm_msr"}
        live.look(EVERYTHING)
        live.read()
        assert attached() > always | {"kvm_pio", "kvm_msr", "kvm_mmio", "kvm_cpuid", "kvm_page_fault"}
        live.look(DetailRequest(sched=0))
        live.read()
        assert attached() > always | {"sched_waking", "local_timer_entry"}
        live.look(None)
        live.read()
        assert attached() == always
    finally:
        live.close()
    assert attached() == set()


@pytest.mark.skipif(not shutil.which("perf"), reason="perf is not installed (Debian's linux-perf)")
def test_perf_reports_the_same_accesses(tmp_path: Path) -> None:
    live = Live(look=EVERYTHING)
    data = tmp_path / "perf.data"
    perf = subprocess.Popen(["perf", "kvm", "stat", "record", "-a", "-o", data], stderr=subprocess.PIPE)
    while perf.poll() is None and not perf_events(perf.pid):
        time.sleep(0.1)
    time.sleep(2)
    truth.run_guest("--vcpus", "2", *SCRIPT)
    perf.send_signal(signal.SIGINT)
    perf.communicate(timeout=60)
    rows = accesses(diff(None, live.read()), ALL)
    live.close()
    for event, kind in (("ioport", "io"), ("mmio", "mmio"), ("msr", "msr")):
        report = subprocess.run(
            ["perf", "kvm", "-i", data, "stat", "report", f"--event={event}"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        text = report.stdout + report.stderr
        print(text)
        theirs = {int(m[1], 16): int(m[2]) for m in re.finditer(r"^\s*0x(\w+):\w+\s+(\d+)\s+[\d.]+%", text, re.M)}
        if not theirs:  # this perf has no such report
            assert kind == "msr", text
            continue
        ours: dict[int, int] = {}
        for (value, _), count in by_key(rows, kind).items():
            ours[value] = ours.get(value, 0) + count
        ours.pop(0xF4, None)  # perf waits for the entry after it, which never comes
        both: dict[int, int] = {}
        for m in re.finditer(r"^\s*0x(\w+):\w+\s+(\d+)\s+[\d.]+%", text, re.M):
            both[int(m[1], 16)] = both.get(int(m[1], 16), 0) + int(m[2])
        both.pop(0xF4, None)
        assert ours == both


def halt_polls() -> tuple[int, int, int, int]:
    """Hits and attempts of all VMs since they began, and ns of polls that hit and of others: KVM's own statistics."""
    root = Path("/sys/kernel/debug/kvm")
    names = ("successful_poll", "attempted_poll", "poll_success_ns", "poll_fail_ns")
    found = [int((root / f"halt_{name}").read_text()) for name in names]
    return found[0], found[1], found[2], found[3]


def test_a_real_guest_and_its_serial_console() -> None:
    if not Path("/sys/kernel/debug/kvm").exists():
        subprocess.run(["mount", "-t", "debugfs", "nodev", "/sys/kernel/debug"], check=True)
    with qemu.guest("web01", 2) as web:
        qemu.wait_until_up(web, 180)
        live = Live(look=EVERYTHING)
        try:
            first, before = live.read(), halt_polls()
            time.sleep(15)
            snapshot, after = live.read(), halt_polls()
        finally:
            live.close()
    labels = Labels(snapshot.names)
    interval = diff(None, snapshot)
    rows = accesses(interval, ALL, EVERYTHING.kinds)
    for row in rows[:40]:
        print(f"{labels.what(row.kind, row.value, row.extra):<60} {row.count:>7} {row.total // 1000:>9} us")
    console = [row for row in rows if row.kind == "io" and "COM1" in labels.what("io", row.value, row.extra)]
    assert {row.value for row in console} >= {0x3F8}  # "tick" goes out letter by letter
    assert sum(row.parts["user"] for row in console) > 0
    for row in rows:
        if row.kind not in ("poll", "window"):
            assert sum(row.parts.values()) == row.total and min(row.parts.values()) >= 0, row
    assert any(row.kind == "rip" and row.value >> 63 for row in rows)  # the guest's kernel
    del first
    polls = halt_polling.polling(interval, ALL)
    for one in polls:
        print(one, one.verdict)
    # What KVM counted in the same time, but for the two moments of reading and each vCPU's first halt.
    hits, attempts, won, wasted = (now - then for now, then in zip(after, before, strict=True))
    print(hits, attempts, won, wasted)
    assert abs(sum(one.hits for one in polls) - hits) <= 5
    assert abs(sum(one.hits + one.wasted for one in polls) - attempts) <= 5
    for ours, theirs in ((sum(one.success_ns for one in polls), won), (sum(one.fail_ns for one in polls), wasted)):
        assert abs(ours - theirs) <= max(0.02 * theirs, 5 * 200_000 * 2)  # halt_poll_ns, and what a poll runs over
