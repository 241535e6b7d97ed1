"""What README, CONTRIBUTING and docs/ tell to type."""

from __future__ import annotations

import re
import shlex

from .program import ROOT

DOCUMENTS = {
    path: path.read_text()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}

TEXT = "\n".join(DOCUMENTS.values())

SPANS = re.findall(r"(?<!`)`([^`\n]+)`", TEXT)

LINES = [line.strip() for line in re.findall(r"^ {4}(.*)$", TEXT, re.MULTILINE)]

COMMANDS = [text for text in (*LINES, *SPANS) if re.match(r"(sudo )?(\S*/)?kvmtop(\s|$)", text)]

RUNS_HERE = r"kvmtop (replay|demo|compare|explain|help)\b(?!.*--openmetrics)"


def arguments(command: str) -> list[str]:
    """What kvmtop is given, without comment, pipe and sudo."""
    words = shlex.split(re.split(r"\s[|>]|\s#", command)[0])
    return words[words[0] == "sudo" :][1:]


def quoted(after: str) -> list[str]:
    """The lines that a document quotes after a pattern, as they were printed."""
    found = re.findall(rf"{after}\n\n((?: {{4}}.*\n)+)", TEXT)
    assert len(found) == 1, f"{len(found)} documents quote what follows {after}"
    return [line[4:] for line in found[0].splitlines()]
