"""The timeline page's figures: what is around a slow exit, against the probes of slow exits and a VMM's known sleep."""

from __future__ import annotations

import contextlib
import signal
import time

import numpy as np
import pytest

from kvmtop.host.live import Live
from kvmtop.insight.tracks import Tracks
from kvmtop.model.keys import unpack
from kvmtop.model.snapshot import SLOW, Snapshot
from kvmtop.model.timeline import Stretch
from kvmtop.model.vocabulary import STATES, DetailRequest
from kvmtop.reference.labels import Labels
from kvmtop.tables.timeline_page import Drawn, cast
from kvmtop.tables.timeline_view import Happened, Window

from .scenarios import vm

MS = 1_000_000
TIMES, LENGTH = 3, 20 * MS  # exits in which the VMM sleeps, and how long
DIFFER = 1 * MS  # the two probes at one event, on a host that may stand still between them; see test_trace.py
SLOWER = 10 * MS


def test_a_slow_exit_is_kept_with_what_all_vcpus_did_around_it() -> None:
    slow = np.zeros(0, SLOW)
    with contextlib.ExitStack() as undo:
        guest = undo.enter_context(vm("held", "--vcpus", "2", "--hold", str(TIMES), "--hold-for", str(LENGTH / 1e9)))
        live = Live()
        undo.callback(live.close)
        live.look(DetailRequest(slow_ns=SLOWER, timeline=(guest.process.pid, SLOWER)))
        snapshot = live.read()
        assert live.trouble is None, live.trouble
        guest.process.send_signal(signal.SIGUSR1)
        end, released = time.monotonic() + 100, False
        around = dict[object, Stretch]()  # what is kept in the end are the newest
        found: list[Stretch] = []
        while time.monotonic() < end and not (released and len(found) >= TIMES):
            if not released and "released" in guest.said():
                released, end = True, min(end, time.monotonic() + 15)
            time.sleep(0.2)
            snapshot = live.read()
            assert snapshot.timeline and snapshot.details
            slow = np.concatenate([slow, snapshot.details.slow])
            around |= {one.slow: one for one in snapshot.timeline.around}
            found = [one for one in around.values() if held(one, snapshot)]
    # Of those that came while the host stood still, the sleep may be told as a wait.
    assert found, [happened(one, snapshot) for one in around.values()]
    for one in found:
        assert one.slow and snapshot.timeline
        thread, begin, until = one.slow
        twin = slow[(slow["id"] == thread) & (np.abs(slow["time_ns"].astype("i8") - until) < DIFFER)]
        assert len(twin) == 1
        print(f"\n{(until - begin) / MS:.3f} ms, by the other probe {int(twin['ns'][0]) / MS:.3f}")
        assert int(twin["ns"][0]) == pytest.approx(until - begin, abs=DIFFER)
        since = max(begin - SLOWER, snapshot.timeline.since_ns)  # nobody looked before
        assert one.start_ns <= since and one.stop_ns >= until + SLOWER and not one.lost
        adds_up(one)
        told(one, snapshot)


def held(one: Stretch, snapshot: Snapshot) -> bool:
    """Whether it is around an exit that the VMM has slept in: its threads wait for one another besides."""
    assert one.slow
    length = one.slow[2] - one.slow[1]
    parts = happened(one, snapshot).parts
    return any("until holder" in part.words and (part.end - part.begin) * length > LENGTH * 0.99 for part in parts)


def parts(one: Stretch) -> dict[str, int]:
    assert one.slow
    thread, begin, end = one.slow
    found = dict.fromkeys(STATES, 0)
    for piece in Tracks(one).of[thread].inside(begin, end):
        found[STATES[int(piece["state"])]] += int(piece["end_ns"] - piece["begin_ns"])
    return found


def adds_up(one: Stretch) -> None:
    """Both vCPUs' rows, and in the exit its parts."""
    tracks = Tracks(one)
    assert len(tracks.of) == 2
    edges = np.linspace(one.start_ns, one.stop_ns, 101).astype("i8")
    for track in tracks.of.values():
        shares = track.shares(edges)
        assert shares.sum(axis=1) == pytest.approx(1)
        assert shares[:, -1].max() < 1e-9, (shares[:, -1], one)  # none of it is unknown
        pieces = track.pieces
        assert (pieces["begin_ns"][1:] == pieces["end_ns"][:-1]).all()
    assert one.slow and sum(parts(one).values()) == one.slow[2] - one.slow[1]
    assert set(tracks.ran) and all((rows["begin_ns"][1:] >= rows["end_ns"][:-1]).all() for rows in tracks.ran.values())


def happened(one: Stretch, snapshot: Snapshot) -> Happened:
    sheet = Drawn(one, cast(snapshot, Labels(snapshot.names)))
    assert one.slow
    at = sheet.at(*one.slow[:2])
    assert at is not None
    return sheet.happened(one.slow[0], at)


def told(one: Stretch, snapshot: Snapshot) -> None:
    """In words, and as a band."""
    exit = happened(one, snapshot)
    assert exit.name == "io" and "port 0x10" in exit.parts[0].words
    sheet = Drawn(one, cast(snapshot, Labels(snapshot.names)))
    assert one.slow and [unpack(thread)[0] for thread in sheet.threads] == [one.pid] * 2
    thread, begin, end = one.slow
    step = (end - begin) // 20
    band, length = sheet.band(thread, Window(begin, step, 10)), 20 * step
    assert band.shares["blocked"] * length == pytest.approx(parts(one)["blocked"], abs=20)
