"""`kvmtop report FILE -o report.html`: a recording as one page for people who were not there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import KvmtopError
from ..recording.moment import FORMS
from . import arguments
from .arguments import Parser

SUMMARY = "a recording as one HTML file, for a ticket"
AROUND = 300  # s before and after --at


def parser() -> Parser:
    """Its options."""
    p = Parser("report", SUMMARY)
    p.add_argument("file", type=Path, metavar="FILE", help="what kvmtop record wrote, or a directory of that")
    p.add_argument("-o", "--output", type=Path, metavar="HTML", help="where to (standard output)")
    p.moments = "--at", "--from", "--to"
    group = p.add_argument_group("time", f"a moment is {FORMS}")
    one = group.add_mutually_exclusive_group()
    one.add_argument("--at", metavar="MOMENT", help=f"{AROUND // 60} minutes before it, and after it")
    one.add_argument("--from", dest="begin", default="", metavar="MOMENT", help="leave out what was before")
    group.add_argument("--to", dest="end", default="", metavar="MOMENT", help="leave out what was after")
    arguments.add_config(p)
    arguments.add_vms(p)
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError and, of standard output, OSError."""
    from ..insight.report import report
    from ..model.selection import Selection
    from ..output import summary
    from ..output.report import html
    from ..recording.store import Store
    from . import places

    path: Path = options.file
    if options.at and options.end:
        raise KvmtopError("--at and --to say different things: --from and --to are a stretch", 2)
    if options.output:
        places.check({"--output": options.output}, places.parts(path))
        if options.output.is_dir():
            raise KvmtopError(f"cannot write {options.output}: it is a directory", 2)
    elif sys.stdout.isatty():
        raise KvmtopError("a page is nothing for a terminal: say where to, as with -o report.html", 2)
    recording = Store(path, options.pid, Selection.of(options.vm))
    try:
        if options.at:
            when = recording.wall(recording.seek(options.at))
            recording.between(when - AROUND, when + AROUND)
        elif options.begin or options.end:
            recording.stretch(options.begin, options.end)
        page = html(report(recording, limits=arguments.config(options).preferences.limits))
    finally:
        recording.free()
    if not options.output:
        sys.stdout.write(page)
        sys.stdout.flush()
        return 0
    try:
        summary.write(options.output, page)
    except OSError as error:
        raise KvmtopError(f"cannot write {options.output}: {error.strerror}") from None
    return 0
