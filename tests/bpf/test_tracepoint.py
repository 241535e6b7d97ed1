from __future__ import annotations

import ctypes
import errno
import os
import random
import re
from pathlib import Path

import pytest

from kvmtop.bpf import syscalls as kernel
from kvmtop.bpf import tracepoint
from kvmtop.bpf.probes import Probe, Probes
from kvmtop.bpf.tracepoint import Field, Tracefs, Tracepoint, missing
from kvmtop.errors import KvmtopError
from kvmtop.host import doctor
from kvmtop.model.vocabulary import SVM, UNKNOWN, VMX, Names

from ..support.formats import FILES, X86, parsed, text


def exit_format(print_fmt: str) -> str:
    """A kvm_exit with this print fmt."""
    return f'name: kvm_exit\n\tfield:unsigned int exit_reason;\toffset:8;\tsize:4;\n\nprint fmt: "%s", {print_fmt}\n'


def entries(given: str) -> dict[int, str]:
    """What the parser makes of the entries of a table."""
    (table,) = Tracepoint.parse(exit_format(f"__print_symbolic(REC->exit_reason, {given})")).tables
    return dict(table.names)


def names(kernel: str) -> Names:
    return tracepoint.names(parsed(kernel))


# Fields


@pytest.mark.parametrize(("kernel", "event"), FILES)
def test_fields_are_aligned_and_apart(kernel: str, event: str) -> None:
    found = parsed(kernel, event)
    assert found.name == event
    end = 0
    for field in found.fields.values():
        assert field.offset >= end
        assert field.offset % field.size == 0
        end = field.offset + field.size
    assert len(found.fields) == text(kernel, event).count("field:")
    assert found.fields["common_pid"] == Field(4, 4, True)


@pytest.mark.parametrize(
    ("kernel", "vcpu_id", "last"),
    [
        ("5.4", 48, "vcpu_id"),
        ("5.10", 56, "vcpu_id"),
        ("5.15", 56, "vcpu_id"),
        ("6.1", 56, "vcpu_id"),
        ("6.12", 56, "vcpu_id"),
        ("6.14", 56, "requests"),
        ("6.18", 56, "requests"),
    ],
)
def test_fields_of_kvm_exit(kernel: str, vcpu_id: int, last: str) -> None:
    fields = parsed(kernel).fields
    assert fields["exit_reason"] == Field(8, 4, False)
    assert fields["isa"] == Field(24, 4, False)
    assert fields["vcpu_id"] == Field(vcpu_id, 4, False)
    assert list(fields)[-1] == last


@pytest.mark.parametrize("kernel", [*X86, "arm64"])
def test_fields_of_the_other_tracepoints(kernel: str) -> None:
    assert parsed(kernel, "kvm_userspace_exit").fields["reason"] == Field(8, 4, False)
    assert parsed(kernel, "kvm_userspace_exit").fields["errno"] == Field(12, 4, True)
    assert parsed(kernel, "kvm_vcpu_wakeup").fields["ns"] == Field(8, 8, False)
    expected = Field(8, 8, False) if kernel == "arm64" else Field(8, 4, False)
    assert parsed(kernel, "kvm_entry").fields["vcpu_pc" if kernel == "arm64" else "vcpu_id"] == expected


def test_array_fields_and_fields_without_sign() -> None:
    found = Tracepoint.parse(
        "name: any\n\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:1;\n"
        "\tfield:__data_loc char[] name;\toffset:24;\tsize:4;\n"
    )
    assert found.fields == {"comm": Field(8, 16, True), "name": Field(24, 4, False)}


def test_a_print_fmt_adds_no_field() -> None:
    given = text("6.12") + "field:u32 isa;\toffset:0;\tsize:4;\tsigned:0;\nname: other\n"
    assert Tracepoint.parse(given).fields == parsed("6.12").fields


# Names


@pytest.mark.parametrize("kernel", X86)
@pytest.mark.parametrize(
    ("isa", "code", "name"),
    [
        (VMX, 0, "EXCEPTION_NMI"),
        (VMX, 12, "HLT"),
        (VMX, 48, "EPT_VIOLATION"),
        (VMX, 9999, "9999"),
        (VMX, 0x8000_0000 | 33, "INVALID_STATE|FAILED_VMENTRY"),
        (VMX, 0x8000_0000 | 9999, "9999|FAILED_VMENTRY"),
        (VMX, 1 << 26 | 48, "EPT_VIOLATION|BUS_LOCK"),
        (VMX, 1 << 27 | 12, "HLT|ENCLAVE_MODE"),
        (VMX, 1 << 28 | 37, "MONITOR_TRAP_FLAG|SMI_PENDING_MTF"),
        (VMX, 1 << 29 | 1, "EXTERNAL_INTERRUPT|SMI_VMX_ROOT"),
        (VMX, 1 << 26 | 1 << 27 | 12, "HLT|BUS_LOCK|ENCLAVE_MODE"),
        (VMX, 1 << 30 | 1 << 16 | 12, "HLT|bit 16|bit 30"),
        (VMX, 0xFFFF_FFFF, "0xffffffff"),
        (SVM, 0, "read_cr0"),
        (SVM, 0x40, "DE excp"),
        (SVM, 0x43, "BP excp"),
        (SVM, 0x78, "hlt"),
        (SVM, 0x400, "npf"),
        (SVM, 0xFFFF_FFFF, "invalid_guest_state"),
        (SVM, 0x410, "0x410"),
        (SVM, 0x0FF, "0x0ff"),
        (SVM, 0xF000_0000, "0xf0000000"),
        (UNKNOWN, 12, "12"),
    ],
)
def test_names(kernel: str, isa: int, code: int, name: str) -> None:
    assert names(kernel).name(isa, code) == name


@pytest.mark.parametrize(
    ("isa", "code", "name", "without", "since"),
    [
        (SVM, 0x0A2, "invpcid", "0x0a2", "5.10"),
        (SVM, 0x403, "vmgexit", "0x403", "5.15"),
        (SVM, 0x8000_0010, "vmgexit_page_state_change", "0x80000010", "6.1"),
        (SVM, 0x0A6, "idle-halt", "0x0a6", "6.18"),
        (VMX, 74, "BUS_LOCK", "74", "5.15"),
        (VMX, 75, "NOTIFY", "75", "6.1"),
        (VMX, 77, "TDCALL", "77", "6.18"),
    ],
)
@pytest.mark.parametrize("kernel", X86)
def test_names_that_came_later(kernel: str, isa: int, code: int, name: str, without: str, since: str) -> None:
    assert names(kernel).name(isa, code) == (name if X86.index(kernel) >= X86.index(since) else without)


@pytest.mark.parametrize(("kernel", "event"), FILES)
def test_no_entry_is_lost(kernel: str, event: str) -> None:
    found = parsed(kernel, event)
    assert sum(len(table.names) for table in found.tables) == found.print_fmt.count("{")
    assert all(name and name.isprintable() for table in found.tables for name in table.names.values())


def test_tables_of_arm64() -> None:
    ret, esr_ec = parsed("arm64").tables
    assert (ret.field, dict(ret.names)) == ("ret", {0: "IRQ", 1: "SERROR", 2: "TRAP", 0xBADCA11: "HYP_GONE"})
    assert (esr_ec.field, esr_ec.names[0], esr_ec.names[0x24]) == ("esr_ec", "UNKNOWN", "DABT_LOW")
    assert names("arm64") == Names()


def test_codes_as_64_bit_constants() -> None:
    """As arch/x86/include/uapi/asm/svm.h has them once KVM takes exit codes for 64 bits."""
    wide = re.sub(r"\{ (-1|0x[0-9a-f]+)", r"{ \1ull", text("6.18"))
    assert wide.count("ull") > 100
    assert tracepoint.names(Tracepoint.parse(wide)) == names("6.18")


def test_the_tested_isa_says_whose_table_comes_first() -> None:
    found = tracepoint.names(Tracepoint.parse(text("6.12").replace("REC->isa == 1", "REC->isa == 2")))
    assert (found.name(SVM, 48), found.name(VMX, 0x78)) == ("EPT_VIOLATION", "hlt")


def test_the_kernels_name_of_a_flag_goes_first() -> None:
    given = text("6.12").replace('{ 0x80000000, "FAILED_VMENTRY" }', '{ BIT(27), "SGX" }, { (1UL << 31), "FAILED" }')
    assert tracepoint.names(Tracepoint.parse(given)).name(VMX, 1 << 31 | 1 << 27 | 33) == "INVALID_STATE|SGX|FAILED"


def test_flags_may_come_before_the_names() -> None:
    given = exit_format(
        '__print_flags(REC->exit_reason, " ", { BIT(26), "LOCK" }),'
        ' (REC->isa == 1) ? __print_symbolic(REC->exit_reason, { 1, "a" })'
        ' : __print_symbolic(REC->exit_reason, { 1, "b" })'
    )
    assert tracepoint.names(Tracepoint.parse(given)) == Names({VMX: {1: "a"}, SVM: {1: "b"}}, {1 << 26: "LOCK"})


# Odd entries


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{ -1, "x" }', {0xFFFF_FFFF: "x"}),
        ('{ (-1), "x" }', {0xFFFF_FFFF: "x"}),
        ('{ 0xffffffffffffffff, "x" }', {0xFFFF_FFFF: "x"}),
        ('{ 0x040 + 1, "DB" }', {0x41: "DB"}),
        ('{1,"tight"}', {1: "tight"}),
        ('{\t10 ,\t"wide"\t}', {10: "wide"}),
        ('{ (1UL << 31), "y" }', {1 << 31: "y"}),
        ('{ ((((1UL))) << (26)), "y" }', {1 << 26: "y"}),
        ('{ BIT(26), "y" }', {1 << 26: "y"}),
        ('{ BIT_ULL(3) | (1 << 0), "y" }', {9: "y"}),
        ('{ 1 | 1 << 3, "y" }, { 3 | 1, "z" }', {9: "y", 3: "z"}),
        ('{ 2, "KVM_EXIT_" "IO" }', {2: "KVM_EXIT_IO"}),
        (r'{ 1, "say \"hi\" \\" }, { 2, "b" }', {1: 'say "hi" \\', 2: "b"}),
        ('{ 1, "a } b" }, { 2, "{ 3, c }" }, { 4, "d" }', {1: "a } b", 2: "{ 3, c }", 4: "d"}),
        ('{ 1, "first" }, { 1, "second" }', {1: "first"}),
        # Ignored
        ('{ SOME_ENUM, "z" }, { 1, "a" }', {1: "a"}),
        ('{ SOME_ENUM + 1, "z" }, { (u32)-1, "y" }, { ~0, "x" }, { 1 << N, "w" }, { 0xyz, "v" }', {}),
        ('{ 1 }, { 2, }, { , "x" }, { "x", 3 }, { 4, name }, {}, { 5, "open }', {}),
        ('{ 0x100000001, "more than 32 bits" }, { 1 << 40, "x" }, { 1 << 99, "x" }', {}),
        (f'{{ {"9" * 5000}, "x" }}, {{ 0x{"f" * 5000}, "x" }}, {{ 1, "a" }}', {1: "a"}),
    ],
)
def test_entries(given: str, expected: dict[int, str]) -> None:
    assert entries(given) == expected


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a\x1b[2Jb", "a[2Jb"),
        ("\x1b]0;title\x07x", "]0;titlex"),
        ("a\nb\rc\0d\x7f\x9b", "abcd"),
        ("a\u202eb\u200b", "ab"),
        (r"\x1b[31m", r"\x1b[31m"),  # C source, harmless as it stands
        ("\x1b", "5"),  # nothing is left: the number
    ],
)
def test_nothing_that_a_terminal_obeys(given: str, name: str) -> None:
    given = f'(REC->isa == 1) ? __print_symbolic(REC->exit_reason, {{ 5, "{given}" }})'
    found = tracepoint.names(Tracepoint.parse(exit_format(given))).name(VMX, 5)
    assert found == name
    assert found.isprintable()


def test_a_table_ends_where_the_next_begins() -> None:
    """Also where the next is one that kvmtop does not know."""
    found = Tracepoint.parse(
        exit_format(
            '__print_symbolic((u32)REC->exit_reason, { 1, "a" }), __print_symbolic((REC->x >> 8) & 7, { 2, "b" }),'
            ' __print_flags(REC->exit_reason, "|", { 4, "c" }), __print_hex(REC->y, 2), { 8, "d" }'
        )
    )
    assert [(table.flags, dict(table.names)) for table in found.tables] == [(False, {1: "a"}), (True, {4: "c"})]


# Damaged files


@pytest.mark.parametrize(
    "given",
    [
        "",
        "\0" * 100,
        "name: kvm_exit\n",
        "\tfield:int ret;\toffset:8;\tsize:4;\tsigned:1;\n",
        "name: \x1b[2J\n\tfield:int ret;\toffset:8;\tsize:4;\tsigned:1;\n",
        "name: kvm_exit\n\tfield:int ret;\toffset:-8;\tsize:x;\n",
        f"name: kvm_exit\n\tfield:int ret;\toffset:{'9' * 5000};\tsize:4;\n",
    ],
)
def test_no_format(given: str) -> None:
    with pytest.raises(KvmtopError, match="empty or damaged"):
        Tracepoint.parse(given)


@pytest.mark.parametrize(("kernel", "event"), FILES)
def test_a_cut_file_gives_nothing_wrong(kernel: str, event: str) -> None:
    whole, full = text(kernel, event), parsed(kernel, event)
    good = tracepoint.names(full)
    results = 0
    for end in range(0, len(whole), 200):
        try:
            cut = Tracepoint.parse(whole[:end])
        except KvmtopError:
            assert end <= 200
            continue
        results += 1
        assert cut.fields.items() <= full.fields.items()
        found = tracepoint.names(cut)
        assert all(table.items() <= good.reasons[isa].items() for isa, table in found.reasons.items())
        assert found.flags.items() <= good.flags.items()
    assert results


@pytest.mark.parametrize("kernel", ["6.18", "arm64"])
def test_a_garbled_file_raises_nothing_else(kernel: str) -> None:
    chance = random.Random(kernel)
    whole = text(kernel)
    for _ in range(300):
        characters = list(whole)
        for _ in range(chance.choice((1, 10, 100))):
            characters[chance.randrange(len(characters))] = chance.choice('{}",()\\<|+-: \n\t\0\x1b\ufffd0x9')
        try:
            found = tracepoint.names(Tracepoint.parse("".join(characters)))
        except KvmtopError:
            continue
        assert all(found.name(isa, code).isprintable() for isa in (VMX, SVM) for code in range(100))


# tracefs


def tracefs(root: Path) -> Tracefs:
    made = Tracefs.__new__(Tracefs)
    made.root = root
    return made


def test_format_of_a_tracefs(tmp_path: Path) -> None:
    for name in ("kvm_exit", "odd", "unreadable/format"):
        (tmp_path / "events" / "kvm" / name).mkdir(parents=True)
    (tmp_path / "events/kvm/kvm_exit/format").write_text(text("6.12"))
    (tmp_path / "events/kvm/odd/format").write_bytes(b"\xff\xfe\0")
    found = tracefs(tmp_path)
    assert found.format("kvm", "kvm_exit") == parsed("6.12")
    assert found.format("kvm", "kvm_nothing") is None
    with pytest.raises(KvmtopError, match="empty or damaged"):
        found.format("kvm", "odd")
    with pytest.raises(KvmtopError, match=r"cannot read .*/unreadable/format"):
        found.format("kvm", "unreadable")


@pytest.mark.parametrize("place", ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"])
def test_where_tracefs_is(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: path == f"{place}/events")
    assert Tracefs().root == Path(place)


@pytest.mark.parametrize(("number", "reason"), [(errno.EPERM, "Operation not permitted"), (0, "has no tracing")])
def test_no_tracefs(monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    class Libc:
        def mount(self, *_: object) -> int:
            ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Libc())
    with pytest.raises(KvmtopError, match=f"{reason}.*as root.*mount -t tracefs nodev /sys/kernel/tracing"):
        Tracefs()


@pytest.mark.parametrize(
    ("lockdown", "loaded", "words"),
    [
        ("confidentiality", True, "locked down (confidentiality) and shows no events"),
        ("integrity", True, "KVM is loaded, but"),
        (None, True, "may be locked down"),
        (None, False, "load KVM (modprobe"),
    ],
)
def test_why_a_tracepoint_is_missing(
    monkeypatch: pytest.MonkeyPatch, lockdown: str | None, loaded: bool, words: str
) -> None:
    monkeypatch.setattr(kernel, "lockdown", lambda: lockdown)
    monkeypatch.setattr(Path, "exists", lambda path: loaded and str(path) == "/sys/module/kvm")
    assert words in missing("kvm_exit") and ": " in missing("kvm_exit")
    monkeypatch.setattr(tracepoint, "Tracefs", lambda: tracefs(Path("/nowhere")))
    check = doctor._tracepoints()
    assert (check.state, f"{check.detail}: {check.remedy}") == ("missing", missing("kvm_exit"))


def test_a_tracepoint_that_goes_while_it_is_attached_to(tmp_path: Path) -> None:
    probes = Probes.__new__(Probes)
    probes._probes, probes._programs, probes._links = [Probe("kvm", "kvm_exit", "on_exit")], {"on_exit": -1}, {}
    with pytest.raises(KvmtopError, match="KVM was unloaded just now, with its kvm_exit"):
        probes.attach(tracefs(tmp_path))
