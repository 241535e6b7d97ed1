"""The tables of the Scheduler page."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from kvmtop.insight.actors import Actor
from kvmtop.insight.scheduling import Culprit, HoldUp, Waker
from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.interval import diff
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Session
from kvmtop.sanitize import clean
from kvmtop.tables.scheduling import BAR, culprit_table, holdup_table, placed_table, waker_table

from ..support.fake import SECOND, Host
from ..support.hostile import NASTY
from ..support.rows import cells, width

MS = 1_000_000
WEB = Actor("vcpu", "vCPU 0 of web01", 4000, 4001)
TAR = Actor("process", "tar (backup.service)", 812, None, "/system.slice/backup.service")
CULPRITS = [Culprit(WEB, 1040 * MS, 0.684, 260), Culprit(TAR, 2 * MS, 0.0013, 1)]


def test_who_ran_instead() -> None:
    """Times are in each second of an interval of two."""
    table = culprit_table(CULPRITS, 2.0, 160)
    assert cells(table, 0) == {
        "who": "vCPU 0 of web01",
        "time": "520ms",
        "share": "68.4%",
        "bar": [("▆" * 8, "wait")],
        "rate": "130",
        "kind": "vCPU",
        "number": "4001",
        "cgroup": "",
    }
    little = cells(table, 1)
    assert (little["time"], little["rate"], little["number"]) == ("1.00ms", "0.5", "812")
    assert little["bar"] == [("▆", "wait")] and little["cgroup"] == "/system.slice/backup.service"
    assert cells(culprit_table([Culprit(WEB, 1, 1.0, 1)], 1.0, 160))["bar"] == [("▆" * BAR, "wait")]


@pytest.mark.parametrize("room", [40, 58, 60, 80, 120, 160, 300])
def test_the_tables_fit(room: int) -> None:
    table = culprit_table(CULPRITS, 1.0, room)
    assert width(table) <= max(room, 41) and {"who", "time", "share", "rate"} <= cells(table).keys()
    table = waker_table([Waker(WEB, 3, 3.0)], room)
    assert width(table) <= room and {"who", "rate"} <= cells(table).keys()
    table = holdup_table([HoldUp("a lock or event (futex)", (), TAR, 1, MS, MS)], 1.0, room)
    assert width(table) <= max(room, 45) and {"what", "by", "time", "max"} <= cells(table).keys()


def test_a_row_is_the_same_whatever_its_figures_and_its_thread_is_called() -> None:
    renamed = Actor("vcpu", "vCPU 0 of another", 4000, 4001)
    (before,), (after,) = (culprit_table([Culprit(who, 1, 1.0, 1)], 1.0, 80)[1] for who in (WEB, renamed))
    assert before.key == after.key
    two = [Culprit(Actor("interrupt", f"interrupt {number}"), 1, 0.5, 1) for number in (1, 2)]
    assert len({row.key for row in culprit_table(two, 1.0, 80)[1]}) == 2


def test_wakers_have_their_share_of_all_wake_ups() -> None:
    table = waker_table([Waker(Actor("timer", "timer interrupt"), 60, 30.0), Waker(WEB, 20, 10.0)], 80)
    assert [cells(table, at)["share"] for at in (0, 1)] == ["75.0%", "25.0%"]
    assert cells(table) == {"who": "timer interrupt", "rate": "30", "share": "75.0%", "kind": "timer"}


def test_what_held_vcpus_up() -> None:
    found = [HoldUp("read of /dev/vda", ("io_schedule",), None, 0, 40 * MS, 40 * MS)]
    found.append(HoldUp("read of /dev/vda", ("io_schedule",), TAR, 100, 250 * MS, 7 * MS))
    table = holdup_table(found, 2.0, 120)
    assert cells(table, 0) == {
        "what": "read of /dev/vda",
        "by": "nobody yet",
        "rate": "0",
        "time": "20.0ms",
        "max": "40.0ms",
    }
    assert (cells(table, 1)["by"], cells(table, 1)["rate"]) == ("tar (backup.service)", "50")
    assert len({row.key for row in table[1]}) == 2


def placed_host() -> tuple[Session, Host]:
    host, session = Host(), Session()
    host.add(100, "web", 2)
    host.add(200, "db", 1)
    session.add(host.read())
    host.now += SECOND
    host.vcpus[102].states |= {"wait": 300 * MS, "throttled": 100 * MS, "blocked": 50 * MS, "guest": 550 * MS}
    session.add(host.read())
    return session, host


def test_vcpus_with_what_keeps_them_off_a_cpu() -> None:
    session, _ = placed_host()
    assert session.interval
    rows = vcpu_rows(session, session.interval)
    table = placed_table(rows, Scope(100, 102), 120)
    assert [row.key for row in table[1]] == [Scope(100, 101), Scope(100, 102)]  # its VM's, in their order
    assert cells(table, 1) == {
        "name": "›vCPU 1",
        "cpu": "2",
        "wait": "30.0%",
        "throttled": "10.0%",
        "blocked": "5.0%",
        "where": [("███████", "guest"), ("·", "blocked"), ("╳╳╳", "wait"), ("╱", "throttled")],
        "state": "",
    }
    assert cells(table, 0)["name"] == " vCPU 0"


def test_of_all_vms_who_waits_most_comes_first_and_small_changes_move_nobody() -> None:
    session, host = placed_host()
    assert session.interval
    everything = placed_table(vcpu_rows(session, session.interval), ALL, 120)
    assert [cells(everything, at)["name"] for at in range(3)] == [" vCPU 1 of web", " vCPU 0 of db", " vCPU 0 of web"]
    host.now += SECOND
    host.vcpus[101].states |= {"wait": 10 * MS, "guest": 1990 * MS}
    later = diff(session.last, host.read())
    assert [row.key for row in placed_table(vcpu_rows(session, later), ALL, 120)[1]] == [
        Scope(200, 201),
        Scope(100, 101),
        Scope(100, 102),
    ]


def test_of_what_is_not_known_there_is_a_dash() -> None:
    host = Host()
    host.add(100, "web")
    host.told = ("idle",)
    host.now += SECOND
    session = Session()
    session.add(host.read())
    assert session.interval
    found = cells(placed_table(vcpu_rows(session, session.interval), Scope(100), 120))
    assert (found["wait"], found["throttled"], found["blocked"]) == ("–", "–", "–")


@pytest.mark.parametrize("name", NASTY)
def test_hostile_names_stay_in_their_columns(name: str) -> None:
    actor = Actor("process", clean(name), 1, 1, clean(name))
    for headings, (row,) in (
        culprit_table([Culprit(actor, 1, 1.0, 1)], 1.0, 80),
        waker_table([Waker(actor, 1, 1.0)], 80),
        holdup_table([HoldUp(clean(name), (clean(name),), actor, 1, 1, 1)], 1.0, 80),
    ):
        assert len(row.cells) == len(headings) and all(
            cell.isprintable() and cell_len(cell) < 1000 for cell in row.cells if isinstance(cell, str)
        )
