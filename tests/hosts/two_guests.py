"""Run a command beside two real guests, web01 and db01: `python -m tests.hosts.two_guests COMMAND ARG...`.

Now and then QEMU's TCG, in which KVM's guests run here, lets one of them crash: its kernel panics, or it shuts down by a
triple fault. (Once the host's kernel did, of page faults without an end: it ran with its guest's GS base.) The guest
boots again then. Should one have ended all the same before the command began, it is started anew; of one that ended
meanwhile its console is shown.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

from . import qemu
from .held import Held

TRIES = 3
BOOTS_AGAIN = ("-action", "reboot=reset")  # a guest that crashed, as the same VM
LINES = 15  # of a console
LOST = "has ended meanwhile"
SETTLED = 5.0  # seconds in which it has not ended


def up(stack: contextlib.ExitStack, name: str, cpus: int) -> subprocess.Popen[bytes]:
    """A guest that works, or the last of TRIES that have ended. Raises TimeoutError."""
    tries = 0
    while True:
        process = stack.enter_context(qemu.guest(name, cpus, 192, "6.1", *BOOTS_AGAIN))
        with contextlib.suppress(RuntimeError):  # it has ended
            qemu.wait_until_up(process, 180)
            time.sleep(SETTLED)
        tries += 1
        if process.poll() is None or tries == TRIES:
            return process
        print(f"{name} is started anew; its console:\n{qemu.console(process)[-1500:]}")


def main() -> int:
    Held()
    with contextlib.ExitStack() as stack:
        guests = {name: up(stack, name, cpus) for name, cpus in (("web01", 2), ("db01", 1))}
        status = subprocess.run(sys.argv[1:]).returncode
        for name, process in guests.items():
            if process.poll() is not None:
                # The screen may have no room for all of it: what the suite looks for comes last.
                print(*qemu.console(process)[-1500:].splitlines()[-LINES:], sep="\n")
                print(f"{name} {LOST}, with status {process.returncode}; above is the end of its console")
                status = status or 1
        return status


if __name__ == "__main__":
    sys.exit(main())
