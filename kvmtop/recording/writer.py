"""A run as it happens, written to a file: format.py says what is in it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from .. import __version__
from ..errors import KvmtopError
from ..model.arrays import Array
from ..model.exit_stats import Groups
from ..model.keys import unpack
from ..model.nesting import together
from ..model.snapshot import SLOW, Snapshot
from ..model.source import Source, Wrapper
from ..model.vocabulary import STATES, Key, Vm
from . import codec, seen
from .format import (
    ALIAS,
    APPLICATION,
    FORMAT,
    GROUP,
    MOST_CHANGES,
    MOST_FACTS,
    MOST_SAMPLES,
    MOST_SLOW,
    MOST_VMS,
    SCALARS,
    SCHEMA,
    STEPS,
    UNSTARTED,
    BadFrame,
    base,
    words,
)
from .layout import Layout

PAGE = 1024  # bytes: half of the last page of each frame is lost
Sums = dict[Key, tuple[int, int]]  # exits that have ended and their ns, by (isa, code)
Room = Callable[[int], int]  # bytes of a frame → bytes that the file may have with it; may raise OSError
FAILURES = (sqlite3.Error, OSError, BadFrame)  # of writing


class Recorder(Wrapper):
    """A Source that writes what it passes on. If it cannot, `trouble` says so, and it goes on."""

    def __init__(
        self,
        source: Source,
        path: Path,
        title: str = "",
        *,
        mode: int = 0o600,
        sums: Sums | None = None,
        room: Room | None = None,
    ) -> None:
        """Make the file, for its owner only if mode says no other. Raises KvmtopError where there is one, or no room.

        sums: what the run had counted before, if this is not its beginning; room: is asked before each sample.
        """
        self._trouble: str | None = None
        super().__init__(source)
        self._path, self._title = path, title
        self._next = 0
        self._bases: dict[int, codec.Counters] = {}
        self._packer = seen.Packer()
        self._slow = np.zeros(0, SLOW)  # that somebody was given before the reading that they belong to
        self._sums: Sums = sums or {}
        self._room = room
        self._vms: dict[int, Vm] = {}
        self._changes = 0  # of VMs
        self._threads: set[int] = set()
        self._layout = Layout.of(STATES)
        self._lock = threading.Lock()
        self._beside = [Path(f"{path}-journal"), Path(f"{path}-wal")]
        for place in self._beside:
            with contextlib.suppress(OSError):  # a remnant of a run that was killed, whose file has been taken away
                left = os.lstat(place)
                if stat.S_ISREG(left.st_mode) and not left.st_size and left.st_uid == os.geteuid():
                    place.unlink()
        made: list[Path] = []
        try:
            # New ones, and not through anybody's link: the names can be guessed, and this runs as root.
            for place in (path, *self._beside):
                make(place, mode)
                made.append(place)
            self._database = self._create()
        except (OSError, sqlite3.Error) as error:
            for place in made:
                with contextlib.suppress(OSError):
                    place.unlink()
            if isinstance(error, FileExistsError):
                raise KvmtopError(f"{error.filename} exists: choose another name, or remove it", 2) from None
            raise KvmtopError(f"cannot record to {path}: {words(error)}") from None

    def _create(self) -> sqlite3.Connection:
        # All of it at once: killed here, it leaves an empty file, which readers know, and no file with some tables.
        # A file without a page would not do: SQLite takes a journal for its remnant then, and removes it.
        with open(self._path, "r+b") as file:
            file.write(_without_samples())
            file.flush()
            os.fsync(file.fileno())
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        database = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=5)
        database.execute("PRAGMA journal_mode=TRUNCATE")  # it keeps our journal, and so its place
        database.execute("PRAGMA synchronous=FULL")
        return database

    @property
    def trouble(self) -> str | None:
        """Why the recording has ended early."""
        return self._trouble or super().trouble

    def read(self) -> Snapshot:
        """The source's counters, recorded."""
        snapshot = self._source.read()
        self._record(snapshot, False)
        return snapshot

    def slow(self) -> Array:
        """The source's slow exits, recorded with the next reading."""
        found = self._source.slow()
        self.keep(found)
        return found

    def keep(self, slow: Array) -> None:
        """Slow exits that belong to the next reading."""
        self._slow = np.concatenate([self._slow, slow])[-MOST_SLOW:]

    def close(self) -> Snapshot:
        """The source's final counters; the file is complete."""
        snapshot = self._source.close()
        self._record(snapshot, True)
        self.end()
        return snapshot

    def discard(self) -> None:
        """Take the file away again, where the run cannot begin."""
        self.end()
        for place in (self._path, *self._beside):
            with contextlib.suppress(OSError):
                place.unlink()

    def end(self) -> None:
        """Nothing more comes: the file is closed."""
        with self._lock, contextlib.suppress(sqlite3.Error, OSError):
            self._database.close()
            for place in self._beside:
                if not os.path.getsize(place):  # else it is needed: what was half written could not be taken back
                    place.unlink()

    def _record(self, snapshot: Snapshot, final: bool) -> None:
        if self._trouble:
            return
        try:
            self.add(snapshot, final)
        except FAILURES as error:
            self._trouble = f"recording ended after {self._next} samples: cannot write {self._path} ({words(error)})"
            self.end()

    def add(self, snapshot: Snapshot, final: bool = False) -> None:
        """Write one more, or nothing of it: then it raises one of FAILURES."""
        try:
            with self._lock:
                self._database.execute("BEGIN")
                known = self._write(snapshot, final)
                self._database.execute("COMMIT")  # which may be what fails: what is counted on is written
                self._sums, self._vms, self._threads, self._bases = known
                self._next += 1
                self._packer.written()
                self._slow = self._slow[:0]
        except FAILURES:
            with contextlib.suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise

    @property
    def samples(self) -> int:
        """How many are in it."""
        return self._next

    @property
    def sums(self) -> Sums:
        """What had been counted when the last was written."""
        return self._sums

    def _write(
        self, snapshot: Snapshot, final: bool
    ) -> tuple[Sums, dict[int, Vm], set[int], dict[int, codec.Counters]]:
        """What is known of it for the next one, by the names of the attributes that have it."""
        n, put = self._next, self._database.execute
        if n >= MOST_SAMPLES:
            raise OSError(0, f"{n} samples are the most that a recording holds")
        if not n:
            self._describe(snapshot)
        against = base(n)
        before = codec.NOTHING if against is None else self._bases[against]
        counters = self._looked(n, snapshot)
        sums = _sums(snapshot)
        grown = []
        for key, (count, ns) in sums.items():
            old_count, old_ns = self._sums.get(key, (0, 0))
            if count > old_count:
                grown.append((n, *key, count - old_count, ns - old_ns))
        frame = codec.encode(counters, self._layout, before)
        if self._room:
            put(f"PRAGMA max_page_count={self._room(len(frame)) // PAGE}")
        put("INSERT INTO frames VALUES (?, ?)", (n, frame))
        scalars = [getattr(snapshot, name) for name in SCALARS.values()]
        exits = sum(row[3] for row in grown)
        put("INSERT INTO samples VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (n, snapshot.time_ns, exits, *scalars, final))
        self._database.executemany("INSERT INTO exits VALUES (?, ?, ?, ?, ?)", grown)
        # A quota that holds it back in each second interval would be a change in each: the frames have it.
        rows, vms = [], {pid: replace(vm, quota="") for pid, vm in snapshot.vms.items()}
        changed = [pid for pid in vms.keys() | self._vms.keys() if vms.get(pid) != self._vms.get(pid)]
        for pid in sorted(changed, key=vms.__contains__):  # those that are there no more first: they make room
            now = vms.get(pid)
            state = "gone" if now is None else "ended" if now.ended else _standing(now)
            vm = now or self._vms[pid]
            facts = [(alias, ALIAS) for alias in vm.aliases]
            facts += [(str(vcpu), UNSTARTED) for vcpu in vm.unstarted]
            rows += [(n, pid, name, vm.comm, of) for name, of in (*facts, (vm.name, state))]
        self._changes += len(rows)
        if len(vms) > MOST_VMS or self._changes > MOST_CHANGES:
            raise BadFrame("too many VMs for a recording")
        self._database.executemany("INSERT INTO vms VALUES (?, ?, ?, ?, ?)", rows)
        threads = snapshot.thread_ids.view("i8").tolist()
        for row, thread in enumerate(threads):
            if thread not in self._threads:
                id, vcpu = int(snapshot.threads["id"][row]), int(snapshot.threads["vcpu"][row])
                put("INSERT INTO vcpus VALUES (?, ?, ?, ?, ?)", (n, thread, *unpack(id), vcpu))
        chain = {n - n % step for step in (*STEPS, GROUP)}
        return sums, vms, set(threads), {m: self._bases.get(m, counters) for m in chain}

    def _looked(self, n: int, snapshot: Snapshot) -> codec.Counters:
        """The counters with what somebody looked at, whose texts and slow exits are written here."""
        if (details := snapshot.details) and len(self._slow):
            slow = np.concatenate([self._slow, details.slow])
            snapshot = replace(snapshot, details=replace(details, slow=slow))
        found, put = codec.Counters.of(snapshot, self._packer.pack(snapshot)), self._database.executemany
        put("INSERT INTO texts VALUES (?, ?)", self._packer.new_texts)
        if snapshot.details and "look" in found.seen:
            marks = ", ".join("?" * (1 + len(seen.SLOW_COLUMNS)))
            rows = [(n, *row) for row in seen.slow_rows(snapshot.details.slow)]
            put(f"INSERT INTO slow (sample, {', '.join(seen.SLOW_COLUMNS)}) VALUES ({marks})", rows)
        bases = [(number, start.time_ns, codec.encode(start, self._layout)) for number, start in self._packer.new_bases]
        put("INSERT INTO bases VALUES (?, ?, ?)", bases)
        return found

    def _describe(self, snapshot: Snapshot) -> None:
        began = time.time() - (time.monotonic_ns() - snapshot.start_ns) / 1e9
        origin = self.origin
        host = (__version__, origin.host, origin.kernel, self._title, began, snapshot.start_ns)
        self._database.execute("INSERT INTO runs VALUES (1, ?, ?, ?, ?, ?, ?)", host)
        self._database.executemany("INSERT INTO host VALUES (?, ?)", list(origin.facts.items())[:MOST_FACTS])
        self._layout = Layout.of(snapshot.told)
        self._database.executemany("INSERT INTO columns (kind, name) VALUES (?, ?)", self._layout.rows)
        names = [(isa, code, name) for isa, table in snapshot.names.reasons.items() for code, name in table.items()]
        self._database.executemany("INSERT INTO reasons VALUES (?, ?, ?)", names)
        self._database.executemany("INSERT INTO flags VALUES (?, ?)", list(snapshot.names.flags.items()))


def _without_samples() -> bytes:
    """A file that has its tables."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        for pragma in (f"page_size={PAGE}", f"application_id={APPLICATION}", f"user_version={FORMAT}"):
            database.execute(f"PRAGMA {pragma}")
        database.executescript(SCHEMA)
        return database.serialize()


def _standing(vm: Vm) -> str:
    return " ".join(word for word in ("stopped", "paused", "traced") if getattr(vm, word)) or "running"


def make(path: Path, mode: int) -> None:
    """Make a new file with exactly these rights. Raises OSError where there is one, or a link."""
    made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    try:
        if mode != 0o600:
            os.fchmod(made, mode)  # whatever the umask is
    finally:
        os.close(made)


def _sums(snapshot: Snapshot) -> Sums:
    """Exits that have ended and their ns, by (isa, code)."""
    snapshot = together(snapshot)  # the names are by the isa alone
    reasons, column = snapshot.reasons
    groups, heads = Groups(column), snapshot.heads
    sums = zip(groups.add(heads["count"]).tolist(), groups.add(heads["total"]).tolist(), strict=True)
    return dict(zip(groups.keys(reasons), sums, strict=True))
