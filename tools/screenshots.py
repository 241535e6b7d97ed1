"""Makes screenshots/ anew, from two real QEMU guests on an emulated AMD host: `python -m tools.screenshots`."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from kvmtop.host.live import Live
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.live_feed import LiveFeed
from tests.hosts import amd
from tests.support.picture import lines, png

FOLDER = Path(__file__).parent.parent / "screenshots"
SIZES = ((80, 24), (120, 50), (160, 48))
# What is pressed to get there from the start, by the picture's name.
VIEWS = {
    "all": (),
    "vms": ("2",),
    "vcpu": ("2", "end", "enter"),
    "reason": ("T", "home", "down", "enter"),
    "io": ("slash", "i", "o", "enter", "home", "enter"),
    "slow": ("x",),
    "scheduler": ("S",),
    "help": ("question_mark",),
}
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
    """Inside the host: run the dashboard at each size, go to each view, and save it."""
    for width, height in SIZES:
        source = Live()
        app = KvmtopApp(LiveFeed(source))
        async with app.run_test(size=(width, height)) as pilot:
            await asyncio.sleep(SECONDS)
            for name, keys in VIEWS.items():
                for key in keys:
                    await pilot.press(key)
                await settle(app)
                print(f"{name} at {width}x{height}", flush=True)  # a host that says nothing is stopped
                png(app, out / f"{name}-{width}x{height}.png", 9)
                for _ in range(4):  # reason, vCPU, VM, filter
                    await pilot.press("escape")
                await pilot.press("1")
        source.close()


def main() -> int:
    argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__).parse_args()
    if "HOST_OUT" in os.environ:
        out = Path(os.environ["HOST_OUT"]) / "keep"
        out.mkdir(exist_ok=True)
        os.environ["COLORTERM"] = "truecolor"  # whatever this terminal has
        asyncio.run(take(out))
        return 0
    inside = [sys.executable, "-m", "tests.hosts.two_guests", sys.executable, "-m", "tools.screenshots"]
    for _ in range(TRIES):
        with tempfile.TemporaryDirectory() as folder:
            done = amd.run(inside, timeout=1500, collect=Path(folder))
            print(done.stdout)
            if not done.returncode:
                shutil.copytree(folder, FOLDER, dirs_exist_ok=True)
                break
    return int(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
