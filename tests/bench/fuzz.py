"""Recordings changed at random, each looked at as a replay does: whatever is in a file, it is told in one sentence.

    python -m tests.bench.fuzz                  # 10,000 files; --files N, --seed N, --keep FOLDER for what fails

A file is changed in its bytes, in its frames within their checksums, or by SQL in its values and rows. Those who look run
in processes of their own, whose memory and time the kernel measures: one that dies, takes more than 1 GB, or more than
20 s of CPU time for one file has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kvmtop.errors import KvmtopError

from ..support.recordings import look_at_all, record
from ..support.watched import Watched

MOST_RSS = 1 << 20  # KB
MOST_CPU = 20  # seconds a file
BATCH = 50  # files a process
NUMBERS = (0, 1, 2, -1, 255, 2**31, 2**32 - 1, 2**32, 2**53, 2**62 - 1, 2**63 - 1, -(2**63), 0.5, 1e300, float("inf"))
VALUES = (*NUMBERS, None, "", "x" * 9999, "a\n" * 9999, "\x1b[2J", b"\xff\xfe", b"")
RIGHT = ("taken", "refused")
BYTES = (0, 1, 2, 8, 0x7F, 0x80, 0xFF)


def anywhere(path: Path, rnd: random.Random) -> None:
    """Bytes of the file."""
    bad = bytearray(path.read_bytes())
    for _ in range(rnd.choice((1, 1, 2, 8, 64))):
        at = rnd.randrange(len(bad))
        bad[at] = rnd.choice((*BYTES, bad[at] ^ 1 << rnd.randrange(8)))
    path.write_bytes(bad)


def in_frames(path: Path, rnd: random.Random) -> None:
    """Bytes of a frame that is packed again: of a sample, or of what stacks are counted from."""
    with sql(path) as database:
        table, key = rnd.choice((("frames", "sample"), ("frames", "sample"), ("bases", "base")))
        rows = database.execute(f"SELECT {key}, frame FROM {table}").fetchall()
        number, frame = rnd.choice(rows)
        bad = bytearray(zlib.decompress(frame))
        for _ in range(rnd.choice((1, 1, 2, 5, 20))):
            bad[rnd.randrange(len(bad))] = rnd.choice((*BYTES, rnd.randrange(256)))
        if rnd.random() < 0.1:
            at = rnd.randrange(len(bad))
            bad[at:at] = rnd.randbytes(rnd.randrange(1, 99)) if rnd.random() < 0.5 else bytes(rnd.randrange(1, 9999))
        database.execute(f"UPDATE {table} SET frame = ? WHERE {key} = ?", (zlib.compress(bytes(bad), 1), number))


def in_values(path: Path, rnd: random.Random) -> None:
    """Any values in any columns."""
    with sql(path) as database:
        for _ in range(rnd.choice((1, 1, 3))):
            table, column = rnd.choice(columns(database))
            rows = rnd.choice(("", f" WHERE _rowid_ = {rnd.randrange(9)}")) if table != "exits" else ""
            with contextlib.suppress(sqlite3.Error):
                database.execute(f"UPDATE {table} SET {column} = ?{rows}", (rnd.choice(VALUES),))


def in_rows(path: Path, rnd: random.Random) -> None:
    """Rows that go, come again with another key, change places, or are a flood."""
    with sql(path) as database, contextlib.suppress(sqlite3.Error):
        table, column = rnd.choice(columns(database))
        count = rnd.choice((3, 300, 90_000))
        values = [rnd.choice(("n", name, name)) for of, name in columns(database) if of == table]
        for command in rnd.sample(
            (
                f"DELETE FROM {table} WHERE random() % 2",
                f"UPDATE {table} SET {column} = (SELECT {column} FROM {table} ORDER BY random() LIMIT 1)",
                "WITH RECURSIVE c(n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM c WHERE n < 1000 + "
                f"{count}) INSERT OR IGNORE INTO {table} SELECT {', '.join(values)} FROM c, (SELECT * FROM {table} LIMIT 1)",
                "UPDATE frames SET frame = (SELECT frame FROM frames ORDER BY random() LIMIT 1) WHERE random() % 2",
                "UPDATE columns SET name = 'later' WHERE random() % 20 = 0",
            ),
            rnd.randrange(1, 3),
        ):
            database.execute(command)


WAYS: tuple[Callable[[Path, random.Random], None], ...] = (anywhere, in_frames, in_frames, in_values, in_rows)


@contextlib.contextmanager
def sql(path: Path):  # type: ignore[no-untyped-def]
    """The file as a database, without waiting for the disk."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        for pragma in ("synchronous=OFF", "journal_mode=OFF"):
            database.execute(f"PRAGMA {pragma}")
        yield database


def columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """All (table, column)."""
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return [(table, row[1]) for table in tables for row in database.execute(f"PRAGMA table_info({table})")]


def examples(folder: Path) -> list[Path]:
    """Recordings in which somebody looks at everything, at one reason, and away."""
    found = []
    for number, reason in enumerate((None, (2, 0x400))):
        host = Watched(vcpus=1)
        host.look_at(reason)
        found.append(folder / f"good{number}")
        record(found[-1], 4, host)
    return found


def look(good: bytes, path: Path, seeds: range, told: int, keep: Path | None) -> None:
    """Change and look at so many files; what comes of each is told in a line. keep: where those go that fail."""
    with os.fdopen(told, "w") as out:
        for seed in seeds:
            rnd = random.Random(seed)
            path.write_bytes(good)
            way = rnd.choice(WAYS)
            way(path, rnd)
            out.write(f"begin {seed}\n")
            out.flush()
            signal.setitimer(signal.ITIMER_PROF, MOST_CPU)  # SIGPROF ends the process
            result = "taken"
            try:
                look_at_all(path)
            except KvmtopError as error:
                result = "refused" if "\n" not in str(error) else "lines"
            except BaseException:
                where = traceback.extract_tb(sys.exc_info()[2])[-1]
                result = f"raised {sys.exc_info()[1]!r} at {where.filename}:{where.lineno}".replace("\n", " ")
            signal.setitimer(signal.ITIMER_PROF, 0)
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            out.write(f"end {seed} {way.__name__} {rss} {result}\n")
            out.flush()
            if keep and (rss > MOST_RSS or result not in RIGHT):
                shutil.copy(path, keep / f"{seed}")
            if rss > MOST_RSS:
                os._exit(0)  # what it has had does not go down


def main() -> int:
    """How many files came to what; the status is 1 where one has failed."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--files", type=int, default=10_000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--keep", type=Path)
    options = p.parse_args()
    results, failed, most, began = Counter[tuple[str, str]](), list[str](), 0, time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        goods = [path.read_bytes() for path in examples(folder)]
        seed, last = options.seed, options.seed + options.files
        while seed < last:
            good, path = goods[seed // BATCH % len(goods)], folder / "bad"
            seeds = range(seed, min(seed // BATCH * BATCH + BATCH, last))
            read, write = os.pipe()
            sys.stdout.flush()
            if not (child := os.fork()):
                os.close(read)
                look(good, path, seeds, write, options.keep)
                os._exit(0)
            os.close(write)
            at, over = seed, seed
            with os.fdopen(read) as told:
                for line in told:
                    word, number, *rest = line.split(" ", 4)
                    at = int(number)
                    if word == "end":
                        way, rss, result = rest[0], int(rest[1]), rest[2].strip()
                        most, over = max(most, rss), at + 1
                        results[way, result.partition(" ")[0]] += 1
                        if rss > MOST_RSS or result not in RIGHT:
                            failed.append(f"{at}: {way}: {rss >> 10} MB, {result}")
                            print(failed[-1], flush=True)
            status = os.waitpid(child, 0)[1]
            if status:
                failed.append(f"{at}: ended by signal {status & 127}")
                print(failed[-1], flush=True)
                over = at + 1
                if options.keep:
                    shutil.copy(path, options.keep / f"{at}")
            seed = max(over, seed + 1)
            if sys.stderr.isatty():
                print(f"\r{seed - options.seed} files", end=" ", file=sys.stderr)
    for (way, result), count in sorted(results.items()):
        print(f"{way:10} {result:8} {count:6}")
    print(f"{sum(results.values())} files in {time.monotonic() - began:.0f} s, {most >> 10} MB at most")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
