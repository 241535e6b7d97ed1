"""detail.bpf.c: its flags from the kernels' format files; its structures; and the programs themselves, run by the kernel
on tracepoints of system calls, so that no KVM is needed."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kvmtop.bpf import btf, detail, privileges
from kvmtop.bpf import syscalls as kernel
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.detail import _SOURCES, CONFIG, ROWS, TALLY, Detail, flags
from kvmtop.bpf.probes import Probe
from kvmtop.bpf.tracepoint import Tracepoint
from kvmtop.commands.arguments import EVENTS
from kvmtop.insight.accesses import TOUCHED
from kvmtop.model import vocabulary
from kvmtop.model.histogram import FIRST_OCTAVE, bucket_of
from kvmtop.model.snapshot import SLOW, TOUCH, Details
from kvmtop.model.vocabulary import (
    ABSENT,
    FETCH,
    HIT,
    KINDS,
    LOGGED,
    OUTSIDE,
    PRESENT,
    RESERVED,
    UNPOLLED,
    WALK,
    WASTED,
    WRITE,
    DetailRequest,
)

from ..support.formats import FORMATS, X86, text
from . import c
from .machine import call, cells, enter, leave, machine, spin, to_user

SOURCE = c.whole("detail.bpf.c")
WITH_TOUCHES = ("6.1", "6.12", "6.18")


def formats(kernel: str) -> dict[str, Tracepoint | None]:
    return {path.stem: Tracepoint.parse(path.read_text()) for path in (FORMATS / kernel).glob("*.format")}


# ---- flags


@pytest.mark.parametrize("kernel", WITH_TOUCHES)
def test_every_kind_is_told_by_a_kernel_with_all_tracepoints(kernel: str) -> None:
    found, probes, kinds = flags(formats(kernel))
    assert set(kinds) == set(KINDS) - {"", "window"}
    assert len(kinds) == len(set(kinds))
    assert {probe.function for probe in probes} == set(re.findall(r"^(?:int |TOUCH\()(on_\w+)", SOURCE, re.M))
    assert {flag.partition("=")[0] for flag in found} == {f"-D{name}" for name in set(re.findall(r"AT_\w+", SOURCE))}


@pytest.mark.parametrize("kernel", WITH_TOUCHES)
def test_the_flags_are_where_the_format_files_say(kernel: str) -> None:
    found = dict(flag.removeprefix("-DAT_").split("=", 1) for flag in flags(formats(kernel))[0])
    for source in _SOURCES:
        for flag, name in source.fields:
            place = re.search(rf"field:[^;]*\b{name};\s+offset:(\d+);\s+size:(\d+);", text(kernel, source.tracepoint))
            assert place, (source.tracepoint, name)
            assert found[flag] == f"FIELD(u{8 * int(place[2])},{place[1]})"


def test_the_flags_of_one_kernel_in_full() -> None:
    found, _, _ = flags({name: parsed for name, parsed in formats("6.12").items() if name in ("kvm_pio", "kvm_mmio")})
    assert found == [
        "-DAT_PIO_PORT=FIELD(u32,12)",
        "-DAT_PIO_RW=FIELD(u32,8)",
        "-DAT_PIO_SIZE=FIELD(u32,16)",
        "-DAT_MMIO_GPA=FIELD(u64,16)",
        "-DAT_MMIO_TYPE=FIELD(u32,8)",
        "-DAT_MMIO_LEN=FIELD(u32,12)",
    ]


@pytest.mark.parametrize("kernel", X86)
def test_what_all_need_is_in_every_kernel(kernel: str) -> None:
    found, probes, kinds = flags({name: parsed for name, parsed in formats(kernel).items() if name != "kvm_pio"})
    assert "io" not in kinds and "on_pio" not in {probe.function for probe in probes}
    names = {flag.removeprefix("-DAT_").partition("=")[0] for flag in found}
    assert names >= {
        "EXIT_REASON",
        "EXIT_RIP",
        "EXIT_ISA",
        "EXIT_INFO",
        "EXIT_INFO2",
        "USER_REASON",
        "USER_ERRNO",
    }
    assert ("vector" in kinds) == ("intr_info" in text(kernel).partition("print fmt")[0])


def test_a_tracepoint_without_a_field_or_with_one_of_no_number_is_left_out() -> None:
    whole = text("6.12", "kvm_msr")
    without = Tracepoint.parse(whole.replace(" ecx;", " other;"))
    odd = Tracepoint.parse(re.sub(r"(ecx;\s+offset:\d+;\s+size:)4", r"\g<1>16", whole))
    for broken in (without, odd, None):
        found, probes, kinds = flags({"kvm_msr": broken})
        assert "msr" not in kinds and not [flag for flag in found if "MSR" in flag]
        assert "on_msr" not in {probe.function for probe in probes}
    assert "msr" in flags({"kvm_msr": Tracepoint.parse(whole)})[2]


# ---- numbers and structures that C and Python share


@pytest.mark.parametrize(
    ("name", "dtype"), [("row", TOUCH), ("slow", SLOW), ("tally", TALLY), ("config", CONFIG)], ids=lambda x: str(x)[:6]
)
def test_structures_are_the_same_byte_for_byte(name: str, dtype: np.dtype[np.void]) -> None:
    c.same(c.fields(SOURCE, name), dtype)


def test_a_row_begins_with_its_key() -> None:
    key = c.fields(SOURCE, "key")
    assert c.fields(SOURCE, "row")[: len(key)] == key
    assert sum(size for _, _, size in key) == detail.KEY_SIZE


def test_kinds_are_those_of_the_c_text() -> None:
    assert set(re.findall(r"KIND_(\w+)", SOURCE)) == {k.upper() for k in KINDS if k}
    assert re.search(rf"^#define KINDS {len(KINDS)}$", SOURCE, re.M)
    assert len(KINDS) <= 32  # a bit each in config.kinds
    assert [HIT, WASTED, UNPOLLED] == [0, 1, 2]
    assert "enum { HIT, WASTED, UNPOLLED };" in SOURCE
    bits = ("SAMPLED", "WRITE", "FETCH", "PRESENT", "ABSENT", "RESERVED", "WALK", "LOGGED")
    told = {name: int(value) for name, value in re.findall(r"^#define ([A-Z]+) (\d+)(?: |$)", SOURCE, re.M)}
    assert [told[bit] for bit in bits] == [getattr(vocabulary, bit) for bit in bits]
    assert {kind for source in _SOURCES for kind in source.kinds} < set(KINDS)
    assert set(EVENTS) == set(KINDS) - {"", "window"} and len(set(EVENTS)) == len(EVENTS)
    assert set(EVENTS) >= TOUCHED
    assert FIRST_OCTAVE == 5


# ---- the programs, in the kernel

loads = pytest.mark.skipif(os.geteuid() != 0 or not privileges.may_load_bpf(), reason="only root loads BPF programs")
ISA, CPUID, HLT, IO, USER_HLT = 2, 0x72, 0x78, 0x7B, 5
# What no other code in this process calls, and what does nothing but fail; kvm_exit and its like are machine.py's.
MOST, LEAST, GETPRIORITY, MINCORE, CANCEL, SUBMIT = 146, 147, 140, 27, 210, 209
ON = {
    "timer_settime": (
        "on_exit",
        [
            "EXIT_REASON=FIELD(u32,16)",
            "EXIT_RIP=0xffffffff81000010ULL",
            "EXIT_ISA=FIELD(u32,24)",
            "EXIT_VCPU=3",
            "EXIT_INFO=11",
            "EXIT_INFO2=12",
        ],
    ),
    "timer_delete": ("on_entry", []),
    "mq_notify": ("on_user", ["USER_REASON=FIELD(u32,16)", "USER_ERRNO=FIELD(s32,24)"]),
    "sched_get_priority_max": ("on_pio", ["PIO_PORT=FIELD(u32,16)", "PIO_RW=1", "PIO_SIZE=2"]),
    "sched_get_priority_min": ("on_msr", ["MSR_INDEX=FIELD(u32,16)", "MSR_WRITE=0"]),
    "getpriority": ("on_wakeup", []),
    "mincore": ("on_poll", ["POLL_NEW=FIELD(u32,16)"]),
    "io_cancel": ("on_fault", ["FAULT_ADDRESS=FIELD(u64,16)", "FAULT_ERROR=FIELD(u64,24)"]),
    "io_submit": ("on_fixed", ["FIXED_OLD=FIELD(u64,16)", "FIXED_NEW=FIELD(u64,24)"]),
}
# What KVM has polled so far: two numbers in the kernel's memory that this process may set, limits that limit nothing.
POLLED = {"HIT": 10, "MISS": resource.RLIMIT_MSGQUEUE}  # RLIMIT_LOCKS: without a use since Linux 2.4.25


def port(number: int) -> None:
    call(MOST, number)


def polled(hit: int, miss: int) -> None:
    """So many ns so far, of polls that hit and of others."""
    for which, ns in (("HIT", hit), ("MISS", miss)):
        resource.setrlimit(POLLED[which], (ns, resource.getrlimit(POLLED[which])[1]))


@pytest.fixture(scope="module")
def collecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with machine(tmp_path_factory.mktemp("detail"), "notes", pids=[os.getpid()], threads=16) as one:
        yield one


@pytest.fixture(scope="module", params=[True, False], ids=["mapped", "by system call"])
def loaded(request: pytest.FixtureRequest, collecting: Collector) -> Iterator[Detail]:
    probes = [Probe("syscalls", f"sys_enter_{name}", function) for name, (function, _) in ON.items()]
    found = [f"-DAT_{flag}" for _, them in ON.values() for flag in them]
    with btf.load() as types:
        signal = types.offset("task_struct", "signal") if types else None
        limits = types.offset("signal_struct", "rlim") if types else None
    if signal is None or limits is None:
        pytest.skip("this kernel does not tell its types")
    account = [f"-DTASK_NOTES={signal}", *(f"-DNOTE_{name}={limits + 16 * which}" for name, which in POLLED.items())]
    before = [(which, resource.getrlimit(which)) for which in POLLED.values()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detail, "flags", lambda formats: (found, probes, ["io", "msr", "rip", "user", "poll", "fault"]))
        patch.setattr(detail, "polling", lambda: account)
        one = Detail([os.getpid()], collecting.shared(), use_mmap=request.param)
    yield one
    one.close()
    for which, limit in before:
        resource.setrlimit(which, limit)


@pytest.fixture
def anew(loaded: Detail) -> Detail:
    """Nobody looks, nothing is left of the test before."""
    enter()
    loaded.look(None)
    return loaded


def rows(details: Details | None) -> dict[tuple[str, int, int], np.void]:
    assert details is not None
    assert set(details.touched["id"].tolist()) <= {os.getpid() << 32 | threading.get_native_id()}
    return {(KINDS[row["kind"]], int(row["value"]), int(row["extra"])): row for row in details.touched}


EVERYTHING = DetailRequest(frozenset(KINDS) - {""})


def test_each_event_counts_and_each_exit_is_timed_once(anew: Detail) -> None:
    anew.look(EVERYTHING)
    start = time.monotonic_ns()
    for _ in range(3):
        leave(IO)
        port(0x3F8)
        port(0x3F8)
        time.sleep(0.002)
        enter()
    between = time.monotonic_ns() - start
    leave(IO)
    port(0x60)  # still open
    found = rows(anew.read())
    assert set(found) == {("io", 0x3F8, 0x201), ("io", 0x60, 0x201), ("rip", 0xFFFFFFFF81000010, 0)}
    com = found["io", 0x3F8, 0x201]
    assert com["blocked"] > 5_000_000 and com["blocked"] + com["wait"] < com["total"]
    assert (com["count"], com["exits"], com["hist"].sum()) == (6, 3, 3)
    assert 6_000_000 <= com["total"] <= between and com["user"] == 0
    assert 2_000_000 <= com["max"] <= com["total"] and com["hist"][bucket_of(float(com["max"]))] >= 1
    code = found["rip", 0xFFFFFFFF81000010, 0]
    assert (code["count"], code["exits"], code["total"]) == (4, 3, com["total"])
    assert [int(found["io", 0x60, 0x201][name]) for name in ("count", "exits", "total")] == [1, 0, 0]


def test_an_exit_is_divided_by_the_collectors_states(anew: Detail, collecting: Collector) -> None:
    anew.look(DetailRequest(frozenset({"io", "user"})))
    for reason in (2, USER_HLT):
        leave(IO)
        port(reason)
        spin(2)
        to_user(reason)
        spin(3)
        time.sleep(0.004)
        enter()
    leave(IO)
    port(7)
    enter()  # so soon that it is all the kernel's
    found = rows(anew.read())
    for reason, asleep in ((2, "blocked"), (USER_HLT, "idle")):
        row = found["io", reason, 0x201]
        parts = {state: int(row[state]) for state in OUTSIDE[1:] if row[state]}
        kernel = int(row["total"]) - sum(parts.values())
        assert set(parts) - {"wait"} == {"user", asleep} and kernel < 50_000_000
        # Not each without the wait: see spun() in test_machine.py.
        wait = parts.get("wait", 0)
        assert kernel + wait >= 2_000_000 and parts["user"] + wait >= 3_000_000
        # Its 4 ms begin before it is switched out, when it is in user space still.
        assert parts["user"] + wait + parts[asleep] >= 7_000_000 and parts[asleep] > 2_000_000
        assert {state: int(found["user", reason, 0][state]) for state in parts} == parts
    quick = found["io", 7, 0x201]
    assert quick["total"] > 0 and not any(quick[state] for state in OUTSIDE[1:] if state != "wait")
    assert found["user", 2, 0]["count"] == found["user", USER_HLT, 0]["count"] == 1
    # The same, to the nanosecond, as the collector's own cell has it; but each has its own time of the exit.
    mine = cells(collecting, os.getpid(), threading.get_native_id())
    last = mine[mine["reason"] == IO]
    assert all(
        last[state].sum() >= sum(int(row[state]) for (kind, _, _), row in found.items() if kind == "io")
        for state in OUTSIDE[1:]
    )


def test_a_signal_has_no_reason(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"user"})))
    leave(IO)
    to_user(2, error=-4)
    enter()
    assert set(rows(anew.read())) == {("user", 0, 1)}


def test_only_the_kinds_and_the_reason_that_are_looked_at(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"io"}), only=(ISA, CPUID)))
    for reason in (IO, CPUID, IO):
        leave(reason)
        port(reason)
        call(LEAST, 0x10)
        enter()
    port(0x99)  # in the guest, of no exit
    assert set(rows(anew.read())) == {("io", CPUID, 0x201)}


def test_an_exit_left_open_when_nobody_looked_is_not_timed(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"io"}), slow_ns=1))
    leave(IO)
    port(1)
    anew.look(DetailRequest(frozenset({"io", "msr"}), slow_ns=1))
    time.sleep(0.002)
    port(2)
    enter()  # of the exit that began under the other look
    details = anew.read()
    assert details is not None and not len(details.slow)
    assert {key: (row["count"], row["exits"]) for key, row in rows(details).items()} == {("io", 2, 0x201): (1, 0)}
    leave(IO)
    port(2)
    enter()
    details = anew.read()
    assert {key: (row["count"], row["exits"]) for key, row in rows(details).items()} == {("io", 2, 0x201): (2, 1)}
    assert details is not None and len(details.slow) == 1


def test_another_threshold_takes_no_probe_off(anew: Detail, monkeypatch: pytest.MonkeyPatch) -> None:
    anew.look(DetailRequest(frozenset({"io"}), slow_ns=10**9))
    first = anew.read()
    leave(IO)
    port(7)
    monkeypatch.setattr(anew._probes, "detach", lambda: pytest.fail("detached"))
    monkeypatch.setattr(anew._probes, "attach", lambda *_: pytest.fail("attached"))
    anew.look(DetailRequest(frozenset({"io"}), slow_ns=1))
    enter()
    details = anew.read()
    assert first is not None and details is not None
    assert details.since_ns == first.since_ns and details.look.slow_ns == 1
    assert rows(details)["io", 7, 0x201]["exits"] == 1 and len(details.slow) == 1


def test_slow_exits_one_by_one(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"io"}), slow_ns=200_000_000))  # no busy machine delays the others so long
    for reason, pause in ((CPUID, 0), (IO, 0.3), (HLT, 0.3), (CPUID, 0.25)):
        leave(reason)
        if reason == IO:
            port(0x3F8)
            to_user()
        elif reason == HLT:
            to_user(USER_HLT)
        time.sleep(pause)
        enter()
    details = anew.read()
    assert details is not None
    first, second = details.slow  # what is halted is never slow
    assert [int(first[name]) for name in ("reason", "isa", "vcpu", "rip", "info1", "info2", "value", "extra")] == [
        IO,
        ISA,
        3,
        0xFFFFFFFF81000010,
        11,
        12,
        0x3F8,
        0x201,
    ]
    assert KINDS[first["kind"]] == "io" and 300_000_000 <= first["blocked"] <= first["ns"] - first["user"]
    assert 0 < first["user"] < 100_000_000 and first["idle"] == 0
    assert (int(second["reason"]), KINDS[second["kind"]], int(second["user"])) == (CPUID, "", 0)
    assert 250_000_000 <= second["blocked"] < second["ns"]
    assert first["time_ns"] < second["time_ns"] <= time.monotonic_ns() and second["ns"] >= 250_000_000
    assert details.undelivered == 0 and not len(anew.slow())


def test_a_burst_of_slow_exits_is_bounded_and_what_is_overwritten_counted(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"io"}), slow_ns=1))
    before = anew.read()
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        for _ in range(detail.RING + 36):
            leave(IO)
            enter()
    finally:
        os.sched_setaffinity(0, cpus)
    details = anew.read()
    assert before is not None and details is not None
    assert len(details.slow) == detail.RING and details.undelivered - before.undelivered == 36
    assert (np.diff(details.slow["time_ns"].astype("i8")) > 0).all()


def test_halts_and_their_polls(anew: Detail) -> None:
    def halt(hit: int, miss: int, window: int | None = None) -> None:
        leave(HLT)
        polled(hit, miss)
        if window is not None:
            call(MINCORE, window)
        call(GETPRIORITY)
        enter()

    anew.look(DetailRequest(frozenset({"poll", "window"})))
    halt(100_000, 200_000)  # nobody knows how much of it is new
    halt(103_000, 200_000)
    halt(103_000, 205_000, 20_000)
    halt(103_000, 225_000)
    halt(103_000, 225_000, 0)
    found = {key: row for (kind, key, _), row in rows(anew.read()).items() if kind == "poll"}
    assert {key: (int(row["count"]), int(row["total"])) for key, row in found.items()} == {
        HIT: (1, 3_000),
        WASTED: (2, 25_000),
        UNPOLLED: (1, 0),
    }
    window = rows(anew.read())["window", 0, 0]
    assert (window["max"], window["count"]) == (0, 2)


@pytest.mark.parametrize(
    ("isa", "reason", "sampled"),
    [(2, 0x60, 1), (2, 0x61, 0), (2, 1, 0), (1, 1, 1), (1, 1 | 1 << 26, 1), (1, 0x60, 0), (1, 0, 0)],
)
def test_guest_code_at_the_hosts_own_interrupts_is_a_sample(anew: Detail, isa: int, reason: int, sampled: int) -> None:
    anew.look(DetailRequest(frozenset({"rip"})))
    leave(reason, isa=isa)
    enter()
    assert set(rows(anew.read())) == {("rip", 0xFFFFFFFF81000010, sampled)}


VMX_EPT, SVM_NPF = (1, 48), (2, 0x400)


@pytest.mark.parametrize(
    ("reason", "code", "spte", "extra"),
    [
        (SVM_NPF, 0x1_0000_0004, None, ABSENT),
        (SVM_NPF, 0x1_0000_0006, None, WRITE | ABSENT),
        (SVM_NPF, 0x1_0000_0007, None, WRITE | PRESENT),
        (SVM_NPF, 0x1_0000_0007, (0x5, 0x7), WRITE | PRESENT | LOGGED),
        (SVM_NPF, 0x1_0000_0007, (0x5, 0x5), WRITE | PRESENT),  # it was not KVM's to make writable
        (SVM_NPF, 0x1_0000_0007, (0x7, 0x7), WRITE | PRESENT),  # another vCPU was faster
        (SVM_NPF, 0x1_0000_0015, None, FETCH | PRESENT),
        (SVM_NPF, 0x1_0000_000D, None, RESERVED | PRESENT),
        (SVM_NPF, 0x1_0000_000F, (0x5, 0x7), WRITE | RESERVED | PRESENT),
        (SVM_NPF, 0x2_0000_0007, (0x5, 0x7), WRITE | PRESENT | WALK | LOGGED),
        (VMX_EPT, 0x181, None, ABSENT),
        (VMX_EPT, 0x1A2, None, WRITE | PRESENT),
        (VMX_EPT, 0x1AA, (0x5, 0x7), WRITE | PRESENT | LOGGED),
        (VMX_EPT, 0x18A, None, WRITE | PRESENT),  # readable
        (VMX_EPT, 0x1A4, None, FETCH | PRESENT),  # executable
        (VMX_EPT, 0x184, None, FETCH | ABSENT),
        (VMX_EPT, 0x083, None, WRITE | WALK | ABSENT),
        (VMX_EPT, 0x001, None, ABSENT),  # bit 8 says nothing without bit 7
        ((1, 0), 0x12, None, WRITE | FETCH | ABSENT),  # #PF, with ept=0: a page fault's own code
        (None, 0x7, (0x5, 0x7), WRITE),  # of no exit
    ],
)
def test_a_page_fault_by_its_error_code(
    anew: Detail, reason: tuple[int, int] | None, code: int, spte: tuple[int, int] | None, extra: int
) -> None:
    anew.look(DetailRequest(frozenset({"fault"})))
    if reason:
        leave(reason[1], isa=reason[0])
    call(CANCEL, 0x12345678, code)
    if spte:
        call(SUBMIT, *spte)
    enter()
    ((key, row),) = rows(anew.read()).items()
    assert key == ("fault", 0x12345000, extra)
    assert (row["count"], row["exits"]) == (1, 1 if reason else 0)


def test_what_kvm_says_of_one_fault_is_not_taken_for_another(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"fault"})))
    leave(0x400)
    call(CANCEL, 0x1000, 0x7)  # of an exit that ends without an entry
    leave(CPUID)
    enter()
    for code, spte in ((0x7, None), (0x6, (0x5, 0x7)), (0x7, (0x5, 0x7))):
        leave(0x400)
        call(SUBMIT, 0x5, 0x7)  # before there is a fault
        call(CANCEL, 0x1000, code)
        if spte:
            call(SUBMIT, *spte)
        enter()
    extras = {extra: int(row["count"]) for (_, _, extra), row in rows(anew.read()).items()}
    assert extras == {WRITE | PRESENT: 1, WRITE | ABSENT: 1, WRITE | PRESENT | LOGGED: 1}


def test_a_new_look_starts_from_nothing(anew: Detail) -> None:
    for look in (DetailRequest(frozenset({"io"})), DetailRequest(frozenset({"io"}), only=(ISA, IO))):
        anew.look(look)
        details = anew.read()
        assert details is not None and not len(details.touched) and not details.dropped and details.look == look
        assert 0 <= time.monotonic_ns() - details.since_ns < 1_000_000_000
        leave(IO)
        port(5)
        enter()
        assert rows(anew.read())["io", 5, 0x201]["count"] == 1
    anew.look(None)
    leave(IO)
    port(5)
    assert anew.read() is None


def test_when_rows_run_short_the_lightest_are_given_up_and_counted(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"io"})))
    many = ROWS - ROWS // 4 + 100
    leave(IO)
    for number in range(many):
        port(number)
        if number >= many // 2:
            port(number)
    first, second, third = anew.read(), anew.read(), anew.read()
    assert first is not None and second is not None and third is not None
    assert len(first.touched) == many and not first.dropped
    assert len(second.touched) == many - many // 2
    assert second.dropped == third.dropped == {"io": many // 2}
    assert (second.touched["count"] == 2).all()  # the heavier half stays
    assert set(second.touched_ids.tolist()) < set(first.touched_ids.tolist())
    port(0)  # comes back: on a row given up, under another id
    fourth = anew.read()
    assert fourth is not None and len(fourth.touched) == len(third.touched) + 1
    assert len(set(fourth.touched_ids.tolist()) - set(first.touched_ids.tolist())) == 1
    whole = fourth.touched["count"].sum() + sum(fourth.dropped.values())
    assert whole == many + many - many // 2 + 1


def test_without_any_room_events_are_counted(anew: Detail) -> None:
    anew.look(DetailRequest(frozenset({"io", "rip"})))
    leave(IO)
    for number in range(ROWS + 10):
        port(number)
    details = anew.read()
    assert details is not None and len(details.touched) == ROWS - 1  # row 0 is none
    assert details.dropped == {"io": ROWS + 10 - (ROWS - 2)}


@loads
def test_it_loads_and_attaches_on_this_kernel_with_all_kinds(collecting: Collector) -> None:
    if not Path("/sys/kernel/tracing/events/kvm/kvm_exit").exists():
        pytest.skip("this kernel has no KVM")
    before = len(os.listdir("/proc/self/fd"))
    one = Detail((), collecting.shared())
    assert set(one.kinds) >= {"io", "msr", "mmio", "cpuid", "fault", "user", "rip", "poll"}
    one.look(EVERYTHING)
    details = one.read()
    assert details is not None and not len(details.touched)
    one.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert kernel.possible_cpus() > 0
