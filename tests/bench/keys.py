"""How long a key takes to be answered: `python -m tests.bench.keys [--vcpus 8,1000,10000] [--reasons 16]`.

Presses keys in the real program, over Snapshots of a host of that size, and measures from the key to the first
frame and to the last one that it sets off: new figures, layout, drawing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time

from textual import events

from kvmtop.model.scope import ALL
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed
from kvmtop.widgets.reason_page import ReasonPage

from .large import Large
from .terminal import Terminal, running

# In this order: each finds the program where the one before has left it.
KEYS = {
    "down (a reason)": "down",
    "down (another)": "down",
    "end (the last reason)": "end",
    "home (the first)": "home",
    "R (other order)": "r",
    "E (by exits)": "E",
    "> (by the next column)": "greater_than_sign",
    "T (by time)": "T",
    "i (idle ones among them)": "i",
    "i (or not)": "i",
    "/ (filter)": "slash",
    "escape (no filter)": "escape",
    "o (columns)": "o",
    "escape (as they were)": "escape",
    "y (copy a reason)": "y",
    "enter (reason's page)": "enter",
    "escape (back)": "escape",
    "f (a finding)": "f",
    "f (the next)": "f",
    "enter (goes there)": "enter",
    "escape (back)  ": "escape",
    "1 (the reasons)": "1",
    "tab (to the VMs)": "tab",
    "down (a vCPU)": "down",
    "down (another) ": "down",
    "m (mark)": "m",
    "down (compared)": "down",
    "up (the marked one)": "up",
    "m (no mark)": "m",
    "end (last of all vCPUs)": "end",
    "page up": "pageup",
    "v (this VM only)": "v",
    "v (all)": "v",
    "down (a vCPU) ": "down",
    "enter (a vCPU)": "enter",
    "backspace (its VM)": "backspace",
    "escape (the vCPU)": "escape",
    "escape (all)": "escape",
    "tab (to the reasons)": "tab",
    "t (totals)": "t",
    "t (interval)": "t",
    "x (slow exits)": "x",
    "escape (back) ": "escape",
    "S (scheduler)": "S",
    "tab (its next pane)": "tab",
    "escape (back)   ": "escape",
    "? (help)": "question_mark",
    "escape (no help)": "escape",
    "space (pause)": "space",
    "space (go on)": "space",
    "s (save the screen)": "s",
    "w (summary)": "w",
    "- (shorter interval)": "minus",
    "z (count from now)": "z",
}
CHARACTERS = {"slash": "/", "greater_than_sign": ">", "question_mark": "?", "space": " ", "minus": "-"}
PAST = 140  # seconds that have passed: trends, area and heatmap are full
ROUNDS = 5
QUIET = 0.3  # seconds
NEVER = 1.0  # seconds: the key changed nothing


async def answered(app: KvmtopApp, key: str, character: str | None) -> tuple[float, float]:
    """ms from a key to the first frame that it set off, and to the last: nothing is drawn for a while after it."""
    assert app.shown
    app.shown.session._total = None  # as it is after each reading
    if app._notifications:
        app.clear_notifications()
        await asyncio.sleep(QUIET)  # until those are gone
    Terminal.frames.clear()
    start = time.perf_counter()
    app.post_message(events.Key(key, character))
    while time.perf_counter() < (Terminal.frames[-1] + QUIET if Terminal.frames else start + NEVER):
        await asyncio.sleep(0.005)
    first, *_, last = Terminal.frames * 2 or [start, start]
    return (first - start) * 1000, (last - start) * 1000


async def measure(vcpus: int, reasons: int, size: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """ms to the first and the last frame after each key, the medians of some rounds."""
    host = Large(reasons, vcpus)
    feed = LiveFeed(host)
    host.grow_old(feed, PAST)
    host.prepare(8)
    app = KvmtopApp(feed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in KEYS}
    ReasonPage._spin = lambda self: None  # type: ignore[method-assign]  # it would turn without an end
    async with running(app, size):
        await asyncio.sleep(5)
        for turn in range(ROUNDS + 1):
            feed.every(3600)  # no reading in between
            reading = app.shown
            assert reading and reading.interval.seconds > 0.5
            app.go(ALL)
            app.viewpoint.past.clear()
            await answered(app, "1", "1")
            for name, key in KEYS.items():
                ms = await answered(app, key, CHARACTERS.get(key, key if len(key) == 1 else None))
                if turn:
                    found[name].append(ms)
            app.viewpoint.baseline = None  # as it was before z
            app.shown = app.newest = reading
            app.redraw()
    return {
        name: (statistics.median(a for a, _ in ms), statistics.median(b for _, b in ms)) for name, ms in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vcpus", default="8,1000,10000")
    parser.add_argument("--reasons", type=int, default=16)
    parser.add_argument("--size", default="160x48")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    sizes = [int(number) for number in options.vcpus.split(",")]
    with tempfile.TemporaryDirectory() as folder:  # for what the keys write
        os.chdir(folder)
        found = [asyncio.run(measure(number, options.reasons, (width, height))) for number in sizes]
    print("| key | " + " | ".join(f"{number:,} vCPUs" for number in sizes) + " |\n|---|" + "--:|" * len(sizes))
    for name in KEYS:
        print(f"| {name.strip()} | " + " | ".join("{:.0f} / {:.0f} ms".format(*row[name]) for row in found) + " |")


if __name__ == "__main__":
    main()
