"""Makes two pictures of the demo for README: `python -m tools.tour`.

screenshots/annotated.svg and .png: the dashboard with the numbers that README explains; screenshots/drilldown.svg:
from all VMs to a reason of one vCPU, a frame every three seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import time
from pathlib import Path

import kvmtop
from kvmtop.recording.reader import Recording
from kvmtop.ui.player import Player
from kvmtop.ui.replay_feed import ReplayFeed
from tests.support import picture

from .screenshots import FOLDER

DEMO = Path(kvmtop.__file__).parent / "demo" / "amd.kvmtop"
SIZE = (120, 40)
SECONDS = 3  # a frame
STILL = 0.4  # seconds without a change
SEEKS = 11  # twentieths of the demo: both VMs are busy
STEPS = (  # what is pressed, the frame's title, and what the screen has then
    (("home",), "kvmtop demo: all VMs, the reason with the most time first", "Exit reasons"),
    (("2", "home"), "2: the list of VMs", "db01 · pid"),
    (("down",), "↓: a vCPU of db01", "db01 · vCPU 0"),
    (("enter",), "Enter: this vCPU alone", "› db01 › vCPU 0"),
    (("1", "home", "down"), "1 ↓: its reasons", "Exit reasons"),
    (("enter",), "Enter: what the reason means, its histogram, its history", "How long they last"),
    (("escape",), "Escape: back", "› db01 › vCPU 0"),
)
# A number stands behind the first text of each kind, where the screen has room for it.
NUMBERS = (
    r"two QEMU(?:…| guests)",
    r"vCPUs",
    r"Where the time goes",
    r"Exit reasons",
    r"TREND",
    r"VMs and vCPUs",
    r"TOP",
    r"Enter: all of it",
    r"quit",
)
CELL, LINE, LEFT, TOP = 12.2, 24.4, 9, 41  # of Rich's SVG, in pixels


def numbered(svg: str, lines: list[str]) -> str:
    """The picture with a number behind each of NUMBERS, or in front of it. Raises ValueError where there is no room."""
    marks = []
    for number, text in enumerate(NUMBERS, 1):
        found = [(y, match) for y, line in enumerate(lines) for match in re.finditer(text, f"{line:<{SIZE[0] + 2}}")]
        if not found:
            raise ValueError(f"{text} is not on the screen")
        row, match = found[0]
        line = f"{lines[row]:<{SIZE[0] + 2}}"
        for column in (match.end() + 1, match.start() - 1):
            if not line[max(column - 1, 0) : column + 1].strip(" ─"):  # nothing, or a border
                break
        else:
            raise ValueError("\n".join([f"no room beside {text}:", *lines]))
        x, y = LEFT + CELL * column, TOP + LINE * (row + 0.5)
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="11" fill="#d33682"/><text x="{x:.1f}" y="{y + 5.5:.1f}"'
            f' text-anchor="middle" font-family="DejaVu Sans, sans-serif" font-size="15" font-weight="bold"'
            f' fill="#fff">{number}</text>'
        )
    return svg.replace("</svg>", "".join(marks) + "</svg>")


def small(svg: str, name: str) -> str:
    """The picture with short names that are its own, and without what clips each line, which nothing exceeds."""
    svg = re.sub(r' clip-path="url\(#[\w-]*-line-\d+\)"| shape-rendering="crispEdges"', "", picture.plain(svg))
    svg = re.sub(r'<clipPath id="[\w-]*-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    return re.sub(r"terminal-\d+", name, svg)


def animated(frames: list[str]) -> str:
    """SVGs of one size, each for SECONDS, for ever; the first one stands still where nothing moves."""
    view = re.search(r'viewBox="[^"]*"', frames[0])
    assert view
    style = (
        f"@keyframes show {{ 0% {{ visibility: visible }} {100 / len(frames):.4f}%, 100% {{ visibility: hidden }} }}"
        f" .frame {{ visibility: hidden; animation: show {SECONDS * len(frames)}s step-end infinite }}"
        " rect { shape-rendering: crispEdges }"
    )
    groups = [
        f'<g class="frame" style="animation-delay: {SECONDS * at}s">{frame}</g>' if at else frame
        for at, frame in enumerate(frames)
    ]
    return f'<svg {view[0]} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{"".join(groups)}</svg>\n'


async def settled(app: Player, shown: str) -> None:
    """Wait until the screen has it, with what stands out, and has stood still. Raises ValueError."""
    before, since = list[str](), time.monotonic()
    end = since + 60
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
        lines = picture.lines(app)
        if lines != before or not (app.shown and app.shown.settled):
            before, since = lines, time.monotonic()
        elif any(shown in line for line in lines) and time.monotonic() > since + STILL:
            return
    raise ValueError("\n".join([f"no {shown} on the screen:", *before]))


async def take() -> tuple[str, list[str]]:
    """The numbered dashboard, and the frames; each shows what it is about. Raises ValueError."""
    app = Player(ReplayFeed(Recording(DEMO)))
    frames: list[str] = []
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("space", *["right_curly_bracket"] * SEEKS, "home")
        await settled(app, "Exit reasons")
        first = numbered(app.export_screenshot(), picture.lines(app))
        for keys, title, shown in STEPS:
            await pilot.press(*keys)
            await settled(app, shown)
            frames.append(small(app.export_screenshot(title=title), f"f{len(frames)}"))
    return first, frames


def main() -> None:
    argparse.ArgumentParser(prog="python -m tools.tour", description=__doc__).parse_args()
    os.environ["COLORTERM"] = "truecolor"  # whatever this terminal has
    first, frames = asyncio.run(take())
    picture.write(first, FOLDER / "annotated.png", 9)
    (FOLDER / "drilldown.svg").write_text(animated(frames))


if __name__ == "__main__":
    main()
