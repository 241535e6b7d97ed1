"""Of the guest what needs no /dev/kvm: its arguments and its code, run by an interpreter of a few opcodes."""

from __future__ import annotations

import struct

import pytest

from kvmtop.host.selftest_guest import END, END_PORT, MSR_READ, MSR_WRITE, PORT, STEPS, Step

# Intel SDM vol. 2: 16-bit code, 0x66 makes operands 32 bits wide. Bytes and what they do; * takes a 32-bit operand.
OPCODES = {
    b"\x66\x31\xc0": "xor eax",
    b"\x66\x31\xd2": "xor edx",
    b"\x66\xb9": "mov ecx *",
    b"\x66\xbe": "mov esi *",
    b"\x66\x4e": "dec esi",
    b"\x0f\xa2": "cpuid",
    b"\x0f\x32": "rdmsr",
    b"\x0f\x30": "wrmsr",
    b"\xf4": "hlt",
    b"\x90": "nop",
    b"\xa2\x00\x00": "mov [0]",
    bytes([0xE6, PORT]): "out",
    bytes([0xE4, PORT]): "in",
    bytes([0xE6, END_PORT]): "end",
}
EFFECT = {name: name for name in STEPS} | {"mmio": "mov [0]", "spin": "nop"}


def execute(code: bytes, most: int = 100_000) -> list[tuple[str, int]]:
    """What the code does until it ends, or `most` instructions: names with ECX."""
    at, ecx, esi, zero = 0, 0, 0xDEAD, False
    done: list[tuple[str, int]] = []
    for _ in range(most):
        if at == len(code):
            break
        assert 0 <= at < len(code)
        if code[at] in (0xEB, 0x75):  # jmp, jnz
            taken = code[at] == 0xEB or not zero
            at += 2 + (struct.unpack_from("b", code, at + 1)[0] if taken else 0)
            continue
        opcode = next(opcode for opcode in OPCODES if code.startswith(opcode, at))
        name, at = OPCODES[opcode], at + len(opcode)
        if name.endswith("*"):
            (value,) = struct.unpack_from("<I", code, at)
            at += 4
            ecx, esi = (value, esi) if "ecx" in name else (ecx, value)
        elif name == "dec esi":
            esi = (esi - 1) & 0xFFFFFFFF
            zero = esi == 0
        else:
            zero = True if name.startswith("xor") else zero
            done.append((name, ecx))
    return done


def count(done: list[tuple[str, int]], name: str) -> int:
    return sum(this == name for this, _ in done)


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("turns", [1, 2, 300])
def test_turns(name: str, turns: int) -> None:
    assert count(execute(Step(name, turns).code()), EFFECT[name]) == turns


@pytest.mark.parametrize("name", STEPS)
def test_for_ever(name: str) -> None:
    assert count(execute(Step(name, 0).code() + END, 10_000), EFFECT[name]) > 1_000


def test_steps_follow_each_other() -> None:
    steps = [Step("cpuid", 3), Step("rdmsr", 2), Step("mmio", 1), Step("wrmsr", 4), Step("out", 5), Step("hlt", 1)]
    done = execute(b"".join(step.code() for step in steps) + END)
    exits = [name for name, _ in done if name in {*EFFECT.values(), "end"}]
    assert exits == (["cpuid"] * 3 + ["rdmsr"] * 2 + ["mov [0]"] + ["wrmsr"] * 4 + ["out"] * 5 + ["hlt"] + ["end"])


def test_msrs() -> None:
    assert execute(Step("rdmsr", 1).code()) == [("rdmsr", MSR_READ)]
    assert execute(Step("wrmsr", 1).code())[-1] == ("wrmsr", MSR_WRITE)


def test_most_turns() -> None:
    assert struct.unpack_from("<I", Step.parse(f"spin:{2**32 - 1}").code(), 2) == (2**32 - 1,)


@pytest.mark.parametrize(
    ("text", "step"),
    [("cpuid:10000", Step("cpuid", 10000)), ("hlt", Step("hlt", 1)), ("out:", Step("out", 1)), ("in:0", Step("in", 0))],
)
def test_parse(text: str, step: Step) -> None:
    assert Step.parse(text) == step


@pytest.mark.parametrize(
    "text", ["", ":", "nop", "CPUID:1", "cpuid:x", "cpuid:1:2", "cpuid:1.5", "cpuid:-1", f"cpuid:{2**32}"]
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        Step.parse(text)
