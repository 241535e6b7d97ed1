"""The exits that a judgement rests on, as (isa, code): Intel SDM vol. 3 appendix C; AMD APM vol. 2 appendix C."""

from __future__ import annotations

import numpy as np

from .arrays import U64, Array, Mask
from .keys import pack, unpack
from .vocabulary import NESTED, SVM, VMX, Key, vendor

CPUID = {(VMX, 10), (SVM, 0x72)}
HLT = {(VMX, 12), (SVM, 0x78), (SVM, 0xA6)}  # 0xa6 is idle-HLT
PAUSE = {(VMX, 40), (SVM, 0x77)}
IO = {(VMX, 30), (SVM, 0x7B)}
INTERRUPT = {(VMX, 1), (SVM, 0x60)}  # the host's own, which stop the guest wherever it happens to be
# A hypervisor in the VM enters its guest: VMLAUNCH, VMRESUME, VMRUN.
ENTER = {(VMX, 20), (VMX, 24), (SVM, 0x80)}
APIC_ALONE = {(VMX, 43), (VMX, 45)}  # TPR_BELOW_THRESHOLD, EOI_INDUCED: of no register that kvm_apic tells of
# APIC_ACCESS, APIC_WRITE; avic_incomplete_ipi, avic_unaccelerated_access
APIC = APIC_ALONE | {(VMX, 44), (VMX, 56), (SVM, 0x401), (SVM, 0x402)}
PML_FULL = {(VMX, 62)}
# Nothing but an access to a device: a port, or a page that KVM has marked as a device's (EPT_MISCONFIG).
DEVICE = IO | {(VMX, 49)}


def basic(isa: int, code: int) -> Key:
    """A reason without VMX's flags, bits 31:16, whether or not a nested guest's."""
    isa = vendor(isa)
    return isa, code & 0xFFFF if isa == VMX else code


def among(keys: U64, codes: set[Key]) -> Mask:
    """Which of these reasons, packed, are one of those; VMX's flags do not matter, nor whose exit it was."""
    isa, reason = unpack(keys)
    isa = isa & np.uint64(NESTED - 1)
    plain = np.where(isa == VMX, reason & np.uint64(0xFFFF), reason)
    mask = np.zeros(len(keys), bool)
    for wanted, code in codes:
        mask |= (isa == wanted) & (plain == code)
    return mask


def is_one_of(rows: Array, codes: set[Key]) -> Mask:
    """The same for rows that have an isa and a reason."""
    return among(pack(rows["isa"], rows["reason"]), codes)
