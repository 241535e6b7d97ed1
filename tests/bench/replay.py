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

from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import SEEK, SPEEDS, ReplayFeed

from ..support.fleet import REASONS, Fleet


def record(path: Path, vcpus: int, seconds: int) -> None:
    """Make the recording, and say what that took."""
    recorder, spent = Recorder(Fleet(vcpus), path), 0.0
    source = recorder._source
    for _ in range(seconds):
        snapshot = source.read()
        start = time.process_time()
        recorder._record(snapshot, False)
        spent += time.process_time() - start
    recorder.end()
    assert not recorder.trouble, recorder.trouble
    size = path.stat().st_size
    print(
        f"{vcpus} vCPUs x {REASONS} reasons, {seconds} s: {size / 1e6:.1f} MB, {size / seconds * 3.6e-3:.1f} MB an hour,"
        f" {1000 * spent / seconds:.1f} ms of CPU a sample"
    )


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
    feed = ReplayFeed(Recording(path))
    app = Player(feed)
    print(f"opened in {1000 * (time.perf_counter() - start):.0f} ms")
    async with app.run_test(size=size):
        timed = Timed(app)
        while app.shown is None:
            await asyncio.sleep(0.01)
        feed.faster(len(SPEEDS))
        await asyncio.sleep(2)
        for turn in range(turns):
            if feed.paused:
                app.action_pause()
            app.action_go_to(0.1 + 0.8 * (turn * 0.618 % 1))
            await asyncio.sleep(1)

            def jumped(by: int) -> Callable[[], bool]:
                goal = feed.at + 0.8 * by * len(feed.recording) / SEEK
                return lambda: (_shown(app) - goal) * by >= 0

            def changed(value: Callable[[], object]) -> Callable[[], bool]:
                before = value()
                return lambda: value() != before

            await timed.key("seek on, playing at 60x", "shift+right", jumped(1))
            await timed.key("seek back, playing at 60x", "shift+left", jumped(-1))
            await timed.key("sort, playing at 60x", "T" if turn % 2 else "E", changed(lambda: app.viewpoint.sorting))
            await timed.key("pause", "space", changed(lambda: feed.paused))
            await timed.key("step on, paused", "right", changed(lambda: _shown(app)))
            await timed.key("step back, paused", "left", changed(lambda: _shown(app)))
        timed.report()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def _shown(app: Player) -> int:
    assert app.shown
    return int(np.searchsorted(app.replay.recording.times, app.shown.snapshot.time_ns))


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
