from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import kvmtop
from kvmtop import cli
from kvmtop.bpf import tracepoint
from kvmtop.errors import KvmtopError
from kvmtop.model import vocabulary
from kvmtop.model.vocabulary import SVM, VMX
from kvmtop.reference import exit_reasons, words
from kvmtop.reference.exit_reason_texts import MEANINGS, Meaning

from ..support.formats import X86, parsed

PARTS = ("what", "causes", "advice", "source")
NEWEST = X86[-1]
# Codes of the newest kernel that stay without a text, and why. None so far.
LEFT_OUT: dict[tuple[int, int], str] = {}

each_meaning = pytest.mark.parametrize("meaning", MEANINGS, ids=lambda meaning: meaning.title)


def kernel(version: str) -> dict[tuple[int, int], str]:
    """A kernel's own names, from kvm_exit's print fmt."""
    known = tracepoint.names(parsed(version)).reasons
    return {(isa, code): name for isa, table in known.items() for code, name in table.items()}


def its_names(meaning: Meaning) -> list[str]:
    return [name for _, _, name in exit_reasons.codes(meaning)]


# The texts


def test_isa_constants_are_the_snapshots() -> None:
    assert (VMX, SVM) == (vocabulary.VMX, vocabulary.SVM)


def test_names_are_the_kernels() -> None:
    known = {(isa, code): name for isa, code, name in exit_reasons.names()}
    ever: dict[tuple[int, int], str] = {}
    for version in X86:
        table = kernel(version)
        assert len(table) > 100
        assert {key: known[key] for key in table if key in known} == {key: table[key] for key in table if key in known}
        ever |= table
    assert known.keys() <= ever.keys()  # nothing that no kernel knows


@pytest.mark.parametrize("version", X86)
def test_every_code_of_every_kernel_has_its_text(version: str) -> None:
    missing = {key: name for key, name in kernel(version).items() if not exit_reasons.meaning(*key)}
    assert missing.keys() == LEFT_OUT.keys() & kernel(version).keys()
    assert all(LEFT_OUT.values())


def test_there_is_enough_of_it() -> None:
    assert len(exit_reasons.names()) == len(kernel(NEWEST)) - len(LEFT_OUT) > 150
    assert len(MEANINGS) >= 50
    assert len({meaning.title for meaning in MEANINGS}) == len(MEANINGS)
    held = [(isa, code) for isa, code, _ in exit_reasons.names()]
    assert len(set(held)) == len(held)  # one meaning to a code


@each_meaning
def test_each_part_is_short_and_clean(meaning: Meaning) -> None:
    assert meaning.vmx or meaning.svm
    assert 3 <= len(meaning.title) <= 60
    for part in PARTS:
        text = getattr(meaning, part)
        assert 80 <= len(text) <= 500, f"{part}: {len(text)}"
        assert text.endswith((".", ")"))
    for name, note in meaning.notes.items():
        assert name in (*exit_reasons.VENDORS.values(), *its_names(meaning))
        assert 30 <= len(note) <= 200
        assert note.endswith(".")
    assert {field.name for field in fields(meaning)} == {"title", "vmx", "svm", *PARTS, "notes", "see"}
    for text in (
        meaning.title,
        *(getattr(meaning, part) for part in PARTS),
        *meaning.notes.values(),
        *its_names(meaning),
    ):
        assert text == text.strip()
        assert text.isprintable()
        assert "  " not in text
        assert " ," not in text
        assert ".." not in text


@each_meaning
def test_sources_say_where(meaning: Meaning) -> None:
    if meaning.vmx and "TDCALL" not in its_names(meaning):
        assert "Intel SDM vol. 3" in meaning.source
    if meaning.svm:
        assert "AMD APM vol. 2, 15." in meaning.source or "GHCB specification" in meaning.source
    assert "()" in meaning.source or "[]" in meaning.source  # a function to read


@each_meaning
def test_related_reasons_name_each_other(meaning: Meaning) -> None:
    assert len(set(meaning.see)) == len(meaning.see)
    for name in meaning.see:
        (other,) = exit_reasons.find(name)
        assert other is not meaning
        assert name in its_names(other)
        assert set(its_names(meaning)) & set(other.see)
        assert name in " ".join(exit_reasons.text(meaning, 100).split())


@pytest.mark.parametrize(
    ("intel", "amd"),
    [
        ("HLT", "hlt"),
        ("EPT_VIOLATION", "npf"),
        ("CPUID", "cpuid"),
        ("IO_INSTRUCTION", "io"),
        ("MSR_READ", "msr"),
        ("MSR_WRITE", "msr"),
        ("EXTERNAL_INTERRUPT", "interrupt"),
        ("INTERRUPT_WINDOW", "vintr"),
        ("VMCALL", "hypercall"),
        ("PAUSE_INSTRUCTION", "pause"),
        ("TRIPLE_FAULT", "shutdown"),
        ("CR_ACCESS", "write_cr0"),
        ("DR_ACCESS", "write_dr7"),
        ("VMLAUNCH", "vmrun"),
        ("APIC_ACCESS", "avic_unaccelerated_access"),
        ("NMI_WINDOW", "iret"),
        ("BUS_LOCK", "buslock"),
        ("TPR_BELOW_THRESHOLD", "write_cr8"),
        ("INVALID_STATE", "invalid_guest_state"),
        ("MCE_DURING_VMENTRY", "MC excp"),
    ],
)
def test_one_text_serves_both_vendors(intel: str, amd: str) -> None:
    (one,), (other,) = exit_reasons.find(intel), exit_reasons.find(amd)
    assert one is other
    assert intel in one.vmx.values()
    assert amd in one.svm.values()


# Looking up


def test_flags_of_vmx_are_passed_over() -> None:
    invalid = exit_reasons.meaning(VMX, 33)
    assert invalid
    assert exit_reasons.meaning(VMX, 0x80000021) is invalid
    assert exit_reasons.meaning(VMX, 0x04000000 | 10) is exit_reasons.meaning(VMX, 10)


def test_codes() -> None:
    hlt = exit_reasons.meaning(SVM, 0x78)
    assert hlt
    assert hlt is exit_reasons.meaning(VMX, 12)
    assert exit_reasons.meaning(SVM, 0x78 | 1 << 16) is None  # no flags there
    assert exit_reasons.meaning(SVM, -1) is exit_reasons.meaning(SVM, 0xFFFFFFFF) is not None
    for isa, code in ((VMX, 5), (VMX, 0xFFFF), (VMX, 0xFFFFFFFF), (SVM, 0x404), (0, 12), (3, 12)):
        assert exit_reasons.meaning(isa, code) is None


@pytest.mark.parametrize("isa_code_name", exit_reasons.names(), ids=lambda entry: entry[2])
def test_every_name_and_number_is_found(isa_code_name: tuple[int, int, str]) -> None:
    isa, code, name = isa_code_name
    meaning = exit_reasons.meaning(isa, code)
    prefix = "EXIT_REASON_" if isa == VMX else "SVM_EXIT_"
    for spelt in (
        name,
        name.upper(),
        name.lower(),
        f" {name} ",
        prefix + name.upper(),
        prefix.lower() + name,
        name.replace(" ", "_"),
    ):
        assert exit_reasons.find(spelt) == [meaning]
    for number in (exit_reasons.number(isa, code), str(code), f"0x{code:x}", f"0X{code:X}"):
        assert meaning in exit_reasons.find(number)


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("SVM_EXIT_IOIO", "io"),
        ("SVM_EXIT_INTR", "interrupt"),
        ("vmmcall", "hypercall"),
        ("SVM_EXIT_ERR", "invalid_guest_state"),
        ("SVM_EXIT_IDTR_READ", "read_idtr"),
        ("SVM_EXIT_LDTR_WRITE", "write_ldtr"),
        ("SVM_EXIT_TR_WRITE", "write_rt"),
        ("SVM_EXIT_EFER_WRITE_TRAP", "write_efer_trap"),
        ("SVM_EXIT_CR0_WRITE_TRAP", "write_cr0_trap"),
        ("SVM_EXIT_IDLE_HLT", "idle-halt"),
        ("SVM_EXIT_BUS_LOCK", "buslock"),
        ("SVM_VMGEXIT_PSC", "vmgexit_page_state_change"),
        ("SVM_VMGEXIT_MMIO_READ", "vmgexit_mmio_read"),
        ("SVM_EXIT_CR0_SEL_WRITE", "cr0_sel_write"),
        ("pf", "PF excp"),
        ("INVALID_STATE|FAILED_VMENTRY", "INVALID_STATE"),
        ("HLT|BUS_LOCK", "HLT"),
        ("0x80000021", "INVALID_STATE"),
    ],
)
def test_other_spellings(spelt: str, name: str) -> None:
    (found,) = exit_reasons.find(spelt)
    assert name in its_names(found)


def test_a_number_may_be_both_vendors() -> None:
    assert [its_names(found)[0] for found in exit_reasons.find("48")] == ["EPT_VIOLATION", "DR_ACCESS"]
    assert exit_reasons.find("0x400") == [exit_reasons.meaning(SVM, 0x400)]
    assert exit_reasons.find("0x80000001") == [exit_reasons.meaning(SVM, 0x80000001)]  # not VMX's 1 with a flag


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "nonsense",
        "0x",
        "0x404",
        "99999",
        str((1 << 32) + 0x78),
        "9" * 10,
        "9" * 50,
        "١٢",
        "-1",
        "²",
        "1e3",
        "|",
        "x" * 100_000,
        "\x1b[31m",
        "read",
        "excp",
        "list",
    ],
)
def test_what_is_not_there(text: str) -> None:
    assert exit_reasons.find(text) == []
    assert len(exit_reasons.similar(text)) <= 4


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ept", "EPT_VIOLATION"),
        ("EPT_VIOLATON", "EPT_VIOLATION"),
        ("npt", "npf"),
        ("external", "EXTERNAL_INTERRUPT"),
        ("halt", "HLT"),
        ("write_cr1", "write_cr8"),
        ("avic", "avic_incomplete_ipi"),
        ("vmgexit_psk", "vmgexit"),
    ],
)
def test_near_misses(text: str, name: str) -> None:
    assert name in exit_reasons.similar(text)


# As text


@each_meaning
@pytest.mark.parametrize("width", [1, 60, 80, 132])
def test_text_keeps_to_its_width(meaning: Meaning, width: int) -> None:
    text = exit_reasons.text(meaning, width)
    assert text.startswith(meaning.title.split()[0])
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for line in text.splitlines():
        assert line == line.rstrip()
        assert len(line) <= max(width, 40) or " " not in line.strip()  # a path is not cut
    flat = " ".join(text.split())
    for part in PARTS:
        assert getattr(meaning, part) in flat
    for isa, code, name in exit_reasons.codes(meaning):
        assert f"{name} ({exit_reasons.number(isa, code)})" in flat
    for note in meaning.notes.values():
        assert note in flat


def test_numbers_are_written_as_the_vendors_do() -> None:
    assert [exit_reasons.number(VMX, 48), exit_reasons.number(SVM, 0x78), exit_reasons.number(SVM, 0x400)] == [
        "48",
        "0x078",
        "0x400",
    ]


# The command line


def test_explain(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    assert cli.main(["explain", "SVM_EXIT_NPF"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out == exit_reasons.text(exit_reasons.find("EPT_VIOLATION")[0], 70)
    monkeypatch.setenv("COLUMNS", "500")
    assert cli.main(["explain", "48"]) == 0
    out = capsys.readouterr().out
    assert out == "\n".join(exit_reasons.text(found, 100) for found in exit_reasons.find("48"))


def test_explain_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "list"]) == 0
    lines = capsys.readouterr().out.partition("Exit reasons:\n")[2].splitlines()
    assert len(lines) == len(exit_reasons.names())
    assert max(map(len, lines)) <= 100
    for line, (isa, code, name) in zip(lines, exit_reasons.names(), strict=True):
        assert line.startswith(exit_reasons.VENDORS[isa])
        assert f" {exit_reasons.number(isa, code)}  {name} " in line


@pytest.mark.parametrize("name", ["ept", "", "x\x1b[31m\n", "y" * 100_000, "99999"])
def test_explain_unknown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("kvmtop: no word ")
    assert err.count("\n") == 1
    assert err.rstrip("\n").isprintable()
    assert len(err) < 250
    assert ("did you mean EPT_VIOLATION, EPT_MISCONFIG" in err) == (name == "ept")
    with pytest.raises(KvmtopError) as caught:
        words.explain(name)
    assert caught.value.status == 2


def test_explain_is_light_and_survives_any_terminal() -> None:
    heavy = "import sys; from kvmtop import cli; cli.main(['explain', 'hlt']); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", heavy],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(kvmtop.__file__).parents[1],
        env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout.isascii()
    loaded = done.stdout.splitlines()[-1].split()
    assert "kvmtop.reference.exit_reasons" in loaded
    assert not {"textual", "rich", "bcc", "plotext"} & set(loaded)  # numpy comes with the rules, which are words, too
