"""`kvmtop doctor`: whether kvmtop can do its work on this machine."""

from __future__ import annotations

import argparse
import sys

from .arguments import Parser

SUMMARY = "what this machine offers, and a self-test"


def parser() -> Parser:
    """Its options."""
    p = Parser("doctor", SUMMARY, "The status is 0 if all is well, else 1.")
    p.add_argument(
        "--cost",
        action="store_true",
        help="instead: what the probes add to an exit here, in ns, in one line that an issue report can quote"
        " (ten seconds, longer where exits are slow)",
    )
    p.add_argument("--json", action="store_true", help="the report as an object")
    return p


def run(options: argparse.Namespace) -> int:
    """0 if all is well. Raises KvmtopError where the cost cannot be measured."""
    from ..host import doctor

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if options.cost:
        doctor.cost(options.json, sys.stdout)
        return 0
    return 0 if doctor.report(options.json, sys.stdout) else 1
