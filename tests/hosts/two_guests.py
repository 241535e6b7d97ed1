"""Run a command beside two real guests, web01 and db01: `python -m tests.hosts.two_guests COMMAND ARG...`."""

from __future__ import annotations

import subprocess
import sys

from . import qemu
from .held import Held


def main() -> int:
    Held()
    with qemu.guest("web01", 2) as web, qemu.guest("db01", 1) as db:
        for process in (web, db):
            qemu.wait_until_up(process, 180)
        status = subprocess.run(sys.argv[1:]).returncode
        for name, process in (("web01", web), ("db01", db)):
            if process.poll() is not None:
                print(f"{name} has ended meanwhile, with status {process.returncode}; its console:")
                print(qemu.console(process)[-1500:])
                status = status or 1
        return status


if __name__ == "__main__":
    sys.exit(main())
