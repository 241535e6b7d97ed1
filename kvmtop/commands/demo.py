"""`kvmtop demo`: a recording that comes with kvmtop."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import replay
from .arguments import Parser

SUMMARY = "a recording that comes with kvmtop"
FOLDER = Path(__file__).parent.parent / "demo"


def parser() -> Parser:
    """Its options."""
    p = Parser("demo", SUMMARY)
    p.add_argument(
        "which",
        nargs="?",
        default="amd",
        choices=("amd", "intel"),
        metavar="amd|intel",
        help="amd: QEMU guests; intel: a test guest",
    )
    replay.add_options(p)
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError."""
    return replay.play(FOLDER / f"{options.which}.kvmtop", options)
