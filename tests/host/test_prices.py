"""When the programs are measured, and what becomes of that."""

from __future__ import annotations

import pytest

from kvmtop.bpf.probes import Probe
from kvmtop.bpf.run_time import Runs, Statistics
from kvmtop.host import prices
from kvmtop.host.prices import Prices
from kvmtop.model.price import Price, Taken

EXIT, ENTRY = Probe("kvm", "kvm_exit", "on_exit_raw", "raw"), Probe("kvm", "kvm_entry", "on_entry", "raw")
SWITCH, TIMER = Probe("sched", "sched_switch", "on_switch", "typed"), Probe("irq", "softirq_entry", "on_softirq", "raw")
FIXED = Probe("kvmmmu", "fast_page_fault", "on_fixed")


class Programs:
    """Of one part: each run takes as many ns."""

    def __init__(self, **ns: int) -> None:
        self.ns = ns
        self.found = {probe: Runs() for probe in (EXIT, ENTRY, SWITCH, TIMER, FIXED) if probe.function in ns}

    def ran(self, probe: Probe, count: int, missed: int = 0) -> None:
        one = self.found[probe]
        self.found[probe] = Runs(one.ns + count * self.ns[probe.function], one.count + count, one.missed + missed)

    def runs(self) -> dict[Probe, Runs]:
        return dict(self.found)


class Kernel:
    """Measures, or says why not."""

    def __init__(self) -> None:
        self.measures, self.moments, self.why = False, 0, ""

    def start(self, seconds: float) -> str:
        assert not self.measures and 0 < seconds <= 1
        self.measures = not self.why
        self.moments += 1
        return self.why

    def stop(self) -> None:
        self.measures = False


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    one = Kernel()
    monkeypatch.setattr(Statistics, "start", lambda _, seconds: one.start(seconds))
    monkeypatch.setattr(Statistics, "stop", lambda _: one.stop())
    return one


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_what_ran_in_the_moments_is_the_price(kernel: Kernel, clock: Clock) -> None:
    one, counting = Prices(clock), Programs(on_exit_raw=100, on_entry=200, on_switch=50)
    details, sched = Programs(on_exit_raw=700, on_fixed=10), Programs(on_switch=150, on_softirq=5)
    parts = {"counting": counting, "details": details, "sched": sched}
    one.take(parts)
    assert one.price is None and not kernel.measures
    counting.ran(EXIT, 5)  # before anybody looked
    one.watch(parts, True)
    assert one.price == Price() and Price().added_exit_ns is None and kernel.measures
    for _ in range(2):
        for part, probe, count in (
            *((counting, EXIT, 20), (counting, ENTRY, 20), (counting, SWITCH, 10)),
            *((details, EXIT, 20), (details, FIXED, 3), (sched, SWITCH, 10), (sched, TIMER, 4)),
        ):
            part.ran(probe, count)
        details.ran(EXIT, 0, missed=1)
        one.take(parts)
        assert not kernel.measures
        counting.ran(EXIT, 0)
        one.watch(parts, True)
    found = one.price
    assert found == Price(
        exits=40,
        switches=20,
        counting=Taken(40 * 300, 20 * 50),
        looking={"details": Taken(40 * 700 + 6 * 10), "sched": Taken(0, 20 * 150, 8 * 5)},
        missed=2,
    )
    assert (found.counting_exit_ns, found.added_exit_ns, found.added_switch_ns) == (300, 701.5, 150)


def test_another_look_begins_anew(kernel: Kernel, clock: Clock) -> None:
    one, counting, details = Prices(clock), Programs(on_exit_raw=100), Programs(on_exit_raw=700)
    one.watch({"counting": counting}, True)
    counting.ran(EXIT, 10)
    one.take({"counting": counting})
    assert one.price and one.price.exits == 10
    one.watch({"counting": counting, "details": details}, True)
    assert one.price == Price()
    counting.ran(EXIT, 10)
    one.take({"counting": counting})  # what ran is not what the moment began with
    assert one.price == Price()
    one.watch({"counting": counting}, False)
    assert one.price is None and not kernel.measures


def test_measuring_is_rare_once_it_is_known(kernel: Kernel, clock: Clock) -> None:
    one, counting = Prices(clock), Programs(on_exit_raw=100)
    parts = {"counting": counting}
    for _ in range(5):
        one.watch(parts, True)
        counting.ran(EXIT, prices.ENOUGH // 2)
        one.take(parts)
    assert kernel.moments == 2 and one.price and one.price.exits == prices.ENOUGH
    clock.now += prices.AGAIN
    one.watch(parts, True)
    assert kernel.moments == 3 and kernel.measures
    counting.ran(EXIT, 10)
    one.take(parts)
    assert one.price.exits == prices.ENOUGH + 10
    one.watch(parts, True)
    assert kernel.moments == 3 and not kernel.measures


def test_a_kernel_that_does_not_measure_says_why(kernel: Kernel, clock: Clock) -> None:
    kernel.why = "it takes Linux 5.8"
    one, parts = Prices(clock), {"counting": Programs(on_exit_raw=100)}
    for _ in range(3):
        one.watch(parts, True)
        one.take(parts)
    assert one.price == Price(why="it takes Linux 5.8") and one.price.counting_exit_ns is None
    assert kernel.moments == 1
