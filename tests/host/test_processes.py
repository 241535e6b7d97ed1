from __future__ import annotations

import re
import unicodedata
from itertools import chain
from pathlib import Path

import pytest

from kvmtop.bpf import privileges
from kvmtop.host import processes
from kvmtop.host.processes import Watch
from kvmtop.model.vocabulary import Vm
from kvmtop.sanitize import clean

from ..support.proc import Proc


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("web01", "web01"),
        ("größe 東京 🦊", "größe 東京 🦊"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("\x9b31mred", "31mred"),  # a control sequence in one C1 character
        ("a\nb\r\n\tc\0", "a b c"),
        ("\x1b]0;title\x07", "]0;title"),
        ("admin\u202egpj.exe", "admin gpj.exe"),
        ("a\u200bb\ufeff", "a b"),
        ("a\udc80b", "a b"),
        ("\n\x1b\u202e", ""),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_clean_leaves_nothing_that_moves_or_hides_text() -> None:
    # Unicode 15, chapter 23.2 and 23.3, UAX #9: direction, joiners, fillers, tags
    ranges = [range(0x200B, 0x2010), range(0x202A, 0x202F), range(0x2060, 0x2070), range(0xFFF9, 0xFFFC)]
    hidden = [0xAD, 0x61C, 0x180E, *chain(*ranges), 0xFEFF, 0xE0001, 0xE0041, 0xE007F]
    controls = [n for n in range(0x110000) if unicodedata.category(chr(n)) in ("Cc", "Cs", "Zl", "Zp")]
    assert [hex(n) for n in controls + hidden if clean(f"a{chr(n)}b") != "a b"] == []


def test_clean_leaves_nothing_that_is_not_seen() -> None:
    """Else one VM could be called as another is. The property as Unicode publishes it."""
    text = (Path(__file__).parents[1] / "data" / "ignorable.txt").read_text()
    ranges = re.findall(r"^([0-9A-F]+)(?:\.\.([0-9A-F]+))? +; Default_Ignorable_Code_Point", text, re.MULTILINE)
    ignorable = [n for first, last in ranges for n in range(int(first, 16), int(last or first, 16) + 1)]
    assert len(ignorable) == int(text.rpartition(":")[2])  # its own count
    blank = [n for n in range(0x110000) if unicodedata.category(chr(n)) == "Zs"]
    blank += [0x2800, 0x13441, 0x13442, 0x16FE4, 0x1D159]
    assert [hex(n) for n in ignorable + blank if clean(f"a{chr(n)}b") != "a b" or clean(f"ab{chr(n)}") != "ab"] == []
    seen = [n for n in range(0x110000) if unicodedata.category(chr(n))[0] in "LMNPS" and n not in {*ignorable, *blank}]
    assert [hex(n) for n in seen if clean(f"a{chr(n)}b") != f"a{chr(n)}b"] == []
    assert clean("x" * 199 + " y") == "x" * 199


def test_clean_64_kib() -> None:
    assert clean("x" * 65536) == "x" * 200
    assert clean("\x1b" * 65536) == ""
    assert len(clean("a\x1b" * 65536)) <= 200
    assert clean(" " * 65536 + "a") == "a"


UUID = "4450a55c-1669-da0e-d0bd-3ab45fef0398"

# ---- /proc


@pytest.mark.parametrize(
    ("comm", "argv", "name"),
    [
        ("qemu-system-x86", ["qemu-system-x86_64", "-name", "guest=web01,debug-threads=on"], "web01"),
        ("qemu-system-x86", ["qemu-system-x86_64"], "qemu-system-x86"),
        ("qemu-system-x86", [], "qemu-system-x86"),  # a zombie
        ("qemu", ["qemu", "-name", "\x1b[2J"], "[2J"),
        ("qemu", ["qemu", "-name", "\x1b\n"], "qemu"),  # nothing is left of it
        ("qemu", ["qemu", "-name", b"a\xff\xfeb"], "a\ufffd\ufffdb"),
        ("\x1b[31m", [], "[31m"),
        ("", [], "pid 7"),
        ("qemu", ["qemu", "-name", "x" * 65536], "x" * 200),
    ],
)
def test_vm(proc: Proc, comm: str, argv: list[str | bytes], name: str) -> None:
    proc.add(7, comm, argv)
    assert processes.vm(7).name == name


def test_vm_with_several_names(proc: Proc) -> None:
    argv = ["/usr/bin/kvm", "-id", "100", "-name", "web\x1b01,debug-threads=on", "-uuid", UUID]
    proc.add(7, "kvm", argv)
    assert processes.vm(7) == Vm(7, "web 01", "kvm", aliases=("100", UUID))
    proc.add(8, "kvm", ["kvm", "-name", "\x1b", "-id", "1", *[a for n in range(99) for a in ("-id", f"{n:0500}")]])
    assert processes.vm(8).name == "1"
    assert (len(processes.vm(8).aliases), {len(alias) for alias in processes.vm(8).aliases}) == (
        1,
        {200},
    )  # all begin so


def test_vm_has_a_few_names_only(proc: Proc) -> None:
    proc.add(7, "kvm", ["kvm", *[a for n in range(99) for a in ("-id", str(n))]])
    assert processes.vm(7) == Vm(7, "0", "kvm", aliases=("1", "2", "3", "4", "5", "6", "7", "8"))


def test_vm_that_has_gone(proc: Proc) -> None:
    assert processes.vm(7) == Vm(7, "pid 7")


def test_vcpu_count(proc: Proc) -> None:
    proc.add(7, vcpus=3)
    proc.add(8)
    (proc.path / "8" / "fd" / "9").write_text("no link")
    (proc.path / "8" / "fd" / "10").symlink_to("/tmp/anon_inode:kvm-vcpu:0")
    proc.add(10)
    (proc.path / "10" / "fd" / "9").symlink_to("anon_inode:kvm-vcpu")  # before Linux 4.18
    (proc.path / "7" / "fd" / "9").symlink_to("anon_inode:kvm-vcpu:2")  # open twice
    assert [processes.vcpu_count(pid) for pid in (7, 8, 9, 10)] == [3, 0, 0, 1]


def test_pids_and_threads(proc: Proc) -> None:
    proc.add(7)
    proc.add(12)
    (proc.path / "12" / "task" / "13").mkdir()
    assert sorted(processes.pids()) == [7, 12]
    assert sorted(processes.threads(12)) == [12, 13]
    assert processes.threads(99) == []


def test_is_stopped(proc: Proc) -> None:
    proc.add(7)
    for tid, state in ((7, "T"), (8, "t"), (9, "S"), (10, "R"), (11, "Z")):
        proc.thread(7, tid, state=state)
    assert [processes.is_stopped(tid) for tid in (7, 8, 9, 10, 11, 12)] == [True, True, False, False, False, False]
    assert [processes.is_traced(tid) for tid in (7, 8, 9, 10, 11, 12)] == [False, True, False, False, False, False]


@pytest.mark.parametrize(
    ("call", "run"),
    [
        ("16 0x1c 0xae80 0x0 0x0 0x0 0x0 0x7f 0x7f", True),
        ("16 0x1c 0xae41 0x0 0x0 0x0 0x0 0x7f 0x7f", False),  # KVM_CREATE_VCPU
        ("202 0x1c 0xae80 0x0 0x0 0x0 0x0 0x7f 0x7f", False),
        ("-1 0x7f 0x7f", False),
        ("running", False),
        ("", False),
    ],
)
def test_in_kvm_run(proc: Proc, call: str, run: bool) -> None:
    proc.add(7)
    proc.thread(7, 7, call)
    assert processes.in_kvm_run(processes.system_call(7)) == run
    assert processes.system_call(8) == []


@pytest.mark.parametrize(
    ("capabilities", "may"),
    [
        ("000001ffffffffff", True),
        ("0000000000200000", True),  # CAP_SYS_ADMIN
        ("000000c000000000", True),  # CAP_BPF and CAP_PERFMON
        ("0000008000000000", False),
        ("0000004000000000", False),
        ("0000000000000000", False),
        ("00000000a80425fb", False),  # root in a container
        (None, False),
    ],
)
def test_may_load_bpf(proc: Proc, monkeypatch: pytest.MonkeyPatch, capabilities: str | None, may: bool) -> None:
    monkeypatch.setattr(privileges, "STATUS", proc.path / "self" / "status")
    (proc.path / "self").mkdir()
    if capabilities:
        text = f"Name:\tCapEff:\nCapPrm:\t000001ffffffffff\nCapEff:\t{capabilities}\nCapBnd:\t000001ffffffffff\n"
        (proc.path / "self" / "status").write_text(text)
    assert privileges.may_load_bpf() == may


# ---- Watch


QEMU = ("qemu", "-name")


def test_watch_finds_vms_and_marks_the_ended(proc: Proc) -> None:
    proc.add(7, argv=[*QEMU, "a"], vcpus=1)
    proc.add(8)
    watch = Watch()
    assert watch.update([]) == {7: Vm(7, "a", "cat")}
    proc.add(9, argv=[*QEMU, "b"], vcpus=2)
    assert watch.update([]) == {7: Vm(7, "a", "cat"), 9: Vm(9, "b", "cat")}
    proc.remove(7)
    assert watch.update([7, 9]) == {7: Vm(7, "a", "cat", ended=True), 9: Vm(9, "b", "cat")}


def test_watch_believes_exits(proc: Proc) -> None:
    proc.add(7, argv=[*QEMU, "late"])  # it has not opened a vCPU when it is looked at
    watch = Watch()
    assert watch.update([]) == {}
    assert watch.update([7]) == {7: Vm(7, "late", "cat")}


def test_watch_knows_one_that_came_and_went(proc: Proc) -> None:
    assert Watch().update([7]) == {7: Vm(7, "pid 7", ended=True)}


def test_watch_only_those_asked_for(proc: Proc) -> None:
    proc.add(7, argv=[*QEMU, "a"], vcpus=1)
    proc.add(8, argv=[*QEMU, "b"], vcpus=1)
    assert set(Watch([8]).update([])) == {8}


def test_watch_looks_once(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    looked = list[int]()
    count = processes.vcpu_count
    monkeypatch.setattr(processes, "vcpu_count", lambda pid: looked.append(pid) or count(pid))  # type: ignore[func-returns-value]
    proc.add(7, vcpus=1)
    proc.add(8)
    watch = Watch()
    for _ in range(3):
        watch.update([7])
    assert sorted(looked) == [7, 8]


def test_watch_gives_a_copy(proc: Proc) -> None:
    proc.add(7, vcpus=1)
    watch = Watch()
    before = watch.update([])
    proc.remove(7)
    watch.update([])
    assert not before[7].ended


def test_watch_a_pid_used_again(proc: Proc) -> None:
    proc.add(7, argv=[*QEMU, "old"], vcpus=1)
    watch = Watch()
    watch.update([])
    proc.remove(7)
    watch.update([])
    proc.add(7, argv=[*QEMU, "new"], vcpus=1)
    assert watch.update([7]) == {7: Vm(7, "new", "cat")}


def test_watch_forgets_what_has_ended_and_left_no_rows(proc: Proc) -> None:
    watch = Watch()
    for pid in range(7, 500):
        proc.add(pid, vcpus=1)
        watch.update([pid])
        proc.remove(pid)
        assert watch.update([pid])[pid].ended
    assert watch.update([499]).keys() == {499}
    assert watch.update([]) == {}


def test_watch_a_pid_used_again_by_another_process(proc: Proc) -> None:
    proc.add(7, argv=[*QEMU, "old"], vcpus=1)
    watch = Watch()
    watch.update([])
    proc.remove(7)
    watch.update([7])
    proc.add(7, argv=["cat"])
    assert watch.update([7]) == {7: Vm(7, "old", "cat", ended=True)}  # its exits are still those of the VM


def test_watch_a_pid_used_again_by_a_vm_that_opens_its_vcpus_late(proc: Proc) -> None:
    proc.add(7, argv=[*QEMU, "old"], vcpus=1)
    watch = Watch()
    watch.update([])
    proc.remove(7)
    watch.update([7])
    proc.add(7, argv=[*QEMU, "new"])
    watch.update([7])
    (proc.path / "7" / "fd" / "9").symlink_to("anon_inode:kvm-vcpu:0")
    assert watch.update([7]) == {7: Vm(7, "new", "cat")}


def test_watch_a_process_that_was_none_before(proc: Proc) -> None:
    proc.add(7)
    watch = Watch()
    watch.update([])
    proc.remove(7)
    watch.update([])
    proc.add(7, argv=[*QEMU, "new"], vcpus=1)
    assert watch.update([]) == {7: Vm(7, "new", "cat")}


def test_watch_a_process_that_closed_its_vm(proc: Proc) -> None:
    proc.add(7, argv=[*QEMU, "a"], vcpus=1)
    watch = Watch()
    watch.update([7])
    (proc.path / "7/fd/3").unlink()
    assert watch.closed(7) == Vm(7, "a", "cat", ended=True)
    assert watch.update([7]) == {7: Vm(7, "a", "cat", ended=True)}
    (proc.path / "7/fd/3").symlink_to("anon_inode:kvm-vcpu:0")
    assert not watch.update([7])[7].ended  # it has another
    watch.closed(7)
    (proc.path / "7/fd/3").unlink()
    assert watch.update([]) == {}


def test_a_pid_namespace_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processes, "PROC", tmp_path)
    assert processes.namespace() is None  # a kernel without
    (tmp_path / "self/ns").mkdir(parents=True)
    (tmp_path / "self/ns/pid").write_text("")
    assert "hostPID: true" in (processes.namespace() or "")
    monkeypatch.setattr(processes, "INITIAL_PIDS", (tmp_path / "self/ns/pid").stat().st_ino)
    assert processes.namespace() is None
