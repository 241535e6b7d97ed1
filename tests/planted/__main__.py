"""Plants problems on a host, one after the other, and asks `kvmtop diagnose` what is wrong:

    python -m tests.hosts.amd -- .venv/bin/python -m tests.planted [RULE ...]

All of it takes an hour or more. It ends with 1 if a right cause was not named first, or a wrong one was named at all.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..hosts.held import Held
from .constructed import CONSTRUCTED
from .healthy import SET_UPS
from .plants import PLANTS
from .trial import TITLES, Trial, constructed, healthy, planted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.planted", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rule", nargs="*", help="only these; with --healthy, set-ups by name")
    parser.add_argument("--healthy", action="store_true", help="only what is healthy")
    parser.add_argument("--nothing", action="store_true", help="plant nothing: then nothing may be found")
    parser.add_argument("--seconds", type=int, default=20, help="of each diagnosis")
    parser.add_argument("--json", type=Path, help="what kvmtop said each time, a line each")
    options = parser.parse_args()
    rules = {one.rule for one in PLANTS} | {one.rule for one in CONSTRUCTED}
    known = {one.name for one in SET_UPS} if options.healthy else rules
    chosen = set(options.rule) or known
    if unknown := chosen - known:
        parser.error(f"no plant for {', '.join(sorted(unknown))}")
    Held()
    begins: list[Callable[[], Trial]] = [partial(constructed, one) for one in CONSTRUCTED if one.rule in chosen]
    begins += [partial(planted, one, options.seconds, options.nothing) for one in PLANTS if one.rule in chosen]
    if options.healthy or not options.rule:
        wanted = [one for one in SET_UPS if not options.rule or one.name in chosen]
        begins += [partial(healthy, one, 60) for one in wanted if one.cpus <= (os.cpu_count() or 1)]
    right = True
    print(TITLES, flush=True)
    for begin in begins:
        trial = begin()
        print(trial.row(), *(() if trial.right else trial.words()), sep="\n    ", flush=True)
        right &= trial.right
        if options.json:
            with options.json.open("a") as file:
                file.write(json.dumps({"planted": trial.rule, "what": trial.what, "said": trial.said}) + "\n")
    for one in SET_UPS:
        if one.cpus > (os.cpu_count() or 1):
            print(f"not run: {one.name}, which needs {one.cpus} CPUs (--cpus of the host)")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
