"""`kvmtop config`: how the dashboard shall look, as the file has it, with the defaults."""

from __future__ import annotations

import argparse
import sys

from ..errors import tell
from ..sanitize import clean
from . import arguments
from .arguments import Parser

SUMMARY = "check and print how the dashboard shall look"
EPILOG = "kvmtop config --no-config prints the defaults: a file to begin with"


def parser() -> Parser:
    """Its options."""
    p = Parser("config", SUMMARY, EPILOG)
    arguments.add_config(p)
    return p


def run(options: argparse.Namespace) -> int:
    """0; 1 where a line is wrong, each of which is told on standard error. Raises KvmtopError."""
    found = arguments.config(options)
    for sentence in found.complaints:
        tell(sentence)
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if found.path:
        print(f"# {clean(str(found.path))}{'' if found.there else ', which there is not'}")
    sys.stdout.write(found.preferences.text())
    return 1 if found.complaints else 0
