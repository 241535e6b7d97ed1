"""Samples of a guest: one that jumps to itself sits there, one that loops over much code does not."""

from __future__ import annotations

import re
import time

from kvmtop.host.live import Live
from kvmtop.insight.guest_profile import LEAST, Profile, profiles, spinning
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.keys import pack
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import DetailRequest
from kvmtop.reference.labels import Labels

from .scenarios import ON_CPU, vm
from .vmm import _CPUID, CODE

AT = CODE + len(_CPUID)


def sampled(live: Live, session: Session, guest: str) -> tuple[Profile, list[str]]:
    """A guest's samples in some seconds, and the findings about it."""
    with vm(guest, before=ON_CPU) as running:
        session.add(live.read())
        time.sleep(2)
        interval = session.add(live.read())
        (tid,) = running.tids()
    (found,) = (one for one in profiles(interval) if one.id == pack(running.process.pid, tid))
    rows = [row for row in vcpu_rows(session, interval) if row.number == tid]
    print(guest, found.samples, len(found.code), rows[0].shares)
    return found, [one.text for one in spinning(interval, rows, Labels())]


def test_a_guest_that_spins_and_one_that_does_not() -> None:
    # The clock that samples the kernel's stacks interrupts the guest as well: emulated hosts tick too rarely.
    live, session = Live(look=DetailRequest(frozenset({"rip"}), stacks=True)), Session()
    try:
        spins, said = sampled(live, session, "jmp")
        loops, nothing = sampled(live, session, "sled")
    finally:
        live.close()
    assert spins.samples >= LEAST and spins.code == [(AT, spins.samples)]
    assert len(said) == 1 and re.search(rf"sits at 0x{AT:x} \(user\), with (\d+) of \1 samples", said[0]), said
    assert loops.samples >= LEAST and len({address >> 8 for address, _ in loops.code}) > 8 and nothing == []
    assert all(AT <= address < AT + 0x4010 for address, _ in loops.code)
