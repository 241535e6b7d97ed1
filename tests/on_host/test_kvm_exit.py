"""kvm_exit as a raw tracepoint: it takes over in mid-run and counts the same; read at a wrong place, it never counts."""

from __future__ import annotations

import threading

import pytest

from kvmtop.bpf.btf import Btf
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.kvm_exit import CLASSIC, ENOUGH, RAW

from . import truth

GUEST = ("--vcpus", "2", "cpuid:20000", "out:200", "rdmsr:30", "mmio:7", "hlt:3")


def test_the_raw_one_takes_over_in_mid_run_and_every_exit_is_counted() -> None:
    collector = Collector()
    seen, stop = set[str](), threading.Event()

    def read() -> None:
        while not stop.wait(0.005):
            seen.add((collector.read().counted_by or "").partition(",")[0])

    reader = threading.Thread(target=read)
    with truth.counting() as kernel:
        reader.start()
        truth.run_guest(*GUEST)
        stop.set()
        reader.join()
        truth.run_guest("--vcpus", "3", "cpuid:3000", "out:50")  # whose threads the raw one alone has seen
        kernel.read()
    snapshot = collector.close()
    assert seen == {f"{CLASSIC}: the raw one is being checked", RAW}
    assert truth.counted(snapshot) == kernel
    assert sum(kernel.values()) > 2 * ENOUGH
    assert (snapshot.lost, snapshot.unpaired, snapshot.overwritten) == (0, 0, 0)
    assert sorted(snapshot.threads["vcpu"].tolist()) == [0, 0, 1, 1, 2]


def test_what_is_known_counts_from_the_start() -> None:
    collector = Collector(checked=True)
    with truth.counting() as kernel:
        truth.run_guest(*GUEST)
        kernel.read()
    snapshot = collector.close()
    assert snapshot.counted_by == RAW and truth.counted(snapshot) == kernel
    assert (snapshot.lost, snapshot.unpaired, snapshot.overwritten) == (0, 0, 0)


@pytest.mark.parametrize(
    ("members", "by"),
    [
        ({"vmcb", "exit_reason.full", "vt.exit_reason.full"}, 16),
        ({"control.exit_code", "exit_reason.full", "vt.exit_reason.full"}, 8),
        ({"control.exit_code", "exit_reason.full", "vt.exit_reason.full"}, 1),
        ({"vcpu_id"}, 8),
    ],
)
def test_a_wrong_place_is_found_out(monkeypatch: pytest.MonkeyPatch, members: set[str], by: int) -> None:
    offset = Btf.offset

    def wrong(self: Btf, structure: str, path: str) -> int | None:
        found = offset(self, structure, path)
        return found + by if found is not None and path in members else found

    monkeypatch.setattr(Btf, "offset", wrong)
    collector = Collector()
    with truth.counting() as kernel:
        for _ in range(2):
            truth.run_guest(*GUEST)
            assert (collector.read().counted_by or "").startswith(f"{CLASSIC}: the raw one differed in ")
        kernel.read()
    snapshot = collector.close()
    assert truth.counted(snapshot) == kernel
    assert (snapshot.lost, snapshot.unpaired, snapshot.overwritten) == (0, 0, 0)
    assert sorted(snapshot.threads["vcpu"].tolist()) == [0, 0, 1, 1]
