"""`kvmtop explain NAME`: what an exit reason means."""

from __future__ import annotations

import argparse
import shutil
import sys

from .arguments import Parser

SUMMARY = "what an exit reason means; all reasons without NAME"


def parser() -> Parser:
    """Its options."""
    p = Parser("explain", SUMMARY)
    p.add_argument("name", nargs="?", default="list", metavar="NAME", help="a name or number; list: all of them")
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError."""
    from ..reference import exit_reasons

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    # A pipe has no width, and long lines are hard to read.
    sys.stdout.write(exit_reasons.explain(options.name, min(shutil.get_terminal_size().columns, 100)))
    sys.stdout.flush()
    return 0
