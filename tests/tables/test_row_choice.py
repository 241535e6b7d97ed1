from __future__ import annotations

import warnings

import pytest

from kvmtop.errors import KvmtopError
from kvmtop.model.interval import Interval
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Line, Session
from kvmtop.tables.exit_reasons import BY_KEY
from kvmtop.tables.row_choice import SORTS, RowChoice, matcher

from ..support.fake import SECOND, Host

HLT, IO, MSR, INTERRUPT, NPF = 0x78, 0x7B, 0x7C, 0x60, 0x400


@pytest.fixture
def run() -> tuple[Session, Interval]:
    """hlt has the most time, io the next but npf more that is its own, msr the most exits, npf the longest exit but the idle one."""
    host, session = Host(), Session()
    host.add(100, "web01")
    host.add(200, "db01")
    session.add(host.read())
    host.now += SECOND
    host.exits(101, HLT, 800_000_000)
    host.exits(101, IO, *[20_000_000] * 2, wait=9_000_000)
    host.exits(101, MSR, *[1000] * 50)
    host.exits(101, INTERRUPT, *[2000] * 3)
    host.exits(201, NPF, 30_000_000, user=2_000_000, blocked=9_000_000)
    return session, session.add(host.read())


def names(lines: list[Line]) -> list[str]:
    return [line.reason.name for line in lines]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, ["npf", "io", "msr", "interrupt", "hlt"]),
        ({"idle": "in"}, ["hlt", "npf", "io", "msr", "interrupt"]),
        ({"idle": "out"}, ["npf", "io", "msr", "interrupt"]),
        ({"top": 2}, ["npf", "io"]),
        ({"top": 2, "idle": "in"}, ["hlt", "npf"]),
        ({"top": 99}, ["npf", "io", "msr", "interrupt", "hlt"]),
        ({"sort": "rate"}, ["msr", "interrupt", "io", "npf", "hlt"]),
        ({"sort": "rate", "top": 1}, ["msr"]),
        ({"sort": "max", "idle": "in"}, ["hlt", "npf", "io", "interrupt", "msr"]),
        ({"sort": "reason"}, ["interrupt", "io", "msr", "npf", "hlt"]),
        ({"reason": "^i"}, ["io", "interrupt"]),
        ({"reason": "IO|Npf"}, ["npf", "io"]),
        ({"reason": "[[x]|msr"}, ["msr"]),  # Python warns of it
        ({"reason": "nothing"}, []),
        ({"reason": "i", "sort": "rate", "top": 1}, ["interrupt"]),
    ],
)
def test_choose(run: tuple[Session, Interval], choice: dict[str, object], expected: list[str]) -> None:
    session, interval = run
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = RowChoice.of(**choice)  # type: ignore[arg-type]
    lines = session.lines(interval, idle=rows.idle == "in")
    assert names(rows.choose(reversed(lines))) == expected


def test_for_programs_no_reason_is_idle_and_time_is_all_of_it(run: tuple[Session, Interval]) -> None:
    def rows(scope: Scope = ALL, **choice: object) -> list[str]:
        return names(RowChoice.of(**choice).for_programs(*run, scope))  # type: ignore[arg-type]

    assert rows() == rows(sort="time_share") == ["hlt", "io", "npf", "msr", "interrupt"]
    assert rows(idle="out") == ["io", "npf", "msr", "interrupt"]
    assert rows(sort="user", top=1) == rows(sort="blocked", top=1) == ["npf"]
    assert rows(Scope(200)) == ["npf"]


def test_shares(run: tuple[Session, Interval]) -> None:
    session, interval = run
    (some,) = RowChoice.of(reason="npf", top=1).choose(session.lines(interval))
    assert some.share == pytest.approx(1 / 57)  # of all, not of what is shown
    assert some.time_share == pytest.approx(30 / 870, rel=1e-3)
    assert some.own_share == pytest.approx(30 / 52, rel=1e-2)


def test_every_column_sorts(run: tuple[Session, Interval]) -> None:
    session, interval = run
    assert set(SORTS) == BY_KEY.keys() - {"trend", "where"}
    for sort in SORTS:
        assert len(RowChoice.of(sort=sort).choose(session.lines(interval))) == 5


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"reason": "("}, "'(' is no regular expression: missing ), unterminated subpattern at position 0"),
        ({"reason": "a{99999999999999}"}, "is no regular expression: the repetition number is too large"),
        ({"reason": "*"}, "is no regular expression: nothing to repeat"),
        ({"reason": "x" * 201}, "has more than 200 characters"),
        ({"sort": "trend"}, "'trend' is no column to sort by: those are reason, rate, share, time,"),
        ({"sort": ""}, "'' is no column to sort by"),
        ({"top": 0}, "0 is no number of rows: give 1 or more"),
        ({"top": -1}, "-1 is no number of rows"),
    ],
)
def test_what_cannot_be(choice: dict[str, object], words: str) -> None:
    with pytest.raises(KvmtopError) as caught:
        RowChoice.of(**choice)  # type: ignore[arg-type]
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert caught.value.status == 2


@pytest.mark.parametrize("text", ["a{99999999999}", "(" * 5000, "(" * 5000 + "a" + ")" * 5000, "[", "a(", "\\"])
def test_a_filter_that_is_no_regular_expression_is_the_text(text: str) -> None:
    assert matcher(text)(f"in it {text.upper()} is") and not matcher(text)("another")


def test_a_filter_that_is_a_regular_expression() -> None:
    assert matcher("^EPT|hlt$")("ept_violation") and not matcher("^EPT|hlt$")("hlt x")
