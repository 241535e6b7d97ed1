"""How long a key takes to be answered: `python -m tests.bench.keys [--vcpus 8,1000,10000]`.

Presses keys in the real program, over Snapshots of a host of that size, and measures from the key to the first
frame and to the last one that it sets off: new figures, layout, drawing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from textual import events

from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed

from .large import Large
from .terminal import Terminal, running

# In this order: each finds the program where the one before has left it.
KEYS = {
    "down (a row)": "down",
    "R (other order)": "r",
    "E (by exits)": "E",
    "i (without idle)": "i",
    "/ (filter)": "slash",
    "escape (no filter)": "escape",
    "enter (reason's page)": "enter",
    "escape (back)": "escape",
    "tab (to the VMs)": "tab",
    "down (a VM)": "down",
    "end (last of all vCPUs)": "end",
    "page up": "pageup",
    "enter (a vCPU)": "enter",
    "escape (its VM)": "escape",
    "escape (all)": "escape",
    "t (totals)": "t",
    "t (interval)": "t",
}
ROUNDS = 5
QUIET = 0.4  # seconds
NEVER = 2.0  # seconds: the key changed nothing


async def answered(app: KvmtopApp, key: str, character: str | None) -> tuple[float, float]:
    """ms from a key to the first frame that it set off, and to the last: nothing is drawn for a while after it."""
    assert app.shown
    app.shown.session._total = None  # as it is after each reading
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
    host.prepare(4)
    feed = LiveFeed(host)
    app = KvmtopApp(feed)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in KEYS}
    async with running(app, size):
        await asyncio.sleep(7)
        feed.every(3600)  # no reading in between
        for turn in range(ROUNDS + 1):
            await answered(app, "1", "1")
            for name, key in KEYS.items():
                character = {"slash": "/"}.get(key, key if len(key) == 1 else None)
                ms = await answered(app, key, character)
                if turn:
                    found[name].append(ms)
    return {
        name: (statistics.median(a for a, _ in ms), statistics.median(b for _, b in ms)) for name, ms in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vcpus", default="8,1000,10000")
    parser.add_argument("--reasons", type=int, default=16)
    parser.add_argument("--size", default="120x50")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    sizes = [int(number) for number in options.vcpus.split(",")]
    found = [asyncio.run(measure(number, options.reasons, (width, height))) for number in sizes]
    print("| key | " + " | ".join(f"{number:,} vCPUs" for number in sizes) + " |\n|---|" + "--:|" * len(sizes))
    for name in KEYS:
        print(f"| {name} | " + " | ".join("{:.0f} / {:.0f} ms".format(*row[name]) for row in found) + " |")


if __name__ == "__main__":
    main()
