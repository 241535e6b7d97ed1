"""`kvmtop compare A B`: how two recordings differ, or stretches of them."""

from __future__ import annotations

import argparse
import sys

from ..ending import Ending
from ..errors import KvmtopError
from . import arguments
from .arguments import Parser

SUMMARY = "how two recordings differ; part of one: FILE@FROM..TO"


def parser() -> Parser:
    """Its options."""
    p = Parser("compare", SUMMARY)
    for name, help in (
        (
            "a",
            "before: FILE or DIR; of it FILE@FROM..TO alone, in seconds from its start or as for replay --at",
        ),
        ("b", "after, the same"),
    ):
        p.add_argument(name, metavar=name.upper(), help=help)
    p.add_argument(
        "--by",
        choices=("reason", "vm"),
        default="reason",
        help="a row a reason, or a VM with all of its exits but halts (of the reasons that --reason names)",
    )
    arguments.add_batch(p, "text only")
    arguments.add_config(p)
    arguments.add_vms(p, by_pid=False)
    arguments.add_rows(p, "sort by a column: reason, rate_a, rate_b, rate_change, time_b, p99_b, …", idle_last=False)
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError."""
    from ..insight.compare import RecordingSpan, changes
    from ..model.selection import Selection
    from ..tables.columns import falling, sortable
    from ..tables.compare import BY_KEY, ordered, text
    from ..tables.row_choice import RowChoice
    from . import screen

    choice = RowChoice.of(options.reason, top=options.top, idle=options.idle)
    sort, selection = "" if options.sort is None else sortable(options.sort, BY_KEY), Selection.of(options.vm)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    of_vms = choice.keeps if options.by == "vm" else None
    a, b = (RecordingSpan.read(name, selection, of_vms) for name in (options.a, options.b))
    found = changes(a, b) if of_vms else changes(a, b, choice.keeps)
    found = ordered(found, sort, falling(sort))[: choice.top]
    failure = None
    if screen.able() and not options.batch:
        config = arguments.config(options)
        with Ending() as ending:
            try:
                screen.comparison(a, b, found, sort, ending, config)
            except KvmtopError as error:
                failure = error  # and what was found all the same
    for line in text(a, b, found):
        print(line)
    if failure:
        raise failure
    return 0
