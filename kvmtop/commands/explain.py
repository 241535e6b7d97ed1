"""`kvmtop explain NAME`: what a word on the screen means: a reason, a state, a column …"""

from __future__ import annotations

import argparse
import shutil
import sys

from .arguments import Parser

SUMMARY = "what a word on the screen means: reason, state, column …"


def parser() -> Parser:
    """Its options."""
    p = Parser("explain", SUMMARY)
    p.add_argument(
        "name",
        nargs="?",
        default="list",
        metavar="NAME",
        help="a word as the screen has it, or a reason's number; list: all of them",
    )
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError."""
    from ..insight.rules import WORDS
    from ..reference import words

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    # A pipe has no width, and long lines are hard to read.
    sys.stdout.write(words.explain(options.name, min(shutil.get_terminal_size().columns, 100), (*words.ALL, *WORDS)))
    sys.stdout.flush()
    return 0
