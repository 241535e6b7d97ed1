"""kvmtop explain knows every word that the code shows."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvmtop
from kvmtop import cli
from kvmtop.commands.arguments import EVENTS, SCHEDULER
from kvmtop.insight.stacks import MARKS
from kvmtop.model.scheduling import ROLES
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import KINDS, STATES
from kvmtop.reference import exit_reasons, words
from kvmtop.reference.labels import TITLES
from kvmtop.reference.word import GROUPS, Word
from kvmtop.tables import compare, halt_polling, slow_exits, vcpus
from kvmtop.tables import exit_reasons as reasons
from kvmtop.ui import keys
from kvmtop.widgets import overview, reason_page, scheduler_page

from ..support.fake import Busy

PACKAGE = Path(kvmtop.__file__).parent
SENTENCE = re.compile(r"[.!?](?= [A-Z(]|$)")


def calls(folder: str) -> Iterator[ast.Call]:
    """All calls in the modules of a folder."""
    for path in sorted((PACKAGE / folder).glob("*.py")):
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def name(call: ast.Call) -> str:
    """Of what is called: Column, _column, Column[Slow], pane.label."""
    function = call.func.value if isinstance(call.func, ast.Subscript) else call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def said(node: ast.expr | None) -> Iterator[str]:
    """The plain texts that an argument may be."""
    if isinstance(node, ast.IfExp):
        yield from (*said(node.body), *said(node.orelse))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value


def titles() -> Iterator[str]:
    """Of columns, as they are written, and as logs call them."""
    for call in calls("tables"):
        if name(call) in ("Column", "_column"):
            yield from said(call.args[1])
        for part in ast.walk(call) if name(call) == "logged" else ():
            if isinstance(part, ast.Tuple) and len(part.elts) == 3:
                yield from said(part.elts[1])
    for columns in (reasons.COLUMNS, vcpus.COLUMNS, vcpus.LOGGED, compare.COLUMNS, compare.LOGGED):
        yield from (column.title for column in columns if column.title)
    yield from (slow_exits._part(state).title for state in STATES[1:])


def panes() -> Iterator[str]:
    """Titles in borders and above lists."""
    for call in calls("widgets"):
        if name(call) == "label" and call.args:
            yield from said(call.args[0])
        marked = [part for part in call.keywords if part.arg == "classes"]
        if name(call) == "Static" and marked and list(said(marked[0].value)) in (["head"], ["title"]):
            yield from said(call.args[0])
    yield from (reason_page._CODE, reason_page._SAMPLED, reason_page._KERNEL)
    yield from (*overview.TABS.values(), *scheduler_page.PANES.values())
    yield from (one.description for one in (keys.SCHEDULER, keys.TIMELINE, keys.SLOWEST))


def actors() -> Iterator[str]:
    """The kinds of who has a CPU."""
    for call in calls("insight"):
        if name(call) == "Actor":
            yield from said(call.args[0])


def caveats() -> set[str]:
    snapshot: Snapshot = Busy().read()
    return {*snapshot.caveats}


SHOWN = {
    "column": {*titles(), "P90", "P99.9", "IN ALL"},
    "column keys": {column.key for table in (reasons.COLUMNS, vcpus.COLUMNS) for column in table},
    "state": {*STATES, "stuck", "stopped", "paused", "ended"},
    "kind": {*filter(None, KINDS), *EVENTS, SCHEDULER, *TITLES.values()},
    "role": {*ROLES},
    "actor": {*actors()},
    "verdict": {*halt_polling._WORDS.values(), "more", "less", "longer", "shorter", "noise", "new"},
    "page": {*panes()},
    "mark": {*MARKS.values()},
    "caveat": caveats(),
    "word": {"L1", "L2", "L2→L1", "(L2→L1)", "most", "nesting", "polling", "APICv", "AVIC", "own", "probes"},
}


@pytest.mark.parametrize("group", SHOWN)
def test_each_word_of_the_screen_is_known(group: str) -> None:
    assert len(SHOWN[group]) >= 4
    assert {word for word in SHOWN[group] if not words.find(word)} == set()


def test_the_code_is_looked_at() -> None:
    assert {"TIME%", "BLOCKED ON", "WOKEN BY", "VM · VCPU", "CHANGE", "B", "BEHIND", "THROT"} <= SHOWN["column"]
    assert {"What they touched", "Which vCPUs", "Where the guest is, by samples", "Who ran instead"} <= SHOWN["page"]
    assert {"vcpu", "vm thread", "kernel thread", "process", "softirq", "unknown"} <= SHOWN["actor"]


@pytest.mark.parametrize("word", words.ALL, ids=lambda word: f"{word.group}-{word.name}")
def test_a_text(word: Word) -> None:
    assert word.group in GROUPS
    assert 10 < len(word.text) < 520
    assert word.text == " ".join(word.text.split())
    assert 1 <= len(SENTENCE.findall(words.sentence(word.text))) <= 4
    for other in word.see:
        assert words.find(other) or exit_reasons.find(other), other
    for line in words.text(word, 60).splitlines():
        assert len(line) <= 60


def test_no_word_twice() -> None:
    found = [(word.name.casefold(), word.group, word.where) for word in words.ALL]
    assert len(found) == len(set(found))
    assert all(bool(word.where) == (word.group == "column") for word in words.ALL)


def test_a_name_tells_all_that_it_stands_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "io"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("Port I/O\n")
    assert "\nio: what exits touch (--event)\n" in out and "\nio: the role of a VM's other thread\n" in out
    assert "\n\n\n" not in out


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("wait", "wait: what a vCPU or a VM does"),
        (" WAIT%", "WAIT%: a column of Exit reasons"),
        ("time%", "TIME%: a column of Exit reasons"),
        ("time", "TIME/S: a column of Exit reasons"),
        ("time_share", "TIME%: a column of Exit reasons"),
        ("L2->L1", "L2→L1: a word on the screen"),
        ("stuck", "stuck: what a vCPU or a VM does"),
        ("IRQWIN", "IRQWIN: why APICv or AVIC is off"),
        ("who ran instead", "Who ran instead: a pane or page"),
    ],
)
def test_look_up(query: str, first: str) -> None:
    assert words.explain(query).splitlines()[0] == first


@pytest.mark.parametrize(("query", "near"), [("trottled", "throttled"), ("tyme", "TIME/S"), ("nestin", "nesting")])
def test_near_misses(query: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", query]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"kvmtop: no word '{query}' is known: did you mean ") and near in err


def test_the_list_has_each_word_once_in_its_group() -> None:
    heads = [line for line in words.explain("list", 100).splitlines() if line.endswith(":") and line[0] != " "]
    there = {word.group for word in words.ALL}
    assert len(heads) == len(there) + 1 and heads[-1] == "Exit reasons:"
    lines = words.explain("list", 60).splitlines()
    assert sum(line.startswith("  TIME% ") for line in lines) == 1
