"""What the probes add, on machines that are made up: how often the interval covers it."""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from kvmtop.bpf.probes import Probe
from kvmtop.bpf.run_time import Runs
from kvmtop.errors import KvmtopError
from kvmtop.host import exit_cost, processes
from kvmtop.host.exit_cost import LEAST, LOOK, Cost, compared, interval
from kvmtop.host.selftest_guest import Step
from kvmtop.model.snapshot import Snapshot

from ..support.fake import Host

Noise = Callable[[np.random.Generator, int], float]  # of the nth run, in ns


def quiet(words: str) -> None:
    """Nobody looks."""


def cost(noise: Noise, added: float = 0.0, seed: int = 0, seconds: float = 2.0) -> Cost:
    """Of exits of 1,000 ns, where a run takes 50 ms."""
    generator, turns = np.random.default_rng(seed), itertools.count()
    random.seed(seed)
    time = 0.0

    def run(probed: bool) -> float:
        nonlocal time
        time += 0.05
        return 1000 + added * probed + noise(generator, next(turns))

    return compared(run, quiet, seconds, lambda: time)


def covered(noise: Noise, added: float, seconds: float = 2.0, times: int = 200) -> float:
    """How often what is added is in the interval."""
    found = [cost(noise, added, seed, seconds).added_between_ns for seed in range(times)]
    return sum(low <= added <= high for low, high in found) / times


NOISES: dict[str, Noise] = {
    "even": lambda generator, _: generator.normal(0, 20),
    "with far outliers, slower only": lambda generator, _: abs(generator.standard_cauchy()) * 20,
    "drifting": lambda generator, turn: 5 * turn + generator.normal(0, 20),
    "coming and going with the blocks": lambda generator, turn: 100 * math.cos(turn * math.pi / 2) + generator.normal(),
}


# 95 %, less three standard deviations of 200 tries. A period of four runs is as bad as it gets: that of a block.
@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("added", [0, 300])
def test_the_interval_covers_what_is_added(noise: Noise, added: float) -> None:
    assert covered(noise, added) > 0.9


def test_it_does_so_where_it_may_stop_early() -> None:
    stopped = [cost(NOISES["even"], seed=seed, seconds=8).blocks for seed in range(50)]
    assert len({*stopped}) > 1 and max(stopped) < 40
    assert covered(NOISES["even"], 0, 8) > 0.9


def test_what_drifts_evenly_cancels_out() -> None:
    found = cost(lambda _, turn: 7.0 * turn, 300)
    assert found.added_between_ns == pytest.approx((300, 300)) and found.added_ns == pytest.approx(300)


def test_it_ends_when_the_interval_is_narrow_or_the_time_is_over() -> None:
    assert cost(lambda *_: 0.0, seconds=100).blocks == LOOK
    assert cost(NOISES["with far outliers, slower only"], seconds=2.9).blocks == 15
    assert cost(lambda *_: 0.0, seconds=0).blocks == LEAST


def test_the_exit_without_probes() -> None:
    found = cost(lambda generator, _: generator.uniform(0, 100), 500, seconds=20)
    low, high = found.exit_middle_ns
    assert 1020 < low < found.exit_ns < high < 1080


# Critical values of Wilcoxon's signed-rank test, two-sided, 5 %: the largest rank sum that is significant.
@pytest.mark.parametrize(("count", "critical"), [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (12, 13), (20, 52)])
def test_the_interval_is_that_of_the_table(count: int, critical: int) -> None:
    values = [2.0**n for n in range(count)]
    means = sorted((a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2))
    low, _, high = interval(values)
    assert (low, high) == (means[critical], means[-1 - critical])


def test_too_few_have_none() -> None:
    with pytest.raises(ValueError, match="5 differences are too few"):
        interval([1.0] * (LEAST - 1))


# Measuring, with a guest that takes no time.


class Guest:
    """Of 200 exits at first, and of as many as it shall."""

    pid = os.getpid()

    def __init__(self, steps: list[Step]) -> None:
        self.exits = steps[0].count

    def run(self, patience: float) -> float:
        Probes.seen += self.exits * Probes.on
        return 1e-6 * self.exits

    def close(self) -> None:
        Probes.seen = 0


class Probes:
    seen, on, lost = 0, False, 0

    def __init__(self, pids: list[int]) -> None:
        Probes.on = True
        assert pids == [Guest.pid]

    def pause(self) -> None:
        assert Probes.on
        Probes.on = False

    def resume(self) -> None:
        assert not Probes.on
        Probes.on = True

    def read(self) -> Snapshot:
        host = Host()
        host.add(1, "self")
        host.exits(2, 0x72, *[1] * (Probes.seen - Probes.lost))
        return replace(host.read(), counted_by="raw kvm_exit")

    def runs(self) -> dict[Probe, Runs]:
        others = {Probe("sched", "sched_switch", "on_switch"): Runs(10**9, 7)}
        exits = {"kvm_exit": 300, "kvm_entry": 100}
        return others | {Probe("kvm", name, name): Runs(ns * Probes.seen, Probes.seen) for name, ns in exits.items()}

    close = read


class Measured:
    """The kernel measures programs' run time, or says why not."""

    why = ""

    def start(self, seconds: float) -> str:
        return self.why

    def stop(self) -> None:
        pass


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exit_cost, "RUN_NS", 0.3e6)
    monkeypatch.setattr(exit_cost, "Apart", Guest)
    monkeypatch.setattr(exit_cost, "Collector", Probes)
    monkeypatch.setattr(exit_cost, "Statistics", Measured)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cpus: None)
    monkeypatch.setattr(processes, "namespace", lambda: "")
    monkeypatch.setattr(Probes, "lost", 0)
    Probes.seen = 0


def test_it_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    found = exit_cost.measure(quiet, 0)
    assert (found.exits_per_run, found.told_by, found.blocks) == (300, "raw kvm_exit", LEAST)
    assert found.exit_ns == pytest.approx(1000) and found.added_ns == pytest.approx(0)
    assert found.held_on_cpu in range(os.cpu_count() or 1)
    assert found.run_time_ns == 400 and "the programs alone run 400 ns of an exit" in found.how
    monkeypatch.setattr(Measured, "why", "it takes Linux 5.8")
    assert exit_cost.measure(quiet, 0).run_time_ns is None


def test_a_clock_that_stands_still_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    real, turns = Guest.run, iter([0.0, 0.0, 1.0, 0.0])

    def run(self: Guest, patience: float) -> float:
        return real(self, patience) * next(turns, 1.0)

    monkeypatch.setattr(Guest, "run", run)
    assert exit_cost.measure(quiet, 0).exits_per_run == 300
    monkeypatch.setattr(Guest, "run", lambda self, patience: 0.0)
    with pytest.raises(KvmtopError, match="did not grow in 3 × 200 exits"):
        exit_cost.measure(quiet, 0)


def test_it_may_not_be_held_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(pid: int, cpus: set[int]) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setaffinity", refused)
    found = exit_cost.measure(quiet, 0)
    assert found.held_on_cpu is None and "on no CPU of its own" in found.how


def test_what_was_not_counted_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probes, "lost", 1)
    with pytest.raises(KvmtopError, match=r"of ([\d,]+) exits [\d,]+ were counted, so nothing is known"):
        exit_cost.measure(quiet, 0)


def test_a_kvm_without_kvm_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probes, "read", lambda self: Host().read())
    with pytest.raises(KvmtopError, match="fired no kvm_exit at all"):
        exit_cost.measure(quiet, 0)


@pytest.mark.parametrize("error", [OSError(2, "No such file or directory", "/dev/kvm"), RuntimeError("why")])
def test_a_guest_that_cannot_be_run(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def broken(self: Guest, patience: float) -> float:
        raise error

    monkeypatch.setattr(Guest, "run", broken)
    with pytest.raises(KvmtopError, match=r"could not be run: (why|.*'/dev/kvm') "):
        exit_cost.measure(quiet, 0)


def test_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "namespace", lambda: "this is a PID namespace of its own")
    with pytest.raises(KvmtopError, match="namespace of its own"):
        exit_cost.measure(quiet, 0)
