"""Which program counts exits: that of the classic kvm_exit, or that of the raw one, which costs less (exits.h)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import KvmtopError
from . import btf, loader, syscalls
from .btf import FUNCTION, STRUCT, Btf
from .probes import Probe, Probes
from .syscalls import BpfArray
from .tracepoint import Tracefs, Tracepoint

ENOUGH, REASONS = 1000, 2  # exits, and different reasons of them, that must agree before the raw one counts

# Where svm_get_exit_info and vmx_get_exit_info read the reason: flag, structure, member; several: any of these.
_SVM = (("SVM_VMCB", "vcpu_svm", ("vmcb",)), ("SVM_CODE", "vmcb", ("control.exit_code",)))
_REASON = ("vt.exit_reason.full", "exit_reason.full")  # since and before 6.16, where vcpu_tdx shares it
_VMX, _TDX = ((("VMX_REASON", structure, _REASON),) for structure in ("vcpu_vmx", "vcpu_tdx"))
# Of the kernel's own structures: an array of numbers without an end, after 8 bytes. So its verifier lets a program read
# all that comes after what it takes to be one (btf_struct_walk in kernel/bpf/btf.c).
_ENDLESS = "perf_callchain_entry"
_CLASSIC, _CHECK, _RAW = "on_exit", "on_check", "on_exit_raw"  # functions of collector.bpf.c
RAW, CLASSIC = "raw kvm_exit", "classic kvm_exit"  # how the words of ExitProbes.how begin


@dataclass(frozen=True)
class KvmExit:
    """flags: -D flags of the raw programs, empty where there are none; why: there are none, in words."""

    flags: tuple[str, ...] = ()
    why: str = ""

    @property
    def probes(self) -> tuple[Probe, ...]:
        """All that may be attached, the classic one first: what on_check compares with must have come before it."""
        raw = (_CHECK, _RAW) if self.flags else ()
        return (Probe("kvm", "kvm_exit", _CLASSIC), *(Probe("kvm", "kvm_exit", one, "raw") for one in raw))


def kvm_exit(record: Tracepoint, types: Btf | None) -> KvmExit:
    """How a raw program finds what the record of kvm_exit tells; types: the kernel's, where it has any."""
    found = _flags(record, types)
    return KvmExit(why=found) if isinstance(found, str) else KvmExit(flags=(*found,))


def _flags(record: Tracepoint, types: Btf | None) -> list[str] | str:
    """Or why there are none."""
    if not {"isa", "vcpu_id"} <= record.fields.keys():
        return "its record lacks what the raw one could be compared with"
    arguments = types.arguments("kvm_exit") if types else None
    if not types or not arguments:
        return "it takes raw tracepoints, the kernel's types of KVM (BTF), and libbpf"
    if not syscalls.may_read_kernel():
        return "the kernel is locked down (confidentiality)"
    number, place = types.offset("kvm_vcpu", "vcpu_id"), len(arguments) - 2
    # (vcpu, isa) since 5.16, before (exit_reason, vcpu, isa): 0a62a0319abb
    if place not in (0, 1) or arguments[place] != "kvm_vcpu" or number is None:
        return "this kernel's kvm_exit has other arguments than kvmtop knows"
    found = [] if place else _vendor(types)
    if isinstance(found, str):
        return found
    return [f"-DRAW_VCPU={place}", f"-DVCPU_ID={number}", *found, *_cast(types)]


def _cast(types: Btf) -> list[str]:
    """Flags for reading the kernel's memory without a helper; none where it takes one."""
    function, structure = types.id("bpf_rdonly_cast", FUNCTION), types.id(_ENDLESS, STRUCT)
    if not function or not structure or not syscalls.can_cast(function, structure):
        return []
    return [f"-DRDONLY_CAST={loader.KERNEL_FUNCTION + function}", f"-DENDLESS={structure}"]


def _vendor(types: Btf) -> list[str] | str:
    """Flags for kvm_amd, kvm_intel or, where they are built in, both; or why there are none."""
    flags = []
    for structure, wanted in (("vcpu_svm", _SVM), ("vcpu_vmx", _VMX)):
        if (vcpu := types.offset(structure, "vcpu")) is None:
            continue  # the other one's
        found = btf.offsets(types, wanted)
        if vcpu or not found:
            return f"this kernel's struct {structure} is not as kvmtop knows it"
        flags += found
    # KVM reads a TDX guest's reason from a structure of its own, whose beginning is laid out in the same way.
    if types.offset("vcpu_tdx", "vcpu") is not None and btf.offsets(types, _TDX) != btf.offsets(types, _VMX):
        return "this kernel's struct vcpu_tdx is not laid out as vcpu_vmx is"
    return flags or "neither kvm_amd nor kvm_intel tells its types (BTF)"


class ExitProbes:
    """Has the classic program count until the raw one is known to count the same, and then the raw one alone."""

    def __init__(self, probes: Probes, tracefs: Tracefs, found: KvmExit, cpus: BpfArray, checked: bool) -> None:
        """Attach them; found.probes are among the probes. checked: the raw one is known already. Raises KvmtopError."""
        self._probes, self._tracefs, self._cpus = probes, tracefs, cpus
        self._open = bool(found.flags) and not checked  # the check
        if found.flags and checked:
            self.how = RAW
            probes.attach(tracefs, {_RAW})
        else:
            self.how = f"{CLASSIC}: {found.why or 'the raw one is being checked'}"
            probes.attach(tracefs, {_CLASSIC, _CHECK})

    def update(self) -> None:
        """See how the check goes; at its end what is attached changes, and no exit is lost."""
        if not self._open:
            return
        cpus = self._cpus.read()
        agreed, differed = (int(cpus[name].sum()) for name in ("agreed", "differed"))
        if differed:
            self._end(f"{CLASSIC}: the raw one differed in {differed:,} of {agreed + differed:,} exits")
        elif agreed >= ENOUGH and int(np.bitwise_or.reduce(cpus["reasons"])).bit_count() >= REASONS:
            self._end(f"{RAW}, which agreed with the classic one in {agreed:,} exits")
            try:
                self._take_over()
            except (KvmtopError, OSError) as error:
                self._probes.detach({_RAW})
                self.how = f"{CLASSIC}: {error}"

    def _take_over(self) -> None:
        """Have the raw program count, and the classic one no more. Raises KvmtopError and OSError."""
        # Both are attached for a moment: each event has one of them at least, and on_exit_raw leaves alone what on_exit
        # has counted. An event that is under way keeps to the programs that were attached when it began, but the
        # classic one is asked for as late as its record is written (tracepoint.c, perf_trace_run_bpf_submit): so none
        # from before the raw one may be under way when the classic one goes, or it has neither.
        self._probes.attach(self._tracefs, {_RAW})
        syscalls.grace_period()
        self._probes.detach({_CLASSIC})

    def _end(self, how: str) -> None:
        self._probes.detach({_CHECK})
        self._open, self.how = False, how
