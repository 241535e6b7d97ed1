"""A reason's page, from intervals built by hand."""

from __future__ import annotations

from kvmtop.model.scope import ALL
from kvmtop.model.session import Session
from kvmtop.reference import exit_reasons
from kvmtop.tables.reason_page import page

from ..support.dashboard import IO, MSR, small_host, work
from ..support.fake import SECOND


def _session() -> Session:
    host, session = small_host(), Session()
    host.now += SECOND
    session.add(host.read())
    work(host, 4001)
    host.now += SECOND
    session.add(host.read())
    return session


def test_a_page_has_what_the_reason_means_and_who_has_it() -> None:
    session = _session()
    assert session.interval
    found, told = page(session, session.interval, ALL, IO), exit_reasons.meaning(*IO)
    assert told and (found.what, found.causes, found.advice) == (told.what, told.causes, told.advice)
    assert dict(found.figures)["EXITS/S"] == "4.0" and dict(found.figures)["AVG"] == "40.0µs"
    assert found.holders == [("web01 vCPU 0", 1.0)] and found.others == 0
    assert [mark.split()[0] for mark, _ in found.marks] == ["p50", "p99", "max"]
    assert len(found.heat) == 2 and all(len(column) == len(found.hist) for column in found.heat)


def test_a_reason_without_exits_or_description_has_a_page() -> None:
    session = _session()
    assert session.interval
    found = page(session, session.interval, ALL, (MSR[0], 0x99999))
    assert found.figures == [] and found.what == "" and not any(found.hist) and found.holders == []
