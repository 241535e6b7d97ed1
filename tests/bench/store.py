"""How quickly one gets to any moment in a week of 200 vCPUs: `python -m tests.bench.store`.

The week is made of an hour's samples: each segment has a row for each second, and frames for a group of 512 s and the
history before it, which are the same in all but for when they were. So it takes 5 GB instead of 20, and a jump into that
group takes what it would in a whole store: the index of 600,000 samples, a segment opened, 1 to 14 frames unpacked, a
screen drawn.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import shutil
import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from kvmtop.recording.format import GROUP
from kvmtop.recording.moment import words
from kvmtop.recording.store import Store
from kvmtop.recording.writer import Recorder
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import ReplayFeed

from ..support.fake import SECOND
from ..support.fleet import Fleet

HOUR = 3600
BEGAN = 1_795_500_000  # s since 1970
JUMPS = (3 * GROUP, 4 * GROUP - 2)  # samples that are jumped to
MADE = 2 * GROUP
# Samples with frames: the history, what it is packed against, and the group; those that tell when a segment began and
# ended. Which of those that were made they are.
FRAMES = (
    {n + MADE: n for n in (0, *range(GROUP // 2, MADE))} | {0: 0} | {HOUR // GROUP * GROUP + n: n for n in range(16)}
)


def make(folder: Path, vcpus: int, hours: int) -> None:
    folder.mkdir(parents=True)
    first = folder / "first"
    source = Fleet(vcpus)
    recorder = Recorder(source, first)
    for _ in range(MADE):
        recorder.read()
    recorder.end()
    with closing(sqlite3.connect(first)) as database:
        rows = dict(database.execute("SELECT sample, frame FROM frames"))
        ((start,),) = database.execute("SELECT start_ns FROM runs")
        database.execute("UPDATE runs SET began = ?", (BEGAN,))
        database.execute("DELETE FROM frames")
        database.execute("DELETE FROM exits")
        like = next(iter(database.execute("SELECT * FROM samples WHERE sample = 1")))
        database.execute("DELETE FROM samples")
        marks = ", ".join("?" * len(like))
        for n in range(HOUR):
            database.execute(f"INSERT INTO samples VALUES ({marks})", (n, start + (n + 1) * SECOND, *like[2:]))
        database.executemany("INSERT INTO frames VALUES (?, ?)", [(n, rows[m]) for n, m in sorted(FRAMES.items())])
        database.commit()
    for hour in range(hours):
        name = time.strftime("%Y-%m-%dT%H%M%SZ.kvmtop", time.gmtime(BEGAN + hour * HOUR))
        shutil.copyfile(first, folder / name)
        with closing(sqlite3.connect(folder / name)) as database:
            database.execute("PRAGMA journal_mode=OFF")
            database.execute("UPDATE samples SET time_ns = time_ns + ?", (hour * HOUR * SECOND,))
            database.commit()
    first.unlink()


async def jumps(folder: Path, number: int, hours: int, size: tuple[int, int]) -> None:
    start = time.perf_counter()
    store = Store(folder)
    print(
        f"{len(store._segments)} segments, {len(store)} intervals, {store.span}: opened in {time.perf_counter() - start:.2f} s"
    )
    feed, rng = ReplayFeed(store, JUMPS[0]), random.Random(1)
    app, taken, spent = Player(feed), list[float](), list[float]()
    async with app.run_test(size=size):
        while app.shown is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(2)
        for _ in range(number):
            n = rng.randrange(hours) * HOUR + rng.randrange(*JUMPS)
            text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGAN + n + 1))
            drawn = asyncio.Event()
            start, before = time.perf_counter(), time.process_time()
            feed.go_to_moment(text)
            hidden = hours * HOUR - len(store)  # the first one, which others count from
            while store.index(store.place(app.shown.snapshot.time_ns, app.shown.snapshot)) != n - hidden:
                assert time.perf_counter() < start + 60, f"{text}: {words(store.wall(feed.at))} is shown"
                await asyncio.sleep(0.001)
            app.call_after_refresh(drawn.set)
            await drawn.wait()
            taken.append(1000 * (time.perf_counter() - start))
            spent.append(1000 * (time.process_time() - before))
            await asyncio.sleep(1.5)
    print(f"CPU time of a jump: median {statistics.median(spent):.0f} ms, longest {max(spent):.0f} ms")
    taken.sort()
    print(
        f"{number} jumps: median {statistics.median(taken):.0f} ms, 90 % {taken[-number // 10]:.0f} ms, longest {taken[-1]:.0f} ms"
    )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.store")
    parser.add_argument("--vcpus", type=int, default=200)
    parser.add_argument("--hours", type=int, default=168)
    parser.add_argument("--jumps", type=int, default=50)
    parser.add_argument("--size", default="120x36")
    parser.add_argument("--folder", type=Path, help="kept; made if it is not there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        folder = options.folder or Path(temporary) / "store"
        if not folder.exists():
            make(folder, options.vcpus, options.hours)
        width, height = map(int, options.size.split("x"))
        asyncio.run(jumps(folder, options.jumps, options.hours, (width, height)))


if __name__ == "__main__":
    main()
