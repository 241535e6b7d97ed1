from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from kvmtop.bpf import loader, privileges, syscalls
from kvmtop.bpf.loader import KERNEL_FUNCTION, _install_hint, _linked, explanation
from kvmtop.errors import KvmtopError

from .files import Files

loads = pytest.mark.skipif(os.geteuid() != 0 or not privileges.may_load_bpf(), reason="only root loads BPF programs")


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(monkeypatch)


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=debian\n", "apt install python3-bpfcc"),
        ("ID=ubuntu\nID_LIKE=debian\n", "apt install python3-bpfcc"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install python3-bcc"),
        ("ID=arch\n", "pacman -S python-bcc"),
        ('ID="opensuse-tumbleweed"\n', "zypper install python3-bcc"),
        ("ID=other\n", "your distribution's bcc package"),
        (None, "your distribution's bcc package"),
    ],
)
def test_install_hint(files: Files, release: str | None, command: str) -> None:
    if release is not None:
        files.found["/etc/os-release"] = release
    assert command in _install_hint()


NOT_PERMITTED = "bpf: Failed to load program: Operation not permitted"
LOCKDOWN = "/sys/kernel/security/lockdown"


@pytest.mark.parametrize(
    ("uid", "lockdown", "given", "expected"),
    [
        (0, "none integrity [confidentiality]\n", NOT_PERMITTED, "locked down"),
        (1000, "none integrity [confidentiality]\n", NOT_PERMITTED, "locked down"),
        (0, "[none] integrity confidentiality\n", NOT_PERMITTED, "a container without CAP_BPF"),
        (0, None, NOT_PERMITTED, "a container without CAP_BPF"),
        (1000, None, NOT_PERMITTED, "needs root: sudo kvmtop"),
        (1000, None, "Need super-user privileges to run", "needs root: sudo kvmtop"),
        (1000, None, "open: Permission denied", "needs root: sudo kvmtop"),
        (0, None, "could not open bpf map: Cannot allocate memory", "raise the memory limit"),
        (0, "none integrity [confidentiality]\n", "Cannot allocate memory", "raise the memory limit"),
        (0, None, "Failed\n\n  a.c:1:2: error: no X\nmore", "could not be loaded: a.c:1:2: error: no X"),
        (0, None, "\n  Failed to attach\nmore", "could not be loaded: Failed to attach"),
        (0, None, "\n", "could not be loaded: no reason given"),
    ],
)
def testexplanation(
    monkeypatch: pytest.MonkeyPatch, files: Files, uid: int, lockdown: str | None, given: str, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if lockdown:
        files.found[LOCKDOWN] = lockdown
    found = explanation(given)
    assert expected in found
    assert "\n" not in found


def test_an_explanation_is_short(files: Files) -> None:
    assert len(explanation("error " * 1000)) < 300


@pytest.mark.parametrize(
    ("child", "words"),
    [
        ("os.kill(os.getpid(), 9)", "the BPF compiler was killed: it needs 100 MB"),
        ("os.kill(os.getpid(), 11)", "the compiler ended with status -11"),
        ("os._exit(3)", "the compiler ended with status 3"),
        ("print('{')", "the compiler ended with status 0"),
    ],
)
def test_a_compiler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, child: str, words: str) -> None:
    monkeypatch.setattr(loader, "_CHILD", f"import os; {child}")
    with pytest.raises(KvmtopError, match=words):
        loader.load(Path("collector.bpf.c"), [], {"on_exit": ("classic", 0)}, ["threads"])


# Maps of another


def load_map(fd: int, pseudo: int, register: int = 1) -> bytes:
    """BPF_LD_IMM64 of a map: 16 bytes."""
    return struct.pack("<BBhiBBhi", 0x18, pseudo << 4 | register, 0, fd, 0, 0, 0, 0)


def test_maps_are_replaced_where_the_program_names_them_and_nowhere_else() -> None:
    number = struct.pack("<BBhiBBhi", 0x18, 1, 0, 5, 0, 0, 0, 5)  # the constant 5 << 32 | 5, no map
    move = struct.pack("<BBhi", 0xB7, 1, 0, 5)
    program = load_map(5, 1) + number + move + load_map(6, 1) + load_map(0, 2, register=3)
    changed = _linked(program, {5: 70000}, 41)
    assert changed == load_map(70000, 1) + number + move + load_map(6, 1) + load_map(41, 2, register=3)
    assert _linked(program[:-16], {}, 41) == program[:-16]
    assert _linked(b"", {5: 7}, 41) == b""


def test_a_function_of_the_kernel_is_called_by_its_id() -> None:
    helper = b"\x85\0\0\0" + (14).to_bytes(4, "little")  # bpf_get_current_pid_tgid
    function = b"\x85\0\0\0" + (KERNEL_FUNCTION + 65_504).to_bytes(4, "little")
    other = b"\xb7\0\0\0" + (KERNEL_FUNCTION + 1).to_bytes(4, "little")  # r0 = …: no call
    assert _linked(helper + function + other, {}, 0) == (
        helper + b"\x85\x20\0\0" + (65_504).to_bytes(4, "little") + other
    )


@loads
def test_programs_use_the_maps_of_another(tmp_path: Path) -> None:
    """One program writes into an array, a second one, loaded later, reads it as its own; and one map read directly."""
    source = tmp_path / "one.c"
    source.write_text(
        "BPF_ARRAY(mine, u64, 1);\n"
        "BPF_ARRAY(bits, u64, 1);\n"
        "int on_run(void *ctx) { u32 zero = 0; u64 *v = mine.lookup(&zero); if (v) *v += *(u64 *)ctx; return v ? *v : 0; }\n"
        "int on_bits(void *ctx) { u64 map = bpf_pseudo_fd(2, 0), word;\n"
        '    asm volatile("%0 = *(u64 *)(%1 + 0)" : "=r"(word) : "r"(map)); return word; }\n'
    )
    first = loader.load(source, [], {"on_run": ("raw", 0)}, ["mine"])
    bits = syscalls.array(16)
    shared = {"mine": first.maps["mine"], "bits": bits}
    second = loader.load(source, [], {"on_run": ("raw", 0), "on_bits": ("raw", 0)}, [], shared)
    try:
        assert syscalls.run(first.programs["on_run"], 40) == 40
        assert syscalls.run(second.programs["on_run"], 2) == 42
        rows = syscalls.BpfArray(first.maps["mine"], np.dtype([("value", "u8")]), 1, False)
        assert rows.read()["value"].tolist() == [42]
        assert syscalls.run(second.programs["on_bits"], 0) == 0
        syscalls.BpfArray(bits, np.dtype([("words", "u8", (2,))]), 1, False).write(
            [0], np.array([((7, 9),)], [("words", "u8", (2,))])
        )
        assert syscalls.run(second.programs["on_bits"], 0) == 7
    finally:
        for fd in (*first.maps.values(), *first.programs.values(), *second.programs.values(), bits):
            os.close(fd)
