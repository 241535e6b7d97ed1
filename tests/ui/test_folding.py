"""Which VMs have their vCPUs left out, by themselves and by a key."""

from __future__ import annotations

from kvmtop.insight.vcpus import VcpuRow
from kvmtop.model.scope import Scope
from kvmtop.ui.folding import Folding

from ..support.dashboard import driving, work
from ..support.fake import Host


def three_vms() -> Host:
    host = Host()
    for number, name in enumerate(("app01", "db01", "web01")):
        host.add(4000 + 100 * number, name, 6)
    return host


async def test_where_all_have_room_none_is_folded() -> None:
    async with driving(three_vms(), (160, 48)) as d:
        assert len(d.names("vms")) == 21


async def test_where_rows_are_few_those_are_folded_of_which_nothing_is_said() -> None:
    host = three_vms()
    for tid in range(4101, 4107):
        host.vcpus[tid].states["throttled"] += 500_000_000
        host.vcpus[tid].states["guest"] += 500_000_000
        work(host, tid)
    async with driving(host, (160, 36)) as d:
        await d.tick()
        vcpus = [f"vCPU {n}" for n in range(6)]
        assert d.names("vms") == ["app01", *vcpus, "db01", *vcpus, "web01"]  # app01 has the cursor
        assert [row.cells[0][0] for row in d.table("vms").rows if row.strong] == ["▾", "▾", "▸"]
        for tid in range(4101, 4107):
            work(host, tid)
        await d.tick(3)
        assert len(d.names("vms")) == 15  # nothing folds by itself that somebody may be reading


async def test_a_key_folds_and_unfolds_it_and_a_click_on_its_mark_does() -> None:
    async with driving(three_vms(), (160, 48)) as d:
        await d.press("2", "down", "down", "u")
        assert d.names("vms")[:2] == ["app01", "db01"] and d.table("vms").cursor == Scope(4000)
        await d.tick(2)
        assert d.names("vms")[:2] == ["app01", "db01"]
        await d.press("u")
        assert d.names("vms")[1] == "vCPU 0"
        await d.pilot.click("#vms", offset=(1, 1))
        await d.pilot.pause()
        assert d.names("vms")[1] == "db01" and d.app.viewpoint.scope.pid is None
        await d.pilot.click("#vms", offset=(5, 1))
        await d.pilot.pause()
        assert d.app.viewpoint.scope == Scope(4000)


def test_a_vm_that_comes_later_is_folded_if_there_is_no_room_and_others_stay() -> None:
    def rows(*pids: int) -> list[VcpuRow]:
        return [row(Scope(pid, thread)) for pid in pids for thread in (None, pid + 1, pid + 2)]

    def row(scope: Scope) -> VcpuRow:
        return VcpuRow(scope, "", "", 0, 0, 0, 0, None, 0.0, None, "", None, False, [])

    folding = Folding()
    assert folding.folded(rows(1, 10), 6, 6, ()) == set()
    assert folding.folded(rows(1, 10, 20), 6, 6, ()) == {20}
    assert folding.folded(rows(1, 10), 6, 6, ()) == set()
    assert folding.folded(rows(1, 10), 4, 4, (1,)) == {10}  # another size
    folding.open(10)
    assert folding.folded(rows(1, 10), 4, 4, (1,)) == set()
    folding.turn(1)
    assert folding.folded(rows(1, 10), 0, 0, ()) == {1}
