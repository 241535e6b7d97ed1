"""`kvmtop help [COMMAND]`: all of a command's options; the commands, on a screen of 80 by 24."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from .arguments import Parser

SUMMARY = "all options of a command"
TITLE = "top for KVM exits: what makes vCPUs leave, how often, how long and why."
OPTIONS = """\
used most without a command (kvmtop help live has all, help COMMAND others'):
  --pid PID, --vm NAME         some VMs only
  --duration S, --interval S   end after S seconds; read every S seconds
  --batch, --json, --csv       text instead of the dashboard
  --event KIND, --slow TIME    also what exits touched; slow exits, as they come
  --record FILE, --dump FILE   keep everything; keep the closing summary
"""


def parser() -> Parser:
    """Its argument."""
    p = Parser("help", SUMMARY)
    p.add_argument("command", nargs="?", metavar="COMMAND", help="without it, the commands")
    return p


def operands(p: argparse.ArgumentParser) -> str:
    """What a command takes beside options, as people write it: "FILE", "[NAME]"."""
    return " ".join(operand(action) for action in p._actions if not action.option_strings)


def operand(action: argparse.Action) -> str:
    """One of them."""
    name = str(action.metavar or "|".join(map(str, action.choices or ())))
    return f"[{name}]" if action.nargs == "?" else name


def overview(parsers: Mapping[str, Parser]) -> str:
    """What kvmtop is, and its commands; for a screen of 80 by 24, with the prompt below."""
    rows = [(f"{name} {operands(p)}".strip(), p.description) for name, p in parsers.items() if name != "help"]
    return "\n".join(
        [
            TITLE,
            "usage: sudo kvmtop [OPTION]..., or kvmtop COMMAND [OPTION]...",
            "",
            *(f"  {name:<18} {description}" for name, description in rows),
            "",
            OPTIONS,
        ]
    )
