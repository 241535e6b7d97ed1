"""A store of 200 busy vCPUs as it is thinned: `python -m tests.bench.thinning`.

A segment is recorded as it comes, and thinned to 10 s and to a minute: what that takes, and what is left. A month is
laid out of copies of these, each later by its length: a day as it was, six days of 10 s, the rest of a minute; jumps go
anywhere in it. Last, a recorder of such a store is read each second while it thins: how late that is.
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
from dataclasses import replace
from pathlib import Path

from kvmtop.recording import thinner
from kvmtop.recording.folder import Folder
from kvmtop.recording.moment import words
from kvmtop.recording.store import Store
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.thinning import thin
from kvmtop.recording.writer import Recorder
from kvmtop.recording.writing import Limits
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import ReplayFeed

from ..support.fake import SECOND
from ..support.fleet import Fleet

DAY = 86400
BEGAN = 1_795_500_000  # s since 1970
STEPS = {"as recorded": 0, "10 s": 10, "a minute": 60}


def record(path: Path, vcpus: int, samples: int) -> float:
    """A segment; CPU seconds of writing it."""
    source, spent = Fleet(vcpus), 0.0
    recorder = Recorder(source, path)
    for _ in range(samples):
        snapshot = source.read()
        start = time.process_time()
        recorder.add(replace(snapshot, wall_ns=BEGAN * SECOND + snapshot.time_ns - snapshot.start_ns))
        spent += time.process_time() - start
    recorder.end()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE runs SET began = ?", (BEGAN,))
        database.commit()
    return spent


def thinned(path: Path, samples: int) -> dict[str, Path]:
    """The segment as it was, and what it becomes; what that takes of each second that was recorded."""
    found = {"as recorded": path}
    for (before, _), (name, step) in zip(STEPS.items(), list(STEPS.items())[1:], strict=False):
        found[name] = path.with_name(name)
        shutil.copyfile(found[before], found[name])
        start = last = time.process_time()
        longest = 0.0
        for _ in thin(found[name], step, 1 << 40):
            longest, last = max(longest, time.process_time() - last), time.process_time()
        took = 1000 * (time.process_time() - start) / samples
        print(f"to {name}: {took:.2f} ms of CPU for each second; the longest piece {1000 * longest:.0f} ms")
    for name, one in found.items():
        print(f"a day, {name}: {one.stat().st_size / samples * DAY / 1e9:.3f} GB")
    return found


def lay(folder: Path, parts: dict[str, Path], samples: int, days: int) -> None:
    """Copies of them for so many days, each later by its length."""
    folder.mkdir()
    end = days * DAY
    for at in range(0, end, samples):
        age = end - at
        name = "as recorded" if age <= DAY else "10 s" if age <= 7 * DAY else "a minute"
        path = folder / time.strftime("%Y-%m-%dT%H%M%SZ.kvmtop", time.gmtime(BEGAN + at + 1))
        shutil.copyfile(parts[name], path)
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA journal_mode=OFF")
            database.execute("UPDATE samples SET time_ns = time_ns + ?", (at * SECOND,))
            database.commit()
    sizes = [one.stat().st_size for one in folder.iterdir()]
    print(f"{days} days: {len(sizes)} segments, {sum(sizes) / 1e9:.2f} GB")


async def jumps(folder: Path, number: int, size: tuple[int, int]) -> None:
    start = time.perf_counter()
    found = Store(folder)
    print(f"{len(found)} intervals, {found.span}: opened in {time.perf_counter() - start:.2f} s")
    rng, taken = random.Random(1), list[float]()
    feed = ReplayFeed(found, len(found) // 2)
    app = Player(feed)
    async with app.run_test(size=size):
        while app.shown is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(2)
        for _ in range(number):
            when = rng.uniform(found.first + 60, found.last - 60)
            text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
            goal, drawn = found.find(found.moment(text)), asyncio.Event()
            start = time.perf_counter()
            feed.go_to_moment(text)
            while found.index(found.place(app.shown.snapshot.time_ns, app.shown.snapshot)) != goal:
                assert time.perf_counter() < start + 60, f"{text}: {words(found.wall(feed.at))} is shown"
                await asyncio.sleep(0.001)
            app.call_after_refresh(drawn.set)
            await drawn.wait()
            taken.append(1000 * (time.perf_counter() - start))
            await asyncio.sleep(1.5)
    taken.sort()
    print(f"{number} jumps: median {statistics.median(taken):.0f} ms, longest {taken[-1]:.0f} ms")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def late(folder: Path, vcpus: int, seconds: int, thins: bool) -> None:
    """How late readings are, one a second, of a recorder that has much to thin (after an hour), or leaves it."""
    one = StoreRecorder(
        Fleet(vcpus, seed=2), Folder(folder, Limits(size=10**12, thin=((3600.0, 10.0),) if thins else ()))
    )
    lateness, spent, due = list[float](), time.process_time(), time.monotonic()
    for _ in range(seconds):
        due += 1
        time.sleep(max(due - time.monotonic(), 0))
        lateness.append(1000 * (time.monotonic() - due))
        one.read()
    share = (time.process_time() - spent) / seconds
    one.close()
    lateness.sort()
    what = f"with thinning ({thinner.SHARE:.0%} of the time at most)" if thins else "without thinning"
    print(
        f"{seconds} readings {what}: {share:.1%} of a core, with the made-up host; late by {lateness[seconds // 2]:.1f} ms"
        f" (median), {lateness[-1]:.1f} ms (longest)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.thinning")
    parser.add_argument("--vcpus", type=int, default=200)
    parser.add_argument("--samples", type=int, default=1900, help="of a segment")
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--jumps", type=int, default=30)
    parser.add_argument("--late", type=int, default=60, help="seconds")
    parser.add_argument("--size", default="120x36")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        folder = Path(temporary) / "store"
        spent = record(Path(temporary) / "segment", options.vcpus, options.samples)
        print(f"{options.vcpus} vCPUs: writing takes {1000 * spent / options.samples:.2f} ms of CPU a reading")
        lay(folder, thinned(Path(temporary) / "segment", options.samples), options.samples, options.days)
        asyncio.run(jumps(folder, options.jumps, (width, height)))
        late(folder, options.vcpus, options.late, False)
        late(folder, options.vcpus, options.late, True)


if __name__ == "__main__":
    main()
