"""What options ask for."""

from __future__ import annotations

import pytest

from kvmtop.commands import live, requests
from kvmtop.errors import KvmtopError
from kvmtop.insight.accesses import TOUCHED
from kvmtop.model.vocabulary import KINDS, DetailRequest
from kvmtop.tables.row_choice import RowChoice


def test_what_the_options_look_at() -> None:
    def look(*argv: str) -> DetailRequest | None:
        options = live.parser().parse_args(argv)
        return requests.details(options.event, options.slow, options.pid)

    assert look() is None
    assert look("--event", "io,rip") == DetailRequest(frozenset({"io", "rip"}))
    assert look("--event", "poll") == DetailRequest(frozenset({"poll", "window"}))
    assert look("--event", "all") == DetailRequest(frozenset(KINDS) - {""})
    assert look("--slow", "2ms") == DetailRequest(TOUCHED, slow_ns=2_000_000)
    assert look("--event", "sched") == DetailRequest(sched=0)
    assert look("--event", "sched", "--pid", "7,7") == DetailRequest(sched=7)
    assert look("--event", "sched", "-p7", "-p8") == look("--event", "sched", "--vm", "web") == DetailRequest(sched=0)
    assert look("--event", "io", "--pid", "7") == DetailRequest(frozenset({"io"}))
    assert look("--event", "sched,io", "--slow", "2ms") == DetailRequest(TOUCHED, slow_ns=2_000_000, sched=0)
    assert look("--slow", "2ms", "--event", "rip") == DetailRequest(TOUCHED | {"rip"}, slow_ns=2_000_000)


def test_which_reasons() -> None:
    assert requests.rows(None, None, None, "last") is None  # as each output has them
    assert requests.rows(None, None, 3, "last") == RowChoice(top=3)
    assert requests.rows(None, None, None, "in") == RowChoice(idle="in")
    assert requests.rows(None, "p99", None, "out") == RowChoice(sort="p99", idle="out")
    with pytest.raises(KvmtopError, match="no column to sort by"):
        requests.rows(None, "", None, "last")
