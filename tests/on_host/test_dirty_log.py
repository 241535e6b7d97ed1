"""Page faults by their error code, and the dirty log, against a VMM that turns it on and KVM's own bitmap and events."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from kvmtop.host.live import Live
from kvmtop.insight.accesses import accesses
from kvmtop.model.exit_stats import counts
from kvmtop.model.interval import diff
from kvmtop.model.scope import ALL
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import ABSENT, LOGGED, PRESENT, VMX, WRITE, DetailRequest
from kvmtop.output import json_lines

from .scenarios import vm
from .vmm import MEMORY, PAGES

ROUNDS = 4
EVENT = Path("/sys/kernel/tracing/events/kvmmmu/fast_page_fault")
PML = Path("/sys/module/kvm_intel/parameters/pml")
PML_FULL = (VMX, 62)


def test_each_round_of_the_dirty_log_is_seen_page_by_page() -> None:
    live = Live(look=DetailRequest(frozenset({"fault"})))
    (EVENT / "trigger").write_text("hist:keys=error_code.hex")
    try:
        with vm("dirty", "--rounds", str(ROUNDS)) as guest:
            guest.says("rounds")
            said = guest.said()
            snapshot = live.read()
        theirs = (EVENT / "hist").read_text()
    finally:
        (EVENT / "trigger").write_text("!hist:keys=error_code.hex")
        live.close()
    apic = json_lines.vms(Session(), diff(None, snapshot))[0]["apic"]  # the emulated hosts have no AVIC, no APICv
    assert apic["accelerated"] is False and apic["inhibits"][0].startswith("DISABLE"), apic
    assert re.search(rf"^rounds{f' {PAGES}' * ROUNDS}$", said, re.M), said  # as KVM's bitmap has it
    rows = [one for one in accesses(diff(None, snapshot), ALL, ["fault"]) if one.value >= MEMORY]
    total = Counter[int]()
    for one in rows:
        total[one.extra] += one.count
    print(total, theirs)
    assert len({one.value for one in rows}) == PAGES
    # It reads a page of zeros, and is given one of its own to write to; then the host has taken the other from it.
    once = dict.fromkeys((ABSENT, WRITE | PRESENT, WRITE | ABSENT), PAGES)
    if PML.exists() and PML.read_text().strip() == "Y":
        assert total == once
        assert counts(snapshot)[PML_FULL] == ROUNDS
        return
    assert total == {**once, WRITE | PRESENT | LOGGED: PAGES * ROUNDS}
    assert all(one.count == ROUNDS == one.exits for one in rows if one.extra & LOGGED)
    # The kernel's own count of writes to present pages: those, and the attempt at each that is the host's to copy.
    assert [int(n) for n in re.findall(r"hitcount: *(\d+)", theirs)] == [PAGES * (ROUNDS + 1)]
