"""A recorder killed at random moments, while it writes and while it thins: `python -m tests.bench.kills`.

Each is a process of its own with the real writer, whose readings come as fast as they are written; it tells the number
of each that it has. SIGKILL comes at a random moment after up to 120 readings. Then every reading that it told of must be there,
with the figures that it had (of all counters since the run began), or lie within a segment that was thinned. Recording goes on
in the same directory, thinned and killed again; every tenth time it is another.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from kvmtop.model.snapshot import Snapshot
from kvmtop.recording import segments
from kvmtop.recording.reader import Empty, Recording
from kvmtop.recording.store import Store
from kvmtop.recording.thinning import FILE

WRITER = """
import sys, time
from pathlib import Path
from dataclasses import replace
from kvmtop.recording import thinner
from kvmtop.recording.folder import Folder
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.writing import Limits
from tests.bench.kills import digest
from tests.support.fake import SECOND
from tests.support.fleet import Fleet
thinner.SHARE = 0.5
class Host(Fleet):
    began = (1_800_000_000 + 100_000 * int(sys.argv[2])) * SECOND
    def read(self):
        one = super().read()
        return replace(one, wall_ns=self.began + one.time_ns - one.start_ns)
host = Host(12, int(sys.argv[2]))
host.time_ns = host.start_ns = (1 + int(sys.argv[2])) * 100_000 * SECOND
store = StoreRecorder(host, Folder(Path(sys.argv[1]), Limits(hours=60 / 3600, thin=((120.0, 10.0), (600.0, 60.0)))))
while True:
    one = store.read()
    print(one.start_ns, one.time_ns, digest(one), store._thinner._job is not None, flush=True)
"""


def digest(one: Snapshot) -> str:
    """Of all counters."""
    parts = [one.threads.tobytes()] + [one.cells[name].tobytes() for name in ("count", "total", "min", "max", "hist")]
    return hashlib.blake2b(b"".join(parts), digest_size=8).hexdigest()


class Killed:
    """What was told by all that were killed in one directory: run and time → digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = dict[tuple[int, int], str]()
        self.counts = Counter[str]()

    def once(self, rng: random.Random, seed: int) -> None:
        """Record, and kill."""
        command = [sys.executable, "-c", WRITER, str(self.folder), str(seed)]
        thins = False
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            lines = [process.stdout.readline() for _ in range(rng.randrange(1, 120))]
            time.sleep(rng.uniform(0, 0.03))  # two readings, or so
            process.kill()
            lines += process.stdout.readlines()
        for line in lines:
            if line.endswith("\n"):
                start, now, what, job = line.split()
                self.told[int(start), int(now)] = what
                thins = job == "True"
        self.counts["kills"] += 1
        self.counts["while it thinned"] += thins
        self.counts["with a file that was half thinned"] += (self.folder / FILE).exists()

    def check(self) -> None:
        """Before anybody mends it, as a reader sees it."""
        found, thinned = dict[tuple[int, int], str](), list[tuple[int, int, int]]()
        for one in segments.segments(self.folder):
            try:
                recording = Recording(one.path)
            except Empty:  # killed before the first reading of it
                self.counts["without a reading"] += 1
                continue
            if recording.step:
                thinned.append((recording.start_ns, int(recording.times[0]), int(recording.times[-1])))
            for snapshot in recording:
                found[snapshot.start_ns, snapshot.time_ns] = digest(snapshot)
            recording.free()
        wrong = [key for key, what in self.told.items() if key in found and found[key] != what]
        assert not wrong, f"{self.folder}: {len(wrong)} readings are others"
        left_out = self.told.keys() - found.keys()
        for run, at in left_out:
            # The last that was told of, too, if one more was written before the kill.
            inside = any(start == run and first < at < last for start, first, last in thinned)
            assert inside, f"{self.folder}: the reading at {at} is in no segment"
        self.counts["readings"] = len(self.told)
        self.counts["thinned segments"] = len(thinned)
        self.counts["left out in them"] = len(left_out)
        Store(self.folder).close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.kills")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng, counts, begin = random.Random(options.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        for number in range(options.kills):
            if number % 10 == 0:
                one = Killed(Path(temporary) / f"store-{number}")
            one.once(rng, number)
            one.check()
            if number % 10 == 9:
                counts += one.counts
                print(f"{number + 1} kills, {dict(counts)}, {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
