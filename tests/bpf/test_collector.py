from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from kvmtop.bpf import collector, thread_rows
from kvmtop.bpf.collector import CPU, _offsets, _Rows
from kvmtop.bpf.tracepoint import Tracepoint
from kvmtop.errors import KvmtopError
from kvmtop.model.arrays import Array
from kvmtop.model.exit_stats import add_by_reason
from kvmtop.model.snapshot import CELL, THREAD
from kvmtop.model.vocabulary import OUTSIDE, STATES, SVM, VMX

from ..support.formats import X86, parsed, text
from . import c

EVENTS = ("kvm_exit", "kvm_entry", "kvm_userspace_exit")
FPU = Tracepoint.parse(
    "name: kvm_fpu\nID: 1\nformat:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"
    "\tfield:u32 load;\toffset:8;\tsize:4;\tsigned:0;\n\n"  # the same in all kernels
    'print fmt: "%s", __print_symbolic(REC->load, {0, "unload"}, {1, "load"})\n'
)
HERE = Path(collector.__file__).parent
PROGRAM, HEADER = (HERE / "collector.bpf.c").read_text(), (HERE / "thread.h").read_text()


def offsets(kernel: str, event: str = "", given: str = "") -> list[str]:
    """The flags for a kernel, with another text for this event's format file."""
    formats = {e: Tracepoint.parse(given) if e == event else parsed(kernel, e) for e in EVENTS}
    return _offsets({**formats, "kvm_fpu": FPU})


def lines(given: str, without: str) -> str:
    return "".join(line for line in given.splitlines(keepends=True) if f" {without};" not in line)


# _offsets


@pytest.mark.parametrize("kernel", X86)
def test_offsets(kernel: str) -> None:
    assert offsets(kernel) == [
        "-DEXIT_REASON=8",
        "-DEXIT_ISA=24",
        f"-DEXIT_VCPU={48 if kernel == '5.4' else 56}",
        "-DUSER_REASON=8",
        "-DUSER_ERRNO=12",
        "-DFPU_LOAD=8",
    ]


def test_offsets_where_only_kvm_entry_has_the_vcpu() -> None:
    found = offsets("5.4", "kvm_exit", lines(text("5.4"), without="vcpu_id"))
    assert found[-1] == "-DENTRY_VCPU=8"
    assert not any(flag.startswith("-DEXIT_VCPU") for flag in found)


def test_offsets_without_isa() -> None:
    found = offsets("6.12", "kvm_exit", lines(text("6.12"), without="isa"))
    assert "-DEXIT_REASON=8" in found
    assert not any(flag.startswith("-DEXIT_ISA") for flag in found)


def test_arm64_is_refused_in_one_sentence() -> None:
    with pytest.raises(KvmtopError, match="kvmtop reads the exits of x86 hosts only") as error:
        offsets("arm64")
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("event", "field", "size"),
    [
        ("kvm_exit", "exit_reason", 4),
        ("kvm_exit", "isa", 4),
        ("kvm_exit", "vcpu_id", 4),
        ("kvm_userspace_exit", "reason", 4),
        ("kvm_userspace_exit", "errno", 4),
    ],
)
def test_a_field_of_another_size_is_refused(event: str, field: str, size: int) -> None:
    given = "".join(
        line.replace(f"size:{size};", "size:2;") if f" {field};" in line else line
        for line in text("6.12", event).splitlines(keepends=True)
    )
    with pytest.raises(KvmtopError, match=f"the field {field} of {event} is not"):
        offsets("6.12", event, given)


@pytest.mark.parametrize(("event", "field"), [("kvm_exit", "exit_reason"), ("kvm_userspace_exit", "errno")])
def test_a_needed_field_that_is_missing(event: str, field: str) -> None:
    with pytest.raises(KvmtopError, match=f"the field {field} of {event} is not"):
        offsets("6.12", event, lines(text("6.12", event), without=field))


def test_kvm_fpu_without_its_field() -> None:
    formats = {event: parsed("6.12", event) for event in EVENTS}
    with pytest.raises(KvmtopError, match="the field load of kvm_entry is not"):
        _offsets({**formats, "kvm_fpu": formats["kvm_entry"]})


@pytest.mark.parametrize("kernel", [*X86, "arm64"])
@pytest.mark.parametrize("event", EVENTS)
def test_a_cut_format_gives_good_offsets_or_one_error(kernel: str, event: str) -> None:
    whole = text(kernel, event)
    for end in range(0, len(whole), 200):
        try:
            found = offsets(kernel, event, whole[:end])
        except KvmtopError:
            continue
        assert set(found) <= {"-DENTRY_VCPU=8", *offsets(kernel)}


# Structures and numbers that C and Python share


@pytest.mark.parametrize(
    ("text", "name", "dtypes"),
    [
        (HEADER, "thread", (thread_rows.HEAD, np.dtype([("cells", "u4", (64,))]))),
        (HEADER, "cpu", (CPU,)),
        (PROGRAM, "cell", (CELL,)),
    ],
    ids=["thread", "cpu", "cell"],
)
def test_structures_are_the_same_byte_for_byte(text: str, name: str, dtypes: tuple[np.dtype[np.void], ...]) -> None:
    c.same(c.fields(text, name), *dtypes)


def test_rows_are_the_whole_structure() -> None:
    row = thread_rows.ROW
    assert row.itemsize == sum(size for _, _, size in c.fields(HEADER, "thread"))
    assert row.fields and row.fields["head"][1] == 0 and row.fields["cells"][1] == thread_rows.HEAD.itemsize
    assert CPU.itemsize == 64  # a cache line


def test_states_are_those_of_the_c_text() -> None:
    numbered = re.search(r"enum state \{ (.*), STATES \};", HEADER)
    assert numbered and tuple(numbered[1].lower().split(", ")) == STATES
    assert [getattr(thread_rows, state.upper()) for state in STATES] == list(range(len(STATES)))
    assert STATES[1:] == OUTSIDE and OUTSIDE[0] == "kernel"  # which no part of C is about
    assert "#define UNSEEN 1 " in HEADER and thread_rows.UNSEEN == 1
    assert "#define ENDED (1ULL << 63)" in HEADER and int(thread_rows.ENDED) == 1 << 63


# Cells and threads


def cell(isa: int, reason: int, count: int, low: int = 1, high: int = 9, thread: int = 0) -> Array:
    made = np.zeros(1, CELL)
    made["isa"], made["reason"], made["thread"] = isa, reason, thread
    made["count"], made["total"], made["user"] = count, 100 * count, 10 * count
    made["min"], made["max"] = low, high
    made["wait"] = 7 * count
    made["hist"][0, [3, 127]] = count, 1
    return made


def test_add_by_reason() -> None:
    cells = np.concatenate(
        [
            cell(SVM, 0x78, 1, low=50, high=70),
            cell(SVM, 0xFFFF_FFFF, 2),
            cell(SVM, 0x78, 5, low=60, high=2**40, thread=3),
            cell(VMX, 0x78, 7),
            cell(SVM, 0x7A, 4),
        ]
    )
    before = cells.copy()
    sums = {(int(row["isa"]), int(row["reason"])): row for row in add_by_reason(cells)}
    assert {key: int(row["count"]) for key, row in sums.items()} == {
        (SVM, 0x78): 6,
        (SVM, 0xFFFF_FFFF): 2,
        (VMX, 0x78): 7,
        (SVM, 0x7A): 4,
    }
    hlt = sums[SVM, 0x78]
    assert (hlt["total"], hlt["user"], hlt["wait"], hlt["min"], hlt["max"]) == (600, 60, 42, 50, 2**40)
    assert (hlt["hist"][3], hlt["hist"][127], hlt["hist"].sum()) == (6, 2, 8)
    assert (cells == before).all()


def test_add_by_reason_again_and_of_nothing() -> None:
    once = add_by_reason(np.concatenate([cell(VMX, 12, 1), cell(VMX, 12, 2), cell(VMX, 30, 3)]))
    assert (add_by_reason(once) == once).all()
    assert len(add_by_reason(np.zeros(0, CELL))) == 0


def rows(*tids: int, cells: list[tuple[int, int]]) -> _Rows:
    """Threads with these ids, and a cell for each (position of its thread, reason)."""
    threads = np.zeros(len(tids), THREAD)
    threads["id"] = tids
    made = [cell(VMX, reason, 1, thread=thread) for thread, reason in cells]
    return _Rows(
        threads,
        np.concatenate(made) if made else np.zeros(0, CELL),
        np.array([1000 + tid for tid in tids], "u8"),
        np.array([2000 + reason for _, reason in cells], "u8"),
    )


def owners(given: _Rows) -> list[tuple[int, int]]:
    """(thread id, reason) of each cell; the ids must go with their rows."""
    assert given.thread_ids.tolist() == (given.threads["id"] + 1000).tolist()
    assert given.cell_ids.tolist() == (given.cells["reason"] + 2000).tolist()
    return list(zip(given.threads["id"][given.cells["thread"]].tolist(), given.cells["reason"].tolist(), strict=True))


def test_join() -> None:
    first, second = rows(1, 2, cells=[(0, 10), (1, 20), (0, 11)]), rows(3, 4, cells=[(1, 40), (0, 30)])
    joined = first.join(second)
    assert joined.threads["id"].tolist() == [1, 2, 3, 4]
    assert owners(joined) == [(1, 10), (2, 20), (1, 11), (4, 40), (3, 30)]
    assert owners(second) == [(4, 40), (3, 30)]  # unchanged


def test_join_with_nothing() -> None:
    some, none = rows(1, 2, cells=[(1, 20)]), rows(cells=[])
    assert owners(some.join(none)) == owners(none.join(some)) == [(2, 20)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([True, False, True], [(3, 30), (1, 10), (1, 11)]),
        ([False, True, False], [(2, 20)]),
        ([False, False, False], []),
        ([True, True, True], [(3, 30), (1, 10), (2, 20), (1, 11)]),
    ],
)
def test_pick(wanted: list[bool], expected: list[tuple[int, int]]) -> None:
    given = rows(1, 2, 3, cells=[(2, 30), (0, 10), (1, 20), (0, 11)])
    picked = given.pick(np.array(wanted))
    assert owners(picked) == expected
    assert picked.threads["id"].tolist() == [tid for tid, want in zip((1, 2, 3), wanted, strict=True) if want]
    assert owners(given) == [(3, 30), (1, 10), (2, 20), (1, 11)]  # unchanged
