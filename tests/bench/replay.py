"""How large a recording is, and how quickly it can be moved about in: `python -m tests.bench.replay`.

Records a made-up fleet (every vCPU active, every reason with other numbers each second), then plays it at 60×
in the real program and measures the time from a key to the frame that shows what it asked for.
A recording of an hour of 1,000 vCPUs takes 0.8 GB and some minutes to make.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kvmtop.player import SEEK, Player
from kvmtop.recorder import Recorder
from kvmtop.recording import Recording
from kvmtop.snapshot import BUCKETS, CELL, SLOW, SVM, THREAD, Array, Look, Names, Snapshot, Vm

from ..fake import NAMES, SECOND

WIDE = 20  # buckets that a reason's durations spread over
REASONS = 12


class Fleet:
    """So many vCPUs, four to a VM, each with 12 reasons of 1 to 2,000 exits a second; a Source."""

    def __init__(self, vcpus: int, seed: int = 1) -> None:
        self.random = random = np.random.default_rng(seed)
        count = vcpus * REASONS
        self.time_ns = self.start_ns = 1000 * SECOND
        self.threads, self.cells = np.zeros(vcpus, THREAD), np.zeros(count, CELL)
        pids = 10_000 + 100 * (np.arange(vcpus) // 4)
        self.threads["id"] = pids << 32 | (pids + 1 + np.arange(vcpus) % 4)
        self.threads["vcpu"], self.threads["isa"], self.threads["first_ns"] = np.arange(vcpus) % 4, SVM, self.start_ns
        self.cells["isa"], self.cells["reason"] = SVM, np.tile(0x70 + np.arange(REASONS), vcpus)
        self.cells["thread"], self.cells["min"] = np.repeat(np.arange(vcpus), REASONS), ~np.uint64(0)
        self.rates = np.exp(random.uniform(np.log(1), np.log(2000), count))
        self.first = np.tile(random.integers(20, 70, REASONS), vcpus) + random.integers(0, 5, count)
        shape = np.exp(-0.5 * ((np.arange(WIDE) - 6) / 3.5) ** 2)
        self.shape = shape / shape.sum()
        self.vms = {int(pid): Vm(int(pid), f"vm{n:03}", "qemu") for n, pid in enumerate(np.unique(pids))}
        self.delays = np.zeros(vcpus, "i8")
        self.names = Names({SVM: {0x70 + n: f"reason_{n}" for n in range(REASONS)} | dict(NAMES.reasons[SVM])})

    def read(self) -> Snapshot:
        """A second later."""
        random, cells, threads = self.random, self.cells.copy(), self.threads.copy()
        self.time_ns += SECOND + int(random.integers(0, 1_000_000))
        counts = random.poisson(self.rates)
        hist = random.multinomial(counts, self.shape)
        middles = 2.0 ** (5.125 + (self.first[:, None] + np.arange(WIDE)) / 4)
        total = (hist * middles * random.uniform(0.98, 1.02, hist.shape)).sum(axis=1).astype("u8")
        cells["count"] += counts.astype("u8")
        cells["total"] += total
        cells["user"] += np.where(cells["reason"] == 0x7B, total // np.uint64(2), np.uint64(0))
        rows = np.repeat(np.arange(len(cells)), WIDE)
        buckets = (self.first[:, None] + np.arange(WIDE)).reshape(-1) % BUCKETS
        cells["hist"][rows, buckets] += hist.reshape(-1).astype("u8")
        seen = counts > 0
        cells["min"][seen] = np.minimum(cells["min"][seen], (middles[:, 0] * random.uniform(0.9, 1, len(cells)))[seen])
        cells["max"][seen] = np.maximum(cells["max"][seen], (middles[:, -1] * random.uniform(0.5, 1, len(cells)))[seen])
        threads["guest"] += random.integers(SECOND // 4, SECOND, len(threads), "u8")
        inside = random.random(len(threads)) < 0.7
        ago = random.integers(100, 5_000_000, len(threads), "u8")
        threads["entry_ns"] = np.where(inside, np.uint64(self.time_ns) - ago, np.uint64(0))
        threads["exit_ns"] = np.where(inside, np.uint64(0), np.uint64(self.time_ns) - ago)
        threads["reason"] = 0x70 + random.integers(0, REASONS, len(threads))
        threads["pairs"] += counts.reshape(-1, REASONS).sum(axis=1).astype("u8")
        self.delays += random.integers(0, 5_000_000, len(threads))
        self.threads, self.cells = threads, cells
        tids = threads["id"].astype("u4").tolist()
        return Snapshot(
            time_ns=self.time_ns, start_ns=self.start_ns, threads=threads, cells=cells, names=self.names,
            thread_ids=np.arange(1, len(threads) + 1, dtype="u8"), cell_ids=np.arange(1, len(cells) + 1, dtype="u8"),
            vms=self.vms, run_delay=dict(zip(tids, self.delays.tolist(), strict=True)),
            cpus=dict(zip(tids, random.integers(0, 64, len(tids)).tolist(), strict=True)),
        )  # fmt: skip

    def look(self, look: Look | None) -> None:
        pass

    def slow(self) -> Array:
        return np.zeros(0, SLOW)

    def close(self) -> Snapshot:
        return self.read()


def record(path: Path, vcpus: int, seconds: int) -> None:
    """Make the recording, and say what that took."""
    recorder, spent = Recorder(Fleet(vcpus), path), 0.0
    source = recorder._source
    for _ in range(seconds):
        snapshot = source.read()
        start = time.process_time()
        recorder._record(snapshot, False)
        spent += time.process_time() - start
    recorder._end()
    assert not recorder.trouble, recorder.trouble
    size = path.stat().st_size
    print(f"{vcpus} vCPUs x {REASONS} reasons, {seconds} s: {size / 1e6:.1f} MB, {size / seconds * 3.6e-3:.1f} MB an hour,"
          f" {1000 * spent / seconds:.1f} ms of CPU a sample")  # fmt: skip


class Timed:
    """The program with a clock from a key to the frame after which a condition holds."""

    def __init__(self, app: Player) -> None:
        self.app, self.times = app, dict[str, list[float]]()

    async def key(self, name: str, key: str, done: Callable[[], bool]) -> None:
        loop, drawn = asyncio.get_running_loop(), asyncio.Event()
        start = time.perf_counter()
        loop.call_soon(asyncio.ensure_future, self.app._press_keys([key]))
        while not done():
            assert time.perf_counter() < start + 10, f"{name}: nothing happened"
            await asyncio.sleep(0.001)
        self.app.call_after_refresh(drawn.set)
        await drawn.wait()
        self.times.setdefault(name, []).append(1000 * (time.perf_counter() - start))
        await asyncio.sleep(0.7)

    def report(self) -> None:
        for name, times in self.times.items():
            times.sort()
            print(f"{name:<28} median {statistics.median(times):6.1f} ms, longest {times[-1]:6.1f} ms of {len(times)}")


async def play(path: Path, size: tuple[int, int], turns: int) -> None:
    start = time.perf_counter()
    app = Player(Recording(path))
    print(f"opened in {1000 * (time.perf_counter() - start):.0f} ms")
    async with app.run_test(size=size):
        timed = Timed(app)
        while app.shown is None:
            await asyncio.sleep(0.01)
        app.speed = 60
        app._wake.set()
        await asyncio.sleep(2)
        for turn in range(turns):
            if app.paused:
                app.action_pause()
            app.action_go_to(0.1 + 0.8 * (turn * 0.618 % 1))
            await asyncio.sleep(1)

            def jumped(by: int) -> Callable[[], bool]:
                goal = app.at + 0.8 * by * len(app.recording) / SEEK
                return lambda: (_shown(app) - goal) * by >= 0

            def changed(value: Callable[[], object]) -> Callable[[], bool]:
                before = value()
                return lambda: value() != before

            await timed.key("seek on, playing at 60x", "shift+right", jumped(1))
            await timed.key("seek back, playing at 60x", "shift+left", jumped(-1))
            await timed.key("sort, playing at 60x", "T" if turn % 2 else "E", changed(lambda: app.sorting))
            await timed.key("pause", "space", changed(lambda: app.paused))
            await timed.key("step on, paused", "right", changed(lambda: _shown(app)))
            await timed.key("step back, paused", "left", changed(lambda: _shown(app)))
        timed.report()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def _shown(app: Player) -> int:
    assert app.shown
    return int(np.searchsorted(app.recording.times, app.shown.after.time_ns))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.replay")
    parser.add_argument("--vcpus", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--size", default="120x50")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument(
        "--file", type=Path, default=Path("/var/tmp/kvmtop-bench.kvmtop"), help="kept; made if it is not there"
    )
    options = parser.parse_args()
    if not options.file.exists():
        record(options.file, options.vcpus, options.seconds)
    width, height = map(int, options.size.split("x"))
    asyncio.run(play(options.file, (width, height), options.turns))


if __name__ == "__main__":
    main()
