"""Makes screenshots/ anew, from two real QEMU guests on an emulated AMD host: `python -m tools.screenshots`.

With --all DIR, those that are not kept there go to a folder, so that somebody can look at them: every view at every
size, dark, light and without colour.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kvmtop.host.live import Live
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed
from kvmtop.widgets import themes
from tests.hosts import amd
from tests.support.picture import lines, png

FOLDER = Path(__file__).parent.parent / "screenshots"
SIZES = ((80, 24), (120, 36), (160, 48), (200, 60))
# What is pressed to get there from the start, by the picture's name.
VIEWS = {
    "all": (),
    "vms": ("2",),
    "vcpu": ("2", "end", "enter"),
    "reason": ("T", "home", "down", "enter"),
    "io": ("slash", "i", "o", "enter", "home", "enter"),
    "slow": ("x",),
    "scheduler": ("S",),
    "timeline": ("2", "home", "down", "l"),
    "help": ("question_mark",),
}
THEN = {"timeline": ("N",)}  # when the probes are there: the newest slow exit
SCHEMES = ("", "-light", "-nocolour")
ALSO_KEPT = tuple(f"{view}-160x48{scheme}.png" for view in ("all", "reason") for scheme in SCHEMES[1:])
SECONDS = 12.0  # of history before the first picture
TRIES = 3  # an emulated host loses a guest now and then


async def settle(app: KvmtopApp) -> None:
    """Until there is something to see: probes take their time on an emulated host."""
    for _ in range(60):
        await asyncio.sleep(4)
        if not any("being attached" in line for line in lines(app)):
            return
    raise TimeoutError("the probes are not attached")


async def take(out: Path) -> None:
    """Inside the host: run the dashboard at each size, with colours and without, go to each view, and save it."""
    for colourless in (False, True):
        os.environ.pop("NO_COLOR", None)
        os.environ |= {"NO_COLOR": "1"} if colourless else {}
        for size in SIZES:
            await at(size, out, SCHEMES[2:] if colourless else SCHEMES[:2])


async def at(size: tuple[int, int], out: Path, schemes: Sequence[str]) -> None:
    """All views at one size."""
    source = Live()
    app = KvmtopApp(LiveFeed(source))
    async with app.run_test(size=size) as pilot:
        await asyncio.sleep(SECONDS)
        for name, keys in VIEWS.items():
            await pilot.press(*keys)
            await settle(app)
            await pilot.press(*THEN.get(name, ()))
            await pilot.pause()
            for scheme in schemes:
                themes.wear(app, "light" if scheme == "-light" else "dark")
                await pilot.pause()
                file = out / f"{name}-{size[0]}x{size[1]}{scheme}.png"
                print(file.name, flush=True)  # a host that says nothing is stopped
                png(app, file, 9)
                file.with_suffix(".svg").unlink()
            themes.wear(app, "dark")
            for _ in range(4):  # reason, vCPU, VM, filter
                await pilot.press("escape")
            await pilot.press("1")
    source.close()


def keep(folder: Path, rest: Path | None) -> None:
    """Put each where it belongs."""
    if rest:
        rest.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.png"):
        if file.name in ALSO_KEPT or not file.stem.endswith(SCHEMES[1:]):
            shutil.copy(file, FOLDER)
        elif rest:
            shutil.copy(file, rest)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__)
    parser.add_argument("--all", type=Path, metavar="DIR", help="where those go that are not kept")
    options = parser.parse_args()
    if "HOST_OUT" in os.environ:
        out = Path(os.environ["HOST_OUT"]) / "keep"
        out.mkdir(exist_ok=True)
        os.environ["COLORTERM"] = "truecolor"  # whatever this terminal has
        asyncio.run(take(out))
        return 0
    inside = [sys.executable, "-m", "tests.hosts.two_guests", sys.executable, "-m", "tools.screenshots"]
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory() as folder:
            done = amd.run(inside, timeout=3600, collect=Path(folder))
            print(done.stdout)
            if not done.returncode:
                keep(Path(folder), options.all)
                break
    return int(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
