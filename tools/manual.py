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
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

from textual.binding import Binding
from textual.keys import format_key

import kvmtop
from kvmtop import cli
from kvmtop.commands import help as overview
from kvmtop.commands.arguments import EVENTS, FLAVOURS, SCHEDULER, Parser
from kvmtop.output.prometheus import Exporter
from kvmtop.recording import reader
from kvmtop.recording.format import SCHEMA
from kvmtop.reference import exit_reasons, words
from kvmtop.tables.compare import BY_KEY
from kvmtop.tables.exit_reasons import COLUMNS
from kvmtop.tables.row_choice import SORTS
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
    (
        "1",
        "this machine lacks something, an output could not be written, or a line of the configuration is wrong; a"
        " sentence on standard error says what",
    ),
    ("2", "the arguments are wrong"),
)


def _explained() -> Iterator[str]:
    """What explain knows."""
    yield from (name for _, _, name in exit_reasons.names())
    yield from (word.name for word in words.ALL)


# The values of arguments that argparse does not list as choices, by the first name of each; before it, its command.
VALUES = {
    "--event": ("all", *EVENTS, SCHEDULER),
    "compare --sort": tuple(BY_KEY),
    "--sort": SORTS,
    "-G": tuple(f"kvm={name}" for name in FLAVOURS),
    "name": ("list", *dict.fromkeys(name for name in _explained() if re.fullmatch(r"[\w%/.>-]+", name, re.ASCII))),
    "command": (*cli.COMMANDS, "help"),
}


def options(parser: Parser) -> list[argparse.Action]:
    """All options of a command, in the order of its help."""
    return [action for action in parser._actions if action.option_strings]


def operands(parser: Parser) -> list[argparse.Action]:
    """What a command takes beside them."""
    return [action for action in parser._actions if not action.option_strings]


def page() -> str:
    """The manual page kvmtop(1), in roff."""
    parsers = cli.parsers()
    day = time.strftime("%Y-%m-%d", time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))))
    parts = [
        f'.TH KVMTOP 1 {day} "kvmtop {kvmtop.__version__}" "User Commands"',
        _section("NAME", rf"kvmtop \- {_text(overview.TITLE.rstrip('.'))}"),
        _section("SYNOPSIS", ".nf", *map(_synopsis, parsers.values()), ".fi"),
        _section("DESCRIPTION", _text(DESCRIPTION)),
        _section("COMMANDS", _text("Without a command, kvmtop is kvmtop live."), *map(_command, parsers.values())),
        _section(
            "KEYS",
            "In the dashboard:",
            _pairs(keys()),
            ".PP\nOver a recording:",
            _pairs(key for key in _keys(Player) if key not in keys()),
        ),
        _section("COLUMNS", _pairs((column.title, column.help) for column in COLUMNS)),
        _section(
            "JSON",
            _text(
                'Each line of --json is one object, whose "type" is interval or summary;'
                f" {PACKAGE.name}/output/schema.json describes it in full."
            ),
            _pairs(fields()),
        ),
        _section("METRICS", "What \\fBserve\\fR and \\fB\\-\\-openmetrics\\fR serve:", _pairs(metrics())),
        _section(
            "RECORDINGS",
            _text("A recording is a SQLite database of these tables:"),
            f".PP\n.nf\n{_text(tables())}\n.fi",
        ),
        _section("EXIT STATUS", _pairs(STATUS)),
        _section("EXAMPLES", f".nf\n{_text(_examples(parsers))}\n.fi"),
        _section("SEE ALSO", r"\fBperf\-kvm\fR(1), \fBkvm_stat\fR(1)"),
    ]
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
        own: tuple[str, ...] = getattr(family, "_labelnames", ())  # the demo has no sample of some
        labels = dict.fromkeys([*own, *(label for sample in family.samples for label in sample.labels)])
        unit = {"counter": "_total", "info": "_info"}.get(family.type, "")
        braces = f"{{{', '.join(labels)}}}" if labels else ""
        found.append((f"{family.name}{unit}{braces}", f"({family.type}) {family.documentation}"))
    return found


def tables() -> str:
    """The tables of a recording with their columns."""
    found = re.findall(r"CREATE TABLE (\w+) \((.*?)(?:, PRIMARY KEY \(.*)?\) STRICT", SCHEMA)
    return "\n".join(
        f"{name}: {', '.join(column.split()[0] for column in columns.split(', '))}" for name, columns in found
    )


def bash() -> str:
    """Completion for bash."""
    cases, words = [], []
    for name, parser in cli.parsers().items():
        found = options(parser)
        for action in found:
            if values := _values(action, name):
                names = "|".join(f"{name},{option}" for option in action.option_strings)
                cases.append(f"        {names}) values={' '.join(values)!r} ;;")
        first = [value for action in operands(parser) for value in _values(action, name)]
        listed = " ".join(option for action in found for option in action.option_strings)
        words.append(f"        {name},*) options={listed!r} first={' '.join(first)!r} ;;")
    return (
        "\n".join(
            [
                "# Completion of kvmtop for bash: commands, their options with values, names of files.",
                "_kvmtop() {",
                "    local word=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}",
                "    local values= options= first=",
                "    [[ $word == = ]] && word=",
                "    [[ $option == = ]] && option=${COMP_WORDS[COMP_CWORD-2]}",
                "    [[ $command == -* ]] && command=live",
                "    case $command,$option in",
                *cases,
                "    esac",
                "    case $command,$option in",
                *words,
                "    esac",
                "    [[ $COMP_CWORD == 2 && $option == $command ]] && values=$first",
                f"    [[ $COMP_CWORD == 1 ]] && values={' '.join(VALUES['command'])!r}",
                "    [[ $word == -* ]] && values=$options",
                '    local before=${word%"${word##*,}"}  # of a list with commas',
                '    mapfile -t COMPREPLY < <(compgen -P "$before" -W "$values" -- "${word##*,}")',
                "}",
                "complete -o default -F _kvmtop kvmtop",
            ]
        )
        + "\n"
    )


def _values(action: argparse.Action, command: str) -> list[str]:
    names = (*(f"{command} {name}" for name in action.option_strings), *action.option_strings, action.dest)
    return [*map(str, next((VALUES[name] for name in names if name in VALUES), action.choices or ()))]


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


def _synopsis(parser: Parser) -> str:
    given = overview.operands(parser)
    return rf"\fB{_text(parser.prog)}\fR" + (rf" \fI{_text(given)}\fR" if given else "") + r" [\fIOPTION\fR]..."


def _command(parser: Parser) -> str:
    heading = f'.SS "kvmtop {parser.command} {_text(overview.operands(parser))}'.rstrip() + '"'
    about = parser.description or ""
    sentence = _text(f"{about[:1].upper()}{about[1:]}.")
    found = [(rf"\fI{_text(overview.operand(a))}\fR", _help(parser, a)) for a in operands(parser)]
    found += [(_invocation(action), _help(parser, action)) for action in options(parser)]
    return "\n".join([heading, sentence, _list(found)])


def _help(parser: Parser, action: argparse.Action) -> str:
    return _text(parser._get_formatter()._expand_help(action))


def _examples(parsers: Mapping[str, Parser]) -> str:
    found = [(p.epilog or "").partition("examples:\n")[2].partition("\n\n")[0] for p in parsers.values()]
    return "\n".join(filter(None, found))


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
