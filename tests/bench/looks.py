"""What it costs a recording that somebody looks, by what at: `python -m tests.bench.looks`.

64 vCPUs of a made-up host, each of which does all that is looked at in each second: 27 keys of what exits touch, two
slow exits, eight rows of the scheduler's, five stacks.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from kvmtop.model.vocabulary import KINDS, DetailRequest
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder

from ..support.watched import EVERYTHING, Watched

SAMPLES = 128
TOUCHED = DetailRequest(frozenset(KINDS) - {""})
LOOKS = {
    "nobody": None,
    "touched, slow": TOUCHED,
    "the same, sched": DetailRequest(TOUCHED.kinds, sched=0),
    "the same, stacks": DetailRequest(TOUCHED.kinds, stacks=True),
    "everything": EVERYTHING,
}


def main() -> None:
    """A line for each look."""
    with tempfile.TemporaryDirectory() as folder:
        for name, look in LOOKS.items():
            host, path = Watched(4, 16), Path(folder) / name
            if look:
                host.look_at(look=look)
            recorder, spent = Recorder(host, path), 0.0
            for _ in range(SAMPLES):
                snapshot = host.read()
                start = time.process_time()
                recorder.add(snapshot)
                spent += time.process_time() - start
            recorder.end()
            found, start = Recording(path), time.process_time()
            for n in range(len(found)):
                found.at(n)
            read = time.process_time() - start
            print(
                f"{name:18} {path.stat().st_size / SAMPLES:7.0f} bytes a sample; ms of CPU:"
                f" {1000 * spent / SAMPLES:.1f} to write, {1000 * read / SAMPLES:.1f} to read"
            )


if __name__ == "__main__":
    main()
