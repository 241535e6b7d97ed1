"""Which way the scheduler's events are taken, where some of what it needs is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from kvmtop.bpf import sched, syscalls
from kvmtop.bpf.btf import TYPEDEF
from kvmtop.bpf.sched import _block
from kvmtop.bpf.tracepoint import Tracefs, Tracepoint
from kvmtop.model.vocabulary import STATES

TASK = {"pid": 1264, "tgid": 1268, "__state": 24, "preempt_notifiers.first": 768, "se.cfs_rq": 296}
VCPU = {"preempt_notifier.link": 40, "wait.task": 144, "vcpu_id": 68}
NEW = {"rq": 312, "throttled_clock_self": 400, "throttled_clock_self_time": 408}
PELT = {"rq": 312, "throttled_clock_pelt": 400, "throttled_clock_pelt_time": 408, "throttle_count": 416}
OLD = {"rq": 312, "throttled_clock_task": 400, "throttled_clock_task_time": 408, "throttle_count": 416}
RQ = {"clock": 2776, "clock_pelt": 2784, "lost_idle_time": 2792, "clock_task": 2800}
BLOCK = ["-DBLOCK_AT=4096ULL", "-DBLOCK_SIZE=64"]
NOTES = ["-DTASK_NOTES=768", "-DNOTE_TASK=104", "-DNOTE_VCPU=(28)"]
SWITCH = """name: sched_switch
ID: 1
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;
\tfield:int prev_prio;\toffset:28;\tsize:4;\tsigned:1;
\tfield:long prev_state;\toffset:32;\tsize:8;\tsigned:1;
\tfield:char next_comm[16];\toffset:40;\tsize:16;\tsigned:0;
\tfield:pid_t next_pid;\toffset:56;\tsize:4;\tsigned:1;

print fmt: "x"
"""
WAKE = """name: sched_wakeup
ID: 2
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;
\tfield:pid_t pid;\toffset:24;\tsize:4;\tsigned:1;

print fmt: "x"
"""


class Types:
    """A made-up Btf: structure → member → offset."""

    def __init__(self, **structures: dict[str, int]) -> None:
        self.structures = {"task_struct": TASK, "kvm_vcpu": VCPU, "cfs_rq": NEW, "rq": RQ} | structures
        self.ids = {"btf_trace_sched_switch": 501, "btf_trace_sched_wakeup": 502}

    def id(self, name: str, kind: int) -> int | None:
        return self.ids.get(name) if kind == TYPEDEF else None

    def offset(self, structure: str, path: str) -> int | None:
        return self.structures[structure].get(path)


Way = Callable[..., sched.Sched]


@pytest.fixture
def way(monkeypatch: pytest.MonkeyPatch) -> Way:
    """sched() with these types, format files, and address of kvm_vcpu_block."""

    def found(
        types: Types | None,
        block: list[str] | None = BLOCK,
        events: dict[str, str] | None = None,
        can_run: bool = True,
        reads: bool = True,
    ) -> sched.Sched:
        texts = {"sched_switch": SWITCH, "sched_wakeup": WAKE} if events is None else events

        def format(self: Tracefs, category: str, name: str) -> Tracepoint | None:
            assert category == "sched"
            return Tracepoint.parse(texts[name]) if name in texts else None

        monkeypatch.setattr(sched, "_block", lambda: block)
        monkeypatch.setattr(syscalls, "can_run", lambda: can_run)
        monkeypatch.setattr(syscalls, "may_read_kernel", lambda: reads)
        monkeypatch.setattr(Tracefs, "__init__", lambda self: None)
        monkeypatch.setattr(Tracefs, "format", format)
        return sched.sched(Tracefs(), cast(Any, types))

    return found


def without(given: dict[str, int], *names: str) -> dict[str, int]:
    return {name: at for name, at in given.items() if name not in names}


def kinds(found: sched.Sched) -> list[tuple[str, str, str, int]]:
    return [(probe.name, probe.function, probe.kind, probe.type_id) for probe in found.probes]


TYPED = [("sched_switch", "on_switch", "typed", 501), ("sched_wakeup", "on_wake", "typed", 502)]
CLASSIC = [("sched_switch", "on_switch", "classic", 0), ("sched_wakeup", "on_wake", "classic", 0)]


def test_all_is_there(way: Way) -> None:
    found = way(Types())
    assert kinds(found) == TYPED and found.told == STATES
    assert list(found.flags) == [
        *("-DTYPED", "-DTASK_PID=1264", "-DTASK_TGID=1268", "-DTASK_STATE=24", *NOTES),
        *("-DTASK_CFS=296", "-DCFS_RQ=312", "-DCFS_SUM=408", "-DCFS_SINCE=400", "-DRQ_CLOCK=2776"),
    ]


def test_before_5_14_the_state_has_another_name(way: Way) -> None:
    assert "-DTASK_STATE=16" in way(Types(task_struct={**without(TASK, "__state"), "state": 16})).flags


def test_where_nobody_can_ask_in_between_what_is_withheld_is_not_told(way: Way) -> None:
    found = way(Types(), can_run=False)
    assert found.told == STATES[:-1] and not [flag for flag in found.flags if "CFS" in flag]


def test_where_the_kernel_is_locked_down_nothing_is_read_without_a_type(way: Way) -> None:
    found = way(Types(), reads=False)
    assert found.told == STATES[:-1] and set(BLOCK) < set(found.flags)
    assert not [flag for flag in found.flags if "CFS" in flag or "NOTE" in flag]


@pytest.mark.parametrize(
    ("cfs_rq", "clocks"),
    [
        (PELT, {"-DCFS_COUNT=416", "-DRQ_CLOCK=2784", "-DRQ_LOST=2792"}),
        (OLD, {"-DCFS_COUNT=416", "-DRQ_CLOCK=2800"}),
        (PELT | OLD | NEW, {"-DRQ_CLOCK=2776"}),  # the newest that there is
    ],
    ids=["5.19", "before", "all"],
)
def test_what_quotas_withhold_by_the_kernels_age(way: Way, cfs_rq: dict[str, int], clocks: set[str]) -> None:
    found = way(Types(cfs_rq=cfs_rq))
    assert found.told == STATES
    assert {flag for flag in found.flags if flag.startswith(("-DRQ_", "-DCFS_COUNT"))} == clocks
    assert {"-DCFS_SUM=408", "-DCFS_SINCE=400", "-DTASK_CFS=296"} <= set(found.flags)


@pytest.mark.parametrize(
    "types",
    [
        Types(cfs_rq={}),
        Types(cfs_rq=without(NEW, "throttled_clock_self")),
        Types(cfs_rq=without(NEW, "rq")),
        Types(cfs_rq=PELT, rq=without(RQ, "lost_idle_time")),
        Types(rq={}),
        Types(task_struct=without(TASK, "se.cfs_rq")),  # CONFIG_FAIR_GROUP_SCHED=n
    ],
)
def test_what_quotas_withhold_is_unknown(way: Way, types: Types) -> None:
    found = way(types)
    assert kinds(found) == TYPED and found.told == STATES[:-1]
    assert not [flag for flag in found.flags if "CFS" in flag or "RQ_" in flag]


@pytest.mark.parametrize(
    "types",
    [
        Types(kvm_vcpu={}),  # the module's types are missing
        *(Types(kvm_vcpu=without(VCPU, name)) for name in VCPU),  # wait.task: since 5.7
        Types(task_struct=without(TASK, "preempt_notifiers.first")),
    ],
)
def test_a_halt_is_told_by_the_stack_where_its_members_are_unknown(way: Way, types: Types) -> None:
    found = way(types)
    assert kinds(found) == TYPED and "by the kernel's stack" in found.how
    assert set(BLOCK) <= set(found.flags) and not [flag for flag in found.flags if "NOTE" in flag]
    # Without an address, either, only classic events are left, which cannot tell it any better.
    assert way(types, block=None).told == ("guest",)


def test_classic_events(way: Way) -> None:
    no_switch, no_wake = Types(), Types()
    del no_switch.ids["btf_trace_sched_switch"], no_wake.ids["btf_trace_sched_wakeup"]
    for types in (
        None,
        no_switch,
        no_wake,
        *(Types(task_struct=without(TASK, name)) for name in ("pid", "tgid", "__state")),
    ):
        found = way(types)
        assert kinds(found) == CLASSIC and found.told == STATES[:-1]
        assert list(found.flags) == [
            *(*BLOCK, "-DSWITCH_PREV=24", "-DSWITCH_STATE=32", "-DSWITCH_NEXT=56", "-DWAKE_PID=24")
        ]


@pytest.mark.parametrize(
    ("block", "events"),
    [
        (None, {"sched_switch": SWITCH, "sched_wakeup": WAKE}),
        (BLOCK, {"sched_switch": SWITCH}),
        (BLOCK, {"sched_wakeup": WAKE}),
        (BLOCK, {}),
        (BLOCK, {"sched_switch": SWITCH.replace("prev_state", "other"), "sched_wakeup": WAKE}),
        (BLOCK, {"sched_switch": SWITCH, "sched_wakeup": WAKE.replace(" pid;", " other;")}),
    ],
)
def test_nothing_but_the_guest_is_told(way: Way, block: list[str] | None, events: dict[str, str]) -> None:
    found = way(None, block, events)
    assert found == sched.Sched((), (), ("guest",), "no scheduler events")
    assert replace(found, how="") == replace(way(None, None), how="")


# kvm_vcpu_block in /proc/kallsyms

KALLSYMS = """\
ffffffff81000000 T _stext
ffffffffc0501000 t kvm_vcpu_block\t[kvm]
ffffffffc05010c0 t kvm_vcpu_halt\t[kvm]
ffffffffc0502000 t kvm_vcpu_kick\t[kvm]
"""


def block(folder: Path, text: str | bytes) -> list[str] | None:
    path = folder / "kallsyms"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return _block(path)


FOUND = [f"-DBLOCK_AT={0xFFFFFFFFC0501000}ULL", "-DBLOCK_SIZE=192"]


def test_where_kvm_vcpu_block_lies(tmp_path: Path) -> None:
    assert block(tmp_path, KALLSYMS) == FOUND
    assert block(tmp_path, "".join(reversed(KALLSYMS.splitlines(keepends=True)))) == FOUND  # in any order
    assert block(tmp_path, KALLSYMS.replace("\t[kvm]", "").replace(" t ", " T ")) == FOUND  # KVM is built in
    ended = KALLSYMS.replace("c05010c0 t kvm_vcpu_halt", "c05010c0 t kvm_vcpu_block.cold")
    assert block(tmp_path, ended) == FOUND  # another function, though of this one's making


def test_hostile_lines(tmp_path: Path) -> None:
    noise = "\n \nffffffffc0501001\nnothing at all\nzzzz t kvm_vcpu_block\n" + "f" * 100_000 + " t kvm_vcpu_block\n"
    more = "ffffffffc0501004 d some_data\t[kvm]\nffffffffc0501008 t\n-1 t kvm_vcpu_block\n"
    assert block(tmp_path, noise + KALLSYMS + more) == FOUND
    assert (
        block(tmp_path, b"\xff\xfe\0 t kvm_vcpu_block\n" + KALLSYMS.encode() + b"ffffffffc0501010 t \x80") is not None
    )
    for text in (
        "",
        KALLSYMS.replace("kvm_vcpu_block", "kvm_vcpu_block.part.0"),
        KALLSYMS.replace("kvm_vcpu_block", "my_kvm_vcpu_block"),
        KALLSYMS.replace(" t kvm_vcpu_block", " d kvm_vcpu_block"),
        "\n".join(f"{'0' * 16} t {name}" for name in ("kvm_vcpu_block", "kvm_vcpu_halt")),  # kernel.kptr_restrict
        KALLSYMS.splitlines()[1],  # nothing follows: how long it is, nobody knows
        KALLSYMS.replace("c05010c0", "c0601000").replace("c0502000", "c0601000"),  # so much is no function
    ):
        assert block(tmp_path, text) is None, text
    assert _block(tmp_path / "missing") is None
