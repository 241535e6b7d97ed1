"""kvmtop's manual page and its completion for bash, made from the code that they describe.

.venv/bin/python -m tools.manual page | man -l -
.venv/bin/python -m tools.manual bash > /etc/bash_completion.d/kvmtop
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from textual.binding import Binding
from textual.keys import format_key

import kvmtop
from kvmtop import cli
from kvmtop.output.prometheus import Exporter
from kvmtop.recording import reader
from kvmtop.recording.format import SCHEMA
from kvmtop.reference import exit_reasons
from kvmtop.tables.exit_reasons import COLUMNS
from kvmtop.ui.app import KvmtopApp
from kvmtop.ui.player import Player
from kvmtop.widgets.table import Table

PACKAGE = Path(kvmtop.__file__).parent
DESCRIPTION = """\
A virtual machine is slow: kvmtop shows what makes its vCPUs leave the guest, how often, for how long, and where each
vCPU's time goes instead. An exit lasts from the kernel's event kvm_exit to the next kvm_entry of the same thread; BPF
programs count and time each one in the kernel. On a terminal it is a dashboard, else it prints a table for each
interval. When it ends, it prints the summary that the SystemTap script kvm_service_time.stp printed, in the same
format. Looking at a live host needs root."""
STATUS = (
    ("0", "all went well; a signal (INT, TERM, HUP) ends a run well, too, once counting has begun"),
    ("1", "this machine lacks something, or an output could not be written; a sentence on standard error says what"),
    ("2", "the arguments are wrong"),
)
# What --help cannot know: the values of options that argparse does not list as choices.
VALUES = {
    "--event": ("all", *cli.EVENTS),
    "--explain": ("list", *dict.fromkeys(name for _, _, name in exit_reasons.names() if " " not in name)),
    "-G": tuple(f"kvm={name}" for name in cli.FLAVOURS),
}


def options() -> list[argparse.Action]:
    """All options of the command line, in the order of --help."""
    return [action for action in cli.parser()._actions if action.option_strings]


def page() -> str:
    """The manual page kvmtop(1), in roff."""
    parser = cli.parser()
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    parts = [
        f'.TH KVMTOP 1 {day} "kvmtop {kvmtop.__version__}" "User Commands"',
        _section("NAME", rf"kvmtop \- {_text(parser.description.rstrip('.'))}" if parser.description else ""),
        _section("SYNOPSIS", r"\fBkvmtop\fR [\fIOPTION\fR]..."),
        _section("DESCRIPTION", _text(DESCRIPTION)),
        _section("OPTIONS", _list((_invocation(action), _help(parser, action)) for action in options())),
        _section("KEYS", "In the dashboard:", _pairs(keys()), ".PP\nOver a recording:",
                 _pairs(key for key in _keys(Player) if key not in keys())),
        _section("COLUMNS", _pairs((column.title, column.help) for column in COLUMNS)),
        _section("JSON", _text("Each line of --json is one object, whose \"type\" is interval or summary;"
                 f" {PACKAGE.name}/output/schema.json describes it in full."), _pairs(fields())),
        _section("METRICS", "What \\fB\\-\\-openmetrics\\fR serves:", _pairs(metrics())),
        _section("RECORDINGS", _text("A recording is a SQLite database of these tables:"),
                 f".PP\n.nf\n{_text(tables())}\n.fi"),
        _section("EXIT STATUS", _pairs(STATUS)),
        _section("EXAMPLES", f".nf\n{_text(_examples(parser))}\n.fi"),
        _section("SEE ALSO", r"\fBperf\-kvm\fR(1), \fBkvm_stat\fR(1)"),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def keys() -> list[tuple[str, str]]:
    """The keys of the dashboard and what they do."""
    return [*_keys(KvmtopApp), *_keys(Table)]


def fields() -> list[tuple[str, str]]:
    """The keys of the JSON objects, with what schema.json says of them."""
    kinds = json.loads((PACKAGE / "output" / "schema.json").read_text())["$defs"]
    found = {**kinds["summary"]["properties"], **kinds["interval"]["properties"]}
    return [(key, _described(part, kinds)) for key, part in found.items()]


def _described(part: dict[str, object], kinds: dict[str, dict[str, object]]) -> str:
    inner = re.search(r"#/\$defs/(\w+)", json.dumps(part))
    return str(part["description"] if "description" in part or not inner else kinds[inner[1]]["description"])


def metrics() -> list[tuple[str, str]]:
    """The metric families with their labels, as the demo's first VMs have them."""
    exporter = Exporter(demo := reader.Recording(PACKAGE / "demo" / "amd.kvmtop"), fresh=False)
    for _ in islice(demo, 8):
        exporter.read()
    found = []
    for family in exporter.collect():
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        unit = {"counter": "_total", "info": "_info"}.get(family.type, "")
        braces = f"{{{', '.join(labels)}}}" if labels else ""
        found.append((f"{family.name}{unit}{braces}", f"({family.type}) {family.documentation}"))
    return found


def tables() -> str:
    """The tables of a recording with their columns."""
    found = re.findall(r"CREATE TABLE (\w+) \((.*?)(?:, PRIMARY KEY \(.*)?\) STRICT", SCHEMA)
    return "\n".join(f"{name}: {', '.join(column.split()[0] for column in columns.split(', '))}"
                     for name, columns in found)  # fmt: skip


def bash() -> str:
    """Completion for bash."""
    cases = []
    for action in options():
        values = next((VALUES[name] for name in action.option_strings if name in VALUES), action.choices)
        if values:
            cases.append(f"    {'|'.join(action.option_strings)}) values={' '.join(map(str, values))!r} ;;")
    names = " ".join(name for action in options() for name in action.option_strings)
    return "\n".join([
        "# Completion of kvmtop for bash: options, their values, names of files.",
        "_kvmtop() {",
        "    local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD-1]} values=",
        "    [[ $word == = ]] && word=",
        "    [[ $option == = ]] && option=${COMP_WORDS[COMP_CWORD-2]}",
        "    case $option in",
        *cases,
        "    esac",
        f"    [[ $word == -* ]] && values={names!r}",
        "    local before=${word%\"${word##*,}\"}  # of a list with commas",
        "    mapfile -t COMPREPLY < <(compgen -P \"$before\" -W \"$values\" -- \"${word##*,}\")",
        "}",
        "complete -o default -F _kvmtop kvmtop",
    ]) + "\n"  # fmt: skip


def _keys(owner: type[KvmtopApp] | type[Table]) -> list[tuple[str, str]]:
    bound = [binding for binding in vars(owner)["BINDINGS"] if isinstance(binding, Binding)]
    return [(" ".join(map(_key, binding.key.split(","))), binding.tooltip or binding.description) for binding in bound]


def _key(name: str) -> str:
    return shown if (shown := format_key(name)).isascii() else name  # "/", but not the picture of an arrow


def _invocation(action: argparse.Action) -> str:
    names = ", ".join(rf"\fB{_text(name)}\fR" for name in action.option_strings)
    if action.nargs == 0:
        return names
    metavar = action.metavar or "{" + ",".join(map(str, action.choices or ())) + "}"
    value = " ".join(metavar) if isinstance(metavar, tuple) else metavar
    return names + (rf"[=\fI{_text(value)}\fR]" if action.nargs == "?" else rf" \fI{_text(value)}\fR")


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return _text(parser._get_formatter()._expand_help(action))


def _examples(parser: argparse.ArgumentParser) -> str:
    return (parser.epilog or "").partition("\n")[2].partition("\n\n")[0]


def _section(title: str, *parts: str) -> str:
    return "\n".join([f".SH {title}", *parts])


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return _list((rf"\fB{_text(left)}\fR", _text(right)) for left, right in pairs)


def _list(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f".TP\n{left}\n{right}" for left, right in pairs)


def _text(text: str) -> str:
    """Plain text as roff shows it."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("^", r"\(ha").replace("~", r"\(ti")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


if __name__ == "__main__":
    sys.stdout.write({"page": page, "bash": bash}[sys.argv[1]]())
