"""The command line: which command it is, and what becomes of its errors."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Protocol

from .commands import compare, config, demo, diagnose, doctor, explain, help, live, record, replay, report, serve, trace
from .commands import list as list_
from .commands.arguments import Parser
from .errors import KvmtopError, fault, tell


class Command(Protocol):
    """What a module of kvmtop.commands offers."""

    def parser(self) -> Parser:
        """Its options, with their help."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; the exit status. Raises KvmtopError."""


COMMANDS: dict[str, Command] = {
    "live": live,
    "diagnose": diagnose,
    "record": record,
    "replay": replay,
    "demo": demo,
    "compare": compare,
    "report": report,
    "serve": serve,
    "trace": trace,
    "list": list_,
    "doctor": doctor,
    "explain": explain,
    "config": config,
}


def parsers() -> dict[str, Parser]:
    """By command, in the order in which people meet them."""
    return {name: command.parser() for name, command in COMMANDS.items()} | {"help": help.parser()}


def main(argv: Sequence[str] | None = None) -> int:
    """Run kvmtop; the exit status: 0, 1 where this machine lacks something, 2 for wrong arguments."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started this has closed it
            setattr(sys, name, open(os.devnull, "r+"))  # noqa: SIM115
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KvmtopError as error:
        tell(error)
        return error.status
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as error:
        tell(error.strerror or error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        tell(fault(error))
        return 1


def _run(argv: list[str]) -> int:
    first = argv[0] if argv else ""
    if first in ("help", "-h", "--help"):
        return _help(help.parser().read(argv[1:]).command if first == "help" else None)
    if argv and not first.startswith("-"):
        command = _command(first)
        return command.run(command.parser().read(argv[1:]))
    parser = live.parser()
    options, unknown = parser.parse_known_args(argv)
    for word in unknown:
        name = word.partition("=")[0].removeprefix("--")  # some have been options
        if name in COMMANDS:
            usage = f"kvmtop {name} {help.operands(COMMANDS[name].parser())}".strip()
            raise KvmtopError(f"{name} is a command, which comes first: {usage}", 2)
    if unknown:
        parser.refuse(unknown)
    return live.run(options, bare=not argv)


def _command(name: str) -> Command:
    if name not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(name[:20], [*COMMANDS, "help"], 1)
        instead = f": did you mean {close[0]}?" if close else ""
        raise KvmtopError(f"there is no command {name[:40]!r}{instead} (kvmtop help lists them)", 2)
    return COMMANDS[name]


def _help(name: str | None) -> int:
    if name is None:
        text = help.overview(parsers())
    else:
        text = (help if name == "help" else _command(name)).parser().format_help()
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    sys.stdout.write(text)
    sys.stdout.flush()
    return 0
