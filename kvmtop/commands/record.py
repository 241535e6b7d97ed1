"""`kvmtop record FILE|DIR`: this host into a file, or always into a directory, without a dashboard."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KvmtopError, tell
from ..recording.always import ALWAYS
from . import arguments
from .arguments import Parser

if TYPE_CHECKING:
    from ..ending import Ending
    from ..model.source import Source
    from ..recording.folder import Folder

SUMMARY = "record this host, without a dashboard, until Ctrl-C"


def parser() -> Parser:
    """Its options."""
    p = Parser("record", SUMMARY)
    p.add_argument(
        "file",
        type=lambda text: Path(arguments.file_name(text)),
        metavar="FILE|DIR",
        nargs="?",
        help="a file is made anew; in a directory, what is new takes the place of what is oldest. Complete after each"
        f" reading. --status: {ALWAYS} if none is named",
    )
    arguments.add_recorded(p)
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
    if options.status:
        from . import record_status

        return record_status.run(options.file or ALWAYS)
    if not options.file:
        raise KvmtopError("name a FILE or a DIR to record to (kvmtop help record lists the options)", 2)
    from ..model.selection import Selection
    from . import headless, prices, requests, sources
    from .outputs import Outputs
    from .run import Run

    folder = _folder(options)
    file = None if folder else options.file
    outputs = Outputs(options.dump, options.kvm, file, folder=folder)
    outputs.check({})
    details = requests.details(options.details, options.slow, options.pid)
    schedule = headless.Schedule(options.interval, options.duration)
    start = partial(sources.host, options.pid, Selection.of(options.vm), details, file)

    def begin() -> Source:
        from ..recording.anonymous import Anonymous

        return Anonymous(start()) if options.anonymous else start()

    def show(source: Source, ending: Ending) -> None:
        kept = f" ({folder.limits})" if folder else ""
        tell(f"recording to {options.file}{kept}; Ctrl-C ends it")
        if price := prices.of(options.details, options.slow):
            tell(price)
        headless.follow(source, ending, schedule=schedule, tables=None)

    return Run(begin, show, outputs).status()


def _folder(options: argparse.Namespace) -> Folder | None:
    """The directory, if it is one that is recorded to. Raises KvmtopError."""
    from ..recording.folder import Folder
    from ..recording.writing import Limits

    limited = any(one is not None for one in (options.keep, options.max_size, options.thin))
    if not (limited or options.file.is_dir()):
        return None
    if limited and os.path.lexists(options.file) and not options.file.is_dir():
        raise KvmtopError(f"{options.file} is a file: --keep, --max-size and --thin are for a directory", 2)
    stages = Limits.thin if options.thin is None else options.thin
    return Folder(options.file, Limits(options.keep, options.max_size or Limits.size, thin=stages))
