"""Why KVM does not let the hardware emulate a VM's APIC (APICv, AVIC): kvm->arch.apicv_inhibit_reasons of all VMs.

The event kvm_apicv_inhibit_changed is silent for VMs that run already. So this is read when somebody asks, by a BPF
iterator over all open files (bpf_iter_task_file, Linux 5.8): exits have nothing to do with it.

Its program is put together here, not compiled from C as the others. bcc's Python (0.26) knows no iterators, so loading
and linking would be the same; and the compiler takes 0.35 s of CPU and 135 MB even for a function that does nothing,
where 38 instructions take 0.1 ms. With collector.bpf.c, whose compiler runs anyway, counting would begin only after
these types have been looked up.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

from . import btf, syscalls
from .btf import FUNCTION

ANON_INODE = 0x09041934  # ANON_INODE_FS_MAGIC in include/uapi/linux/magic.h: only the kernel names files there
NAME = b"kvm-vm\0"  # kvm_dev_ioctl_create_vm in virt/kvm/kvm_main.c; the file's private_data is its struct kvm
RECORD = struct.Struct("<QQ")  # pid, apicv_inhibit_reasons
MOST = RECORD.size * 65536  # bytes of an answer
_PREFIX = "APICV_INHIBIT_REASON_"
_READ_KERNEL, _SEQ_WRITE = 113, 127  # helpers: include/uapi/linux/bpf.h
_PLACES = {
    "meta": ("bpf_iter__task_file", "meta"),
    "task": ("bpf_iter__task_file", "task"),
    "file": ("bpf_iter__task_file", "file"),
    "seq": ("bpf_iter_meta", "seq"),
    "tgid": ("task_struct", "tgid"),
    "inode": ("file", "f_inode"),
    "super": ("inode", "i_sb"),
    "magic": ("super_block", "s_magic"),
    "dentry": ("file", "f_path.dentry"),
    "name": ("dentry", "d_name.name"),
    "kvm": ("file", "private_data"),
    "inhibits": ("kvm", "arch.apicv_inhibit_reasons"),
}


class Apicv:
    """Loaded at construction."""

    why = ""  # nothing is known, in words
    names: Mapping[int, str] = {}  # of the bits

    def __init__(self) -> None:
        self._link: int | None = None
        self.why = self._load()

    def _load(self) -> str:
        found = _places()
        if isinstance(found, str):
            return found
        function, places, self.names = found
        try:
            program = syscalls.load(_program(places), "iterator", function)
            try:
                self._link = syscalls.link_iterator(program)
            finally:
                os.close(program)
        except OSError as error:
            return f"the kernel refuses the BPF iterator: {error.strerror}"
        return ""

    def read(self) -> dict[int, tuple[str, ...]]:
        """By the pid of each VM's process, the kernel's names of why not; () if hardware does it. Raises OSError."""
        if self._link is None:
            return {}
        masks: dict[int, int] = {}
        for pid, mask in RECORD.iter_unpack(self._answer()):
            masks[pid] = masks.get(pid, 0) | mask
        return {pid: tuple(map(self._name, _bits(mask))) for pid, mask in masks.items()}

    def _answer(self) -> bytes:
        with os.fdopen(syscalls.iterate(self._link or 0), "rb", buffering=0) as file:
            parts = bytearray()
            while len(parts) < MOST and (part := file.read(1 << 16)):
                parts += part
        return bytes(parts[: len(parts) // RECORD.size * RECORD.size])

    def _name(self, bit: int) -> str:
        return self.names.get(bit, f"bit {bit}")

    def close(self) -> None:
        """Free it."""
        if self._link is not None:
            os.close(self._link)
            self._link = None


def _places() -> tuple[int, dict[str, int], dict[int, str]] | str:
    """The iterator's function, where its program finds what it reads, and the names of the bits; or why that fails."""
    if not syscalls.may_read_kernel():
        return "the kernel is locked down (confidentiality)"
    with btf.load() as types:
        if not types or types.offset("kvm", "arch") is None:
            return "it takes the kernel's types of KVM (BTF), and libbpf"
        found = {flag: types.offset(structure, path) for flag, (structure, path) in _PLACES.items()}
        function = types.id("bpf_iter_task_file", FUNCTION)
        names = types.enumerators("kvm_apicv_inhibit")
    if found["inhibits"] is None:
        return "this kernel keeps no reasons (before Linux 5.6)"
    places = {flag: at for flag, at in found.items() if at is not None}
    if len(places) < len(found) or not function:
        return "this kernel has no BPF iterator over open files (before Linux 5.8)"
    return function, places, {bit: n.removeprefix(_PREFIX) for n, bit in names.items() if n.startswith(_PREFIX)}


def _bits(mask: int) -> list[int]:
    return [bit for bit in range(64) if mask >> bit & 1]


def _program(at: Mapping[str, int]) -> bytes:
    """What the iterator runs for each open file: a RECORD for each VM's."""
    code: list[bytes] = []
    leaves: list[int] = []  # jumps to the end

    def add(op: int, to: int = 0, source: int = 0, offset: int = 0, number: int = 0) -> None:
        code.append(struct.pack("<BBhi", op, source << 4 | to, offset, number))

    def load(to: int, source: int, offset: int) -> None:
        add(0x79, to, source, offset)

    def leave(op: int, to: int, source: int = 0, number: int = 0) -> None:
        leaves.append(len(code))
        add(op, to, source, 0, number)

    def peek(size: int) -> None:
        """What r3 points to, on the stack."""
        add(0xBF, 1, 10)
        add(0x07, 1, number=-8)
        add(0xB7, 2, number=size)
        add(0x85, number=_READ_KERNEL)
        leave(0x55, 0)

    load(6, 1, at["file"])
    leave(0x15, 6)
    load(7, 1, at["task"])
    leave(0x15, 7)
    load(8, 1, at["meta"])
    load(8, 8, at["seq"])
    load(1, 6, at["inode"])
    load(1, 1, at["super"])
    load(1, 1, at["magic"])
    leave(0x55, 1, number=ANON_INODE)
    load(3, 6, at["dentry"])
    load(3, 3, at["name"])
    add(0x7A, 10, offset=-8)  # *(u64 *)(r10 - 8) = 0
    peek(len(NAME))
    load(1, 10, -8)
    low, high = struct.unpack("<ii", NAME.ljust(8, b"\0"))
    add(0x18, 2, number=low)  # r2, in two parts
    add(0, number=high)
    leave(0x5D, 1, 2)
    load(3, 6, at["kvm"])
    add(0x07, 3, number=at["inhibits"])
    peek(8)
    add(0x61, 1, 7, at["tgid"])
    add(0x7B, 10, 1, -16)
    add(0xBF, 1, 8)
    add(0xBF, 2, 10)
    add(0x07, 2, number=-16)
    add(0xB7, 3, number=RECORD.size)
    add(0x85, number=_SEQ_WRITE)
    for jump in leaves:
        op, registers, _, number = struct.unpack("<BBhi", code[jump])
        code[jump] = struct.pack("<BBhi", op, registers, len(code) - jump - 1, number)
    add(0xB7, 0)
    add(0x95)
    return b"".join(code)
