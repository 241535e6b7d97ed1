"""What Live adds to what the collector counts, without a kernel."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import pytest

from kvmtop.bpf.probes import Probe
from kvmtop.bpf.run_time import Runs, Statistics
from kvmtop.errors import KvmtopError
from kvmtop.host import live
from kvmtop.host.live import Live
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import DetailRequest, Sleeper

from ..support.fake import SECOND, Host
from ..support.proc import Proc


class Collector:
    """Two vCPUs of 4000, which are in the guest."""

    host = Host()
    seeded: tuple[Sleeper, ...] = ()

    def __init__(self, pids: Iterable[int], threads: int, flags: Iterable[str]) -> None:
        self.host.__init__()  # type: ignore[misc]
        self.host.add(4000, "", 2)
        for tid in (4001, 4002):
            self.host.turn(tid, "guest")

    def seed(self, sleepers: Iterable[Sleeper]) -> None:
        Collector.seeded = tuple(sleepers)

    def read(self, meanwhile: object = None) -> Snapshot:
        self.host.now += SECOND
        return self.host.read()

    def runs(self) -> dict[Probe, Runs]:
        seconds = self.host.now // SECOND
        return {Probe("kvm", "kvm_exit", "on_exit_raw", "raw"): Runs(400 * seconds, seconds)}

    def close(self) -> Snapshot:
        return self.read()


@pytest.fixture
def source(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> Iterator[Live]:
    monkeypatch.setattr(live, "Collector", Collector)
    proc.add(4000, argv=["qemu", "-name", "web01"], vcpus=2)
    proc.thread(4000, 4000, "7 0x7f")
    proc.thread(4000, 4001, "16 0x3 0xae80", "kvm_vcpu_block")
    proc.thread(4000, 4002, "running")
    proc.add(5000)
    proc.thread(5000, 5000, "16 0x3 0xae80", "kvm_vcpu_block")  # nobody's vCPU
    source = Live()
    yield source
    source.close()


def test_sleepers_are_seeded(source: Live) -> None:
    assert Collector.seeded == (Sleeper(4000, 4001, 0, True),)


def test_names_and_clocks(source: Live) -> None:
    before = time.time_ns()
    snapshot = source.read()
    now = time.monotonic_ns()
    assert snapshot.vms[4000].name == "web01" and snapshot.cpus.keys() == {4001, 4002}
    assert 0 <= snapshot.wall_ns - (before - (now - snapshot.time_ns)) < SECOND  # as of time_ns, whenever that was


def test_other_threads(source: Live, proc: Proc) -> None:
    for tid, comm in ((4000, "qemu"), (4001, "CPU 0/KVM"), (4003, "IO io1")):
        proc.schedule(4000, tid, comm)
    proc.schedule(900, 900, "vhost-4000", kernel=True)
    assert source.read().others["comm"].tolist() == [b"qemu", b"IO io1", b"vhost-4000"]


def test_it_is_busy_while_it_loads_what_is_asked_for(source: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[str] = []
    monkeypatch.setattr(source._scheduler, "look", lambda wish: busy.append(source.busy))
    source.read()
    source.look(DetailRequest(sched=0))
    source.read()
    source.look(None)
    source.read()
    assert busy == ["loading probes …", ""] and source.busy == ""


def test_trouble_is_over_with_what_it_was_about(source: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(wish: DetailRequest | None) -> None:
        if wish:
            raise KvmtopError("not on this kernel")

    monkeypatch.setattr(source._scheduler, "look", look)
    source.look(DetailRequest(sched=0))
    source.read()
    source.read()
    assert source.trouble == "not on this kernel"
    source.look(None)
    source.read()
    assert source.trouble is None


def test_what_holds_up_vms(source: Live, proc: Proc) -> None:
    host = Collector.host
    assert not source.read().vms[4000].paused
    for tid in (4001, 4002):
        host.leave(tid, 0x60, "blocked")
        proc.thread(4000, tid, "202 0x7f")
    source.read()
    vm = source.read().vms[4000]
    assert (vm.paused, vm.stopped, vm.ended) == (True, False, False)
    for tid in (4001, 4002):
        host.turn(tid, "wait")
        host.turn(tid, "blocked")
    for tid in (4000, 4001, 4002):
        proc.thread(4000, tid, "202 0x7f", state="T")
    source.read()
    vm = source.read().vms[4000]
    assert (vm.paused, vm.stopped, vm.ended) == (False, True, False)
    for fd in (3, 4):
        (proc.path / f"4000/fd/{fd}").unlink()
    source.read(), source.read()
    vm = source.read().vms[4000]
    assert (vm.paused, vm.stopped, vm.ended) == (False, False, True)
    assert source.read().vms[4000].ended
    host.vcpus.clear()
    assert 4000 not in source.read().vms


def test_a_quota(source: Live, proc: Proc) -> None:
    (proc.path / "self").mkdir()
    (proc.path / "self/mountinfo").write_text(f"31 23 0:28 / {proc.path}/cg rw - cgroup2 cgroup2 rw\n")
    (proc.path / "cg/vm").mkdir(parents=True)
    (proc.path / "cg/vm/cpu.max").write_text("20000 100000\n")
    (proc.path / "4002/cgroup").write_text("0::/vm\n")
    assert source.read().vms[4000].quota == ""
    Collector.host.turn(4002, "throttled")
    assert source.read().vms[4000].quota == "vm: 20 ms of 100 ms"
    Collector.host.turn(4002, "guest")
    assert source.read().vms[4000].quota == ""


def test_the_programs_are_measured_while_somebody_looks_or_asks(source: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    measuring = [False]
    monkeypatch.setattr(Statistics, "start", lambda _, seconds: measuring.__setitem__(0, True) or "")
    monkeypatch.setattr(Statistics, "stop", lambda _: measuring.__setitem__(0, False))
    assert source.read().price is None and not measuring[0]
    for wish, asked in ((DetailRequest(), False), (DetailRequest(price=True), True), (None, False)):
        source.look(wish)
        source.read()
        assert measuring == [asked]
        Collector.host.now += SECOND

        price = source.read().price
        assert (price.counting_exit_ns if price else None) == (400 if asked else None)
    source.look(DetailRequest(price=True))
    source.read()
    source.close()
    assert not measuring[0]
