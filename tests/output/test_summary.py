from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kvmtop.model.histogram import bucket_of
from kvmtop.model.snapshot import CELL, Snapshot
from kvmtop.model.vocabulary import NESTED, REFLECTED, SVM, UNKNOWN, VMX
from kvmtop.output import summary

from ..support.fake import Host
from ..support.hostile import disk_full

AMD = """
# AMD reasons are SVM_EXIT_* in linux/arch/x86/include/asm/svm.h
# reason(hex): count sum(us) min(us) avg(us) max(us)
"""
INTEL = """
# Intel exit reasons are EXIT_REASON_* in linux/arch/x86/include/asm/vmx.h
# reason: count sum(us) min(us) avg(us) max(us)
"""
NEITHER = """
# Intel exit reasons are EXIT_REASON_* in linux/arch/x86/include/asm/vmx.h
# AMD reasons are SVM_EXIT_* in linux/arch/x86/include/asm/svm.h
# reason reason(hex): count sum(us) min(us) avg(us) max(us)
"""
Row = tuple[int, int, int, int]  # count; ns: total, min, max


def run(isa: int, *threads: Mapping[int, Row]) -> Snapshot:
    """What threads with these exits leave, as `reason: (count, total, min, max)` each."""
    host = Host(isa=isa)
    host.add(100, "vm", max(len(threads), 1))
    for number, rows in enumerate(threads):
        for reason, (count, total, low, high) in rows.items():
            cell = np.zeros(1, CELL)
            cell["count"], cell["total"], cell["min"], cell["max"] = count, total, low, high
            cell["hist"][0, bucket_of(low)] += count - 1
            cell["hist"][0, bucket_of(high)] += 1
            host.vcpus[101 + number].cells[isa, reason] = cell
    return host.read()


EXITS: dict[int, Row] = {
    0x400: (4, 1_727_400, 20_100, 1_642_999),
    0x60: (126, 2_299_999, 7_999, 311_001),
    0x72: (17138, 282_249_000, 14_000, 1_162_000),
}


def test_amd() -> None:
    assert summary.text(run(SVM, EXITS)) == AMD + (
        "0x060: 126 2299 7 18 311\n0x072: 17138 282249 14 16 1162\n0x400: 4 1727 20 431 1642\n"
    )


def test_intel() -> None:
    assert summary.text(run(VMX, {48: (10, 224_000, 7_000, 139_000), 12: (3, 9_000, 3_000, 3_000)})) == INTEL + (
        "12: 3 9 3 3 3\n48: 10 224 7 22 139\n"
    )


@pytest.mark.parametrize("isa", [UNKNOWN, 3])
def test_neither(isa: int) -> None:
    snapshot = run(isa, {96: (10, 224_000, 7_000, 139_000)})
    assert summary.text(snapshot) == NEITHER + "96 0x060: 10 224 7 22 139\n"


@pytest.mark.parametrize(
    ("isa", "given", "header", "row"),
    [
        (UNKNOWN, VMX, INTEL, "96: 10 224 7 22 139\n"),
        (UNKNOWN, SVM, AMD, "0x060: 10 224 7 22 139\n"),
        (VMX, SVM, INTEL, "96: 10 224 7 22 139\n"),  # what the kernel says counts
        (SVM, VMX, AMD, "0x060: 10 224 7 22 139\n"),
    ],
)
def test_flavour_is_given_where_the_kernel_does_not_tell(isa: int, given: int, header: str, row: str) -> None:
    assert summary.text(run(isa, {96: (10, 224_000, 7_000, 139_000)}), given) == header + row


@pytest.mark.parametrize(("given", "header"), [(UNKNOWN, NEITHER), (VMX, INTEL), (SVM, AMD)])
def test_no_exits(given: int, header: str) -> None:
    assert summary.text(Host().read(), given) == header


@pytest.mark.parametrize(
    ("isa", "row"),
    [(SVM, "0xffffffff: 1 1 1 1 1"), (VMX, "4294967295: 1 1 1 1 1"), (UNKNOWN, "4294967295 0xffffffff: 1 1 1 1 1")],
)
def test_invalid_guest_state_is_unsigned(isa: int, row: str) -> None:
    assert summary.text(run(isa, {0xFFFFFFFF: (1, 1_000, 1_000, 1_000)})).endswith(f"max(us)\n{row}\n")


def test_vmx_flags_are_part_of_the_number() -> None:
    assert summary.text(run(VMX, {33 | 1 << 31: (1, 1_000, 1_000, 1_000)})) == INTEL + "2147483681: 1 1 1 1 1\n"


@pytest.mark.parametrize(
    ("exits", "row"),
    [
        ((1, 999, 999, 999), "1 0 0 0 0"),
        ((2, 1_999, 999, 1_000), "2 1 0 0 1"),
        ((3, 5_999, 1_999, 2_000), "3 5 1 1 2"),
        ((3, 6_000, 1_999, 2_001), "3 6 1 2 2"),
        ((1, 10**15, 10**15, 10**15), "1 1000000000000 1000000000000 1000000000000 1000000000000"),
        # More than a double holds exactly
        ((10**9, 2**60 + 1, 32, 2**59), f"1000000000 {(2**60 + 1) // 1000} 0 1152921 {2**59 // 1000}"),
    ],
)
def test_all_numbers_are_rounded_down(exits: Row, row: str) -> None:
    assert summary.text(run(SVM, {0x7C: exits})) == f"{AMD}0x07c: {row}\n"


def test_rows_ascend_as_numbers() -> None:
    codes = [0xFFFFFFFF, 0x403, 0x8, 0x80000010, 0x10, 0xA6, 0x400, 0x9]
    rows = summary.text(run(SVM, dict.fromkeys(codes, (1, 1_000, 1_000, 1_000)))).splitlines()[3:]
    assert [int(row.partition(":")[0], 16) for row in rows] == sorted(codes)
    rows = summary.text(run(VMX, dict.fromkeys([100, 9, 30, 2**31], (1, 1_000, 1_000, 1_000)))).splitlines()[3:]
    assert [row.partition(":")[0] for row in rows] == ["9", "30", "100", "2147483648"]


def test_threads_are_added_up() -> None:
    other: dict[int, Row] = {0x72: (1, 1_700, 1_700, 1_700), 0x7C: (1, 1_000, 1_000, 1_000)}
    snapshot = run(SVM, {0x72: (2, 9_500, 4_000, 5_500)}, other)
    assert summary.text(snapshot) == AMD + "0x072: 3 11 1 3 5\n0x07c: 1 1 1 1 1\n"


def test_threads_long_gone_count() -> None:
    snapshot = run(SVM, {0x72: (2, 9_500, 4_000, 5_500), 0x78: (7, 70_000, 10_000, 10_000)})
    snapshot = replace(snapshot, cell_ids=np.zeros(2, "u8"))
    snapshot = replace(snapshot, threads=snapshot.threads[:0], thread_ids=snapshot.thread_ids[:0])
    assert summary.text(snapshot) == AMD + "0x072: 2 9 4 4 5\n0x078: 7 70 10 10 10\n"


def test_open_exits_are_left_out() -> None:
    host = Host()
    host.add(100, "vm", 2)
    host.exits(101, 0x72, 2_000)
    host.leave(101, 0x72)
    host.leave(102, 0x78)
    host.now += 10**10
    assert summary.text(host.read()) == AMD + "0x072: 1 2 2 2 2\n"


def test_hlt_is_kept() -> None:
    assert "0x078: 1 1000000 1000000 1000000 1000000\n" in summary.text(run(SVM, {0x78: (1, 10**9, 10**9, 10**9)}))


# ---- write


def test_write_is_private(tmp_path: Path) -> None:
    summary.write(tmp_path / "out", "text\n")
    assert (tmp_path / "out").read_text() == "text\n"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["out"]


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a longer text than the next\n")
    (tmp_path / "out").chmod(0o644)
    summary.write(tmp_path / "out", "text\n")
    assert (tmp_path / "out").read_text() == "text\n"
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o600


@pytest.mark.parametrize("before", [None, "as it was"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_write_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, before: str | None
) -> None:
    target = tmp_path / "out"
    if before:
        target.write_text(before)
    monkeypatch.setattr(os, call, disk_full)
    with pytest.raises(OSError, match="No space left"):
        summary.write(target, "text\n")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == (["out"] if before else [])
    assert not before or target.read_text() == before


def test_write_to_a_full_disk(tmp_path: Path) -> None:
    # A limit of the process stands for the disk: the kernel refuses what goes beyond.
    code = f"""
import resource, pathlib, kvmtop.output.summary
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
kvmtop.output.summary.write(pathlib.Path({str(tmp_path / "out")!r}), "x" * 2000)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "File too large" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("dangling", [False, True])
def test_write_takes_the_place_of_a_link(tmp_path: Path, dangling: bool) -> None:
    other, target = tmp_path / "other", tmp_path / "out"
    if not dangling:
        other.write_text("precious")
    target.symlink_to(other)
    summary.write(target, "text\n")
    assert not target.is_symlink()
    assert target.read_text() == "text\n"
    assert not other.exists() if dangling else other.read_text() == "precious"


def test_write_into_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError):  # nobody reads it: no waiting without an end
        summary.write(pipe, "text\n")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    summary.write(pipe, "text\n")
    assert os.read(reader, 100) == b"text\n"
    os.close(reader)
    assert pipe.is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]


def test_write_follows_no_link_to_a_device(tmp_path: Path) -> None:
    """It could be a disk."""
    master, slave = os.openpty()
    (tmp_path / "out").symlink_to(os.ttyname(slave))
    summary.write(tmp_path / "out", "text\n")
    os.set_blocking(master, False)
    with pytest.raises(BlockingIOError):
        os.read(master, 100)
    assert (tmp_path / "out").read_text() == "text\n" and not (tmp_path / "out").is_symlink()


def test_write_to_a_device() -> None:
    master, slave = os.openpty()
    summary.write(Path(os.ttyname(slave)), "text\n")
    assert os.read(master, 100) == b"text\r\n"


# Like /dev/stdout, which is not to be risked here.
@pytest.mark.parametrize("name", ["/dev/fd/1", "stdout"])
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_write_to_standard_output(tmp_path: Path, name: str, kind: str) -> None:
    stdout, out = tmp_path / "stdout", tmp_path / "out"
    stdout.symlink_to("/proc/self/fd/1")
    code = f"import pathlib, kvmtop.output.summary; kvmtop.output.summary.write(pathlib.Path({name!r}), 'text\\n')"
    with open(out, "w") as file:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=file if kind == "file" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(summary.__file__).parents[2])},
        )
    assert done.returncode == 0, done.stderr[-300:]
    assert (out.read_text() if kind == "file" else done.stdout) == "text\n"
    assert stdout.is_symlink()


def test_write_to_a_directory_fails(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        summary.write(tmp_path, "text\n")
    with pytest.raises(FileNotFoundError):
        summary.write(tmp_path / "missing" / "out", "text\n")
    assert os.listdir(tmp_path) == []


def test_write_takes_any_name_that_the_file_system_takes(tmp_path: Path) -> None:
    summary.write(tmp_path / ("n" * 255), "text\n")
    assert os.listdir(tmp_path) == ["n" * 255]


def test_a_nested_guests_exits_are_exits_as_any() -> None:
    """As the script had them."""
    snapshot = run(SVM, EXITS, EXITS)
    whole = summary.text(snapshot)
    cells = snapshot.cells.copy()
    cells["isa"][::2] |= NESTED
    cells["isa"][::4] |= REFLECTED
    assert len({*cells["isa"].tolist()}) == 3
    assert summary.text(replace(snapshot, cells=cells)) == whole
