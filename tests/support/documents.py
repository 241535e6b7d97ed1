"""What README and CONTRIBUTING tell to type."""

from __future__ import annotations

import re
import shlex

from .program import ROOT

TEXT = "\n".join((ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))

SPANS = re.findall(r"(?<!`)`([^`\n]+)`", TEXT)

LINES = [line.strip() for line in re.findall(r"^ {4}(.*)$", TEXT, re.MULTILINE)]

COMMANDS = [text for text in (*LINES, *SPANS) if re.match(r"(sudo )?(\S*/)?kvmtop(\s|$)", text)]

RUNS_HERE = r"kvmtop --(replay|demo|compare|explain)(?!.*--openmetrics)"


def arguments(command: str) -> list[str]:
    """What kvmtop is given, without comment, pipe and sudo."""
    words = shlex.split(re.split(r"\s[|>]|\s#", command)[0])
    return words[words[0] == "sudo" :][1:]
