from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.reference import guest_symbols
from kvmtop.reference.guest_symbols import FURTHEST, Symbols, half

BASE = 0xFFFFFFFF81000000


def read(tmp_path: Path, text: str | bytes) -> Symbols:
    path = tmp_path / "kallsyms"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Symbols.read(path)


def refused(path: Path) -> str:
    with pytest.raises(KvmtopError) as caught:
        Symbols.read(path)
    assert caught.value.status == 2
    text = str(caught.value)
    assert "\n" not in text and text.isprintable()
    return text


def test_an_address_is_a_function_and_an_offset() -> None:
    known = Symbols([(BASE + 0x100, "second"), (BASE, "first"), (BASE + 0x200, "third [kvm]")])
    assert known.name(BASE) == "first"
    assert known.name(BASE + 0xFF) == "first+0xff"
    assert known.name(BASE + 0x100) == "second"
    assert known.name(BASE + 0x212) == "third+0x12 [kvm]"
    assert known.name(BASE + 0x200) == "third [kvm]"


def test_before_the_first_and_far_behind_the_last_is_no_name() -> None:
    known = Symbols([(BASE, "first")])
    assert known.name(BASE - 1) == known.name(0) == ""
    assert known.name(BASE + FURTHEST) == f"first+0x{FURTHEST:x}"
    assert known.name(BASE + FURTHEST + 1) == known.name(2**64 - 1) == ""
    assert Symbols().name(BASE) == ""


def test_a_copy_of_kallsyms(tmp_path: Path) -> None:
    known = read(
        tmp_path,
        (
            f"{BASE:016x} T _stext\n"
            f"{BASE + 0x10:016x} t local.cold\n"
            f"{BASE + 0x20:016x} W weak\n"
            f"{BASE + 0x30:016x} i ifunc\n"
            f"ffffffffc0000000 t kvm_vcpu_run\t[kvm]\n"
            f"{BASE + 0x18:016x} D not_code\n"
            f"{BASE + 0x19:016x} b not_code_either\n"
            "0000000000000000 A fixed_percpu_data\n"
        ),
    )
    assert known.name(BASE) == "_stext"
    assert known.name(BASE + 0x1F) == "local.cold+0xf"  # data is not code
    assert known.name(BASE + 0x25) == "weak+0x5"
    assert known.name(BASE + 0x30) == "ifunc"
    assert known.name(0xFFFFFFFFC0000004) == "kvm_vcpu_run+0x4 [kvm]"
    assert known.name(0x10) == ""


def test_a_system_map_without_leading_zeros_and_with_crlf(tmp_path: Path) -> None:
    known = read(tmp_path, f"0 T zero\r\n{BASE:x} T _text\r\n{BASE + 64:X} t native_halt\r\n")
    assert known.name(BASE + 65) == "native_halt+0x1"
    assert known.name(5) == ""


@pytest.mark.parametrize(
    "line",
    [
        "",
        " ",
        "T name",
        "xyz T name",
        "ffffffff81000000 T",
        "ffffffff81000000 TT name",
        "ffffffff81000000  T name",
        "ffffffff810000000 T seventeen_digits",
        "-1 T name",
        "ffffffff81000000 T two names",
        "ffffffff81000000 T n [unclosed",
        "0xffffffff81000000 T hex",
        "ffffffff81000000 T " + "n" * 501,
    ],
)
def test_odd_lines_are_left_out_and_the_others_kept(tmp_path: Path, line: str) -> None:
    known = read(tmp_path, f"{line}\nffffffff90000000 T good\n{line}\n".encode() + b"\xff\xfe\x00 garbage")
    assert known.name(0xFFFFFFFF90000001) == "good+0x1"
    assert known.name(0xFFFFFFFF81000000) == ""


def test_hostile_names_cannot_reach_the_terminal(tmp_path: Path) -> None:
    known = read(tmp_path, "ffffffff81000000 T \x1b[31mred\x1b]0;title\x07\u202e [\x1b[2Jmod]\n")
    for address in (BASE, BASE + 9):
        assert known.name(address).isprintable()
        assert "red" in known.name(address)


def test_zeros_say_how_to_do_better(tmp_path: Path) -> None:
    path = tmp_path / "kallsyms"
    path.write_text("0000000000000000 T _stext\n" * 100)
    text = refused(path)
    assert "as its root" in text and "System.map" in text and str(path) in text


def test_empty_missing_and_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert "no symbols" in refused(tmp_path / "empty")
    assert "No such file" in refused(tmp_path / "none")
    assert "directory" in refused(tmp_path)


def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_symbols, "MOST", 1 << 20)
    assert re.search("/dev/zero has more than 1 MB", refused(Path("/dev/zero")))


def test_more_symbols_than_any_kernel_has_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(guest_symbols, "MOST_SYMBOLS", 1000)
    (tmp_path / "many").write_text("1 T a\n" * 1001)
    assert "more than 1000 symbols" in refused(tmp_path / "many")
    assert read(tmp_path, "1 T a\n" * 1000).name(1) == "a"


def test_a_large_file_is_read_whole(tmp_path: Path) -> None:
    known = read(tmp_path, "".join(f"{BASE + 16 * n:016x} t function_{n}\n" for n in range(100_000)))
    assert known.name(BASE + 16 * 99_999 + 3) == "function_99999+0x3"
    assert known.name(BASE + 16 * 50_000 + 15) == "function_50000+0xf"


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        (0, "user"),
        (0x7FFFFFFFFFFF, "user"),
        ((1 << 63) - 1, "user"),
        (1 << 63, "kernel"),
        (BASE, "kernel"),
        (2**64 - 1, "kernel"),
    ],
)
def test_half(address: int, whose: str) -> None:
    assert half(address) == whose
