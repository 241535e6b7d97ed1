"""Names of the kernel's functions, and why there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvmtop.bpf import kallsyms, privileges

SHOWN = "ffffffff81000000 T _text\nffffffffc0800010 t kvm_vcpu_block\t[kvm]\n"
HIDDEN = SHOWN.replace("ffffffff81000000", "0" * 16).replace("ffffffffc0800010", "0" * 16)


def test_addresses_have_names(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text(SHOWN)
    found = kallsyms.Functions(path)
    assert (found.name(0xFFFFFFFFC0800020), found.full(0xFFFFFFFFC0800020)) == (
        "kvm_vcpu_block",
        "kvm_vcpu_block [kvm]",
    )
    assert found.full(0xFFFFFFFF81000001) == "_text" and found.full(1) == "" == found.unnamed


@pytest.mark.parametrize("text", [HIDDEN, None], ids=["zeros", "no file"])
def test_where_there_are_none_it_is_said_why(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "kallsyms"
    if text:
        path.write_text(text)
    found = kallsyms.Functions(path)
    assert found.full(0xFFFFFFFFC0800020) == "" and found.unnamed.startswith("the kernel's functions have no names")


@pytest.mark.parametrize(
    ("level", "may", "words"),
    [
        ("2", True, "kernel.kptr_restrict is 2: sysctl kernel.kptr_restrict=1"),
        ("2", False, "kernel.kptr_restrict is 2"),
        ("1", False, "no CAP_SYSLOG: run it as root"),
        ("0", True, "CONFIG_KALLSYMS"),
        (None, True, "CONFIG_KALLSYMS"),
    ],
)
def test_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str | None, may: bool, words: str) -> None:
    restrict, status = tmp_path / "kptr_restrict", tmp_path / "status"
    if level:
        restrict.write_text(f"{level}\n")
    status.write_text(f"CapEff:\t{may << privileges.SYSLOG:016x}\n")
    monkeypatch.setattr(privileges, "STATUS", status)
    assert words in kallsyms.why_unnamed(restrict)
