"""`kvmtop record FILE`: this host into a file, without a dashboard."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import tell
from . import arguments
from .arguments import Parser

if TYPE_CHECKING:
    from ..ending import Ending
    from ..model.source import Source

SUMMARY = "record this host in FILE, without a dashboard, until Ctrl-C"


def parser() -> Parser:
    """Its options."""
    p = Parser("record", SUMMARY)
    p.add_argument("file", type=Path, metavar="FILE", help="is made anew, and complete after each reading")
    arguments.add_vms(p)
    arguments.add_schedule(p)
    arguments.add_summary(p)
    p.add_argument(
        "--anonymous",
        action="store_true",
        help="without names (of the host, VMs, processes, cgroups, files) and guest addresses; VMs become VM 1, VM 2 …",
    )
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError."""
    from ..model.selection import Selection
    from . import headless, sources
    from .outputs import Outputs
    from .run import Run

    outputs = Outputs(options.dump, options.kvm, options.file)
    outputs.check({})
    schedule = headless.Schedule(options.interval, options.duration)
    start = partial(sources.host, options.pid, Selection.of(options.vm), None, options.file)

    def begin() -> Source:
        from ..recording.anonymous import Anonymous

        return Anonymous(start()) if options.anonymous else start()

    def show(source: Source, ending: Ending) -> None:
        tell(f"recording to {options.file}; Ctrl-C ends it")
        headless.follow(source, ending, schedule=schedule, tables=None)

    return Run(begin, show, outputs).status()
