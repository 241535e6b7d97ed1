"""The exits that a judgement rests on, as (isa, code): Intel SDM vol. 3 appendix C; AMD APM vol. 2 appendix C."""

from __future__ import annotations

from .snapshot import SVM, VMX

CPUID = {(VMX, 10), (SVM, 0x72)}
HLT = {(VMX, 12), (SVM, 0x78), (SVM, 0xA6)}  # 0xa6 is idle-HLT
MWAIT = {(VMX, 36), (SVM, 0x8B), (SVM, 0x8C)}
PAUSE = {(VMX, 40), (SVM, 0x77)}
IO = {(VMX, 30), (SVM, 0x7B)}
MEMORY = {(VMX, 48), (VMX, 49), (SVM, 0x400)}  # EPT_VIOLATION, EPT_MISCONFIG, npf

IDLE = HLT | MWAIT
# An exit for the host's own interrupts: what preempts a vCPU arrives through it.
INTERRUPT = {(VMX, 1), (SVM, 0x60)}
DEVICE = IO | MEMORY  # accesses that a VMM's devices answer


def basic(isa: int, code: int) -> tuple[int, int]:
    """A reason without VMX's flags, bits 31:16."""
    return isa, code & 0xFFFF if isa == VMX else code
