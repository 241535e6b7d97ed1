"""Samples of a guest: one that jumps to itself sits there, one that loops over much code does not."""

from __future__ import annotations

import re
import time

from kvmtop.host.live import Live
from kvmtop.insight.guest_profile import LEAST, profiles, spinning
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.keys import pack
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import DetailRequest
from kvmtop.reference.labels import Labels

from .scenarios import vm
from .vmm import _CPUID, CODE

AT = CODE + len(_CPUID)


def test_a_guest_that_spins_and_one_that_does_not() -> None:
    with vm("jmp") as jmp, vm("sled") as sled:
        live, session = Live(look=DetailRequest(frozenset({"rip"}))), Session()
        try:
            session.add(live.read())
            time.sleep(4)
            interval = session.add(live.read())
        finally:
            live.close()
        ((spins,), (loops,)) = jmp.tids(), sled.tids()
        found = {one.id: one for one in profiles(interval)}
        one, other = found[int(pack(jmp.process.pid, spins))], found[int(pack(sled.process.pid, loops))]
        print(one, other.samples, len(other.code))
        assert one.samples >= LEAST and one.code == [(AT, one.samples)]
        assert other.samples >= LEAST and len({address >> 8 for address, _ in other.code}) > 8
        assert all(AT <= address < AT + 0x4010 for address, _ in other.code)
        said = [one.text for one in spinning(interval, vcpu_rows(session, interval), Labels())]
        assert len(said) == 1 and re.search(rf"sits at 0x{AT:x} \(user\), with (\d+) of \1 samples", said[0]), said
