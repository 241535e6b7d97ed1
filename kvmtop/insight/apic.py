"""Is a VM's APIC accelerated, and how many of its exits would that spare, as far as the figures tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .. import units
from ..model.arrays import U64
from ..model.interval import Interval
from ..model.keys import unpack
from ..model.reasons import APIC, APIC_ALONE
from ..model.vocabulary import KINDS, SVM, VMX, looks_at
from ..reference import apicv
from .accesses import change, seconds
from .finding import Finding
from .vcpus import VcpuRow

LEAST, SHARE = 100.0, 0.1  # exits a second, and of all of the VM's, from which on that it is off is worth a sentence
REGISTERS = {"apic": (0x80, 0xB0, 0x300, 0x310), "msr": (0x808, 0x80B, 0x830)}  # TPR, EOI, ICR: SDM vol. 3, 30.1


@dataclass(frozen=True)
class Verdict:
    """Of one VM. what: as the vendor calls it; inhibits: as Apic has it, None where nothing is known; unknown: why."""

    what: str
    inhibits: tuple[str, ...] | None
    unknown: str

    @property
    def on(self) -> bool | None:
        """Whether the hardware emulates its APIC; None is unknown."""
        return None if self.inhibits is None else not self.inhibits

    @property
    def words(self) -> str:
        """ "AVIC is off: PIT reinjection"."""
        if self.inhibits is None:
            return f"{self.what}: {units.DASH} ({self.unknown})"
        return f"{self.what} is {f'off: {apicv.why(self.inhibits)}' if self.inhibits else 'on'}"

    @property
    def advice(self) -> str:
        """What to try, empty where nothing is known."""
        return apicv.advice(self.inhibits or ())


@dataclass(frozen=True)
class ApicExits:
    """How many a second are for the APIC. what: which of them that means; whole: there are no more of those."""

    rate: float
    what: str
    whole: bool


def verdict(interval: Interval, pid: int) -> Verdict:
    """What is known of a VM."""
    after = interval.after
    what = {SVM: "AVIC", VMX: "APICv"}.get(after.isa, "APICv or AVIC")
    return Verdict(what, after.apic.inhibits.get(pid), after.apic.unknown)


def apic_exits(interval: Interval) -> dict[int, ApicExits]:
    """Of each VM, by its pid: by what is looked at; else by their reasons, of those with any.

    kvm_apic tells of each register that KVM emulates; TPR_BELOW_THRESHOLD and EOI_INDUCED are none of those.
    """
    details, rows = interval.after.details, change(interval)
    by_reason = {pid: ApicExits(rate, "APIC exits", False) for pid, rate in _by_reason(interval, APIC).items()}
    for kind, wanted in REGISTERS.items():
        if details and rows is not None and kind in details.look.kinds:
            mine = rows[(rows["kind"] == KINDS.index(kind)) & np.isin(rows["value"], wanted)]
            found = _sums(unpack(mine["id"])[0], mine["exits"] / seconds(interval))
            alone = _by_reason(interval, APIC_ALONE)
            whole = kind == "apic" and not details.dropped.get(kind) and not details.look.only
            seen = [pid for pid in interval.after.vms if looks_at(details.look.pids, pid)]
            rates = {pid: found.get(pid, 0.0) + alone.get(pid, 0.0) for pid in seen}
            return by_reason | {pid: ApicExits(rate, "for EOI, ICR or TPR", whole) for pid, rate in rates.items()}
    return by_reason


def _by_reason(interval: Interval, reasons: set[tuple[int, int]]) -> dict[int, float]:
    rows, after = interval.rows, interval.after
    rows = rows[(rows["thread"] >= 0) & interval.are(reasons) & (rows["count"] > 0)]
    return _sums(unpack(after.threads["id"][rows["thread"]])[0], rows["count"] / interval.seconds)


def _sums(pids: U64, rates: npt.NDArray[np.floating]) -> dict[int, float]:
    distinct, which = np.unique(pids, return_inverse=True)
    return dict(zip(distinct.tolist(), np.bincount(which, rates).tolist(), strict=True))


def share(exits: ApicExits, rate: float) -> str:
    """ "4.1k of 5.3k exits/s are for EOI, ICR or TPR"; rate: of all of the VM's exits."""
    least = "" if exits.whole else "at least "
    return f"{least}{units.rate(exits.rate)} of {units.rate(rate)} exits/s are {exits.what}"


def apic(interval: Interval, vms: Sequence[VcpuRow]) -> Iterator[Finding]:
    """VMs whose APIC costs them many exits, though hardware could spare some."""
    found = apic_exits(interval) if any(interval.after.apic.inhibits.values()) else {}
    for vm in vms if found else ():
        one, exits = verdict(interval, vm.number), found.get(vm.number)
        if one.inhibits and exits and exits.rate >= max(LEAST, SHARE * vm.rate):
            off, _, why = one.words.partition(":")
            tries = f"; try {one.advice}" if one.advice else ""
            yield Finding(
                f"{off} for {vm.vm}:{why}; {share(exits, vm.rate)}{tries}",
                short=f"{vm.vm}: {off}",
                scope=vm.scope,
                state="kernel",
                evidence=(share(exits, vm.rate), f"{off} since {why.strip()}"),
            )
