"""`kvmtop report FILE -o report.html`: a recording as one page for people who were not there."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import KvmtopError
from . import arguments
from .arguments import Parser

SUMMARY = "a recording as one HTML file, for a ticket"


def parser() -> Parser:
    """Its options."""
    p = Parser("report", SUMMARY)
    p.add_argument("file", type=Path, metavar="FILE", help="what kvmtop record wrote")
    p.add_argument("-o", "--output", type=Path, metavar="HTML", help="where to (standard output)")
    arguments.add_config(p)
    arguments.add_vms(p)
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError and, of standard output, OSError."""
    from ..insight.report import report
    from ..model.selection import Selection
    from ..output import summary
    from ..output.report import html
    from ..recording.reader import Recording
    from . import places

    if options.output:
        places.check({"--output": options.output}, {"the recording that is to be read": options.file})
        if options.output.is_dir():
            raise KvmtopError(f"cannot write {options.output}: it is a directory", 2)
    elif sys.stdout.isatty():
        raise KvmtopError("a page is nothing for a terminal: say where to, as with -o report.html", 2)
    recording = Recording(options.file, options.pid, Selection.of(options.vm))
    try:
        page = html(report(recording, limits=arguments.config(options).preferences.limits))
    finally:
        recording.close()
    if not options.output:
        sys.stdout.write(page)
        sys.stdout.flush()
        return 0
    try:
        summary.write(options.output, page)
    except OSError as error:
        raise KvmtopError(f"cannot write {options.output}: {error.strerror}") from None
    return 0
