from __future__ import annotations

import pytest

from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Session
from kvmtop.model.snapshot import Snapshot
from kvmtop.tables.header import running, trail
from kvmtop.tables.title import figures

from ..support.fake import SECOND, Host


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web", 2)
    host.add(200, "db")
    host.end(200)
    return host


def test_the_title_has_what_runs_and_what_was_lost(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.now += 3700 * SECOND
    host.exits(101, 0x7B, *[1_000] * 7400)
    host.counters["lost"] = 5
    interval = session.add(host.read())
    assert running(interval.after) == ["1 VM", "2 vCPUs"]
    found = [" ".join(part) for part in figures(interval, ALL)]
    assert found == ["2.0 exits/s", "1 VM", "2 vCPUs", "5 LOST"]


def test_the_trail_names_what_is_known(host: Host) -> None:
    host.exits(101, 0x7B, 1_000)
    snapshot = host.read()
    vcpu = Scope(100, int(snapshot.thread_ids[0]))

    def names(scope: Scope, at: Snapshot | None = snapshot) -> list[str]:
        return [name for name, _ in trail(scope, at, (2, 0x7B))]

    assert names(vcpu) == ["All VMs", "web", "vCPU 0", "io"]
    assert names(Scope(200)) == ["All VMs", "db (ended)", "io"]
    assert names(Scope(7, 1 << 60)) == ["All VMs", "pid 7", "vCPU (gone)", "io"]
    assert names(Scope(7), None) == ["All VMs", "pid 7"]
    assert [place for _, place in trail(vcpu, snapshot, None)] == [(Scope(), None), (Scope(100), None), (vcpu, None)]
