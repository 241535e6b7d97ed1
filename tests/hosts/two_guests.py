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
        if web.poll() is not None or db.poll() is not None:
            print("a guest has ended meanwhile")
            return 1
        return status


if __name__ == "__main__":
    sys.exit(main())
