"""The list of VMs and vCPUs, and what one does now, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.scope import ALL
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import STATES
from kvmtop.tables import text
from kvmtop.tables.rows import Rows
from kvmtop.tables.vcpus import LOGGED, vcpu_table

from ..support.fake import SECOND, Host
from ..support.rows import cells, width

IO = 0x7B


def table(host: Host, room: int = 240) -> Rows:
    session = Session()
    return vcpu_table(vcpu_rows(session, session.add(host.read())), ALL, room)


def states(host: Host, room: int = 240) -> list[object]:
    found = table(host, room)
    return [cells(found, row)["state"] for row in range(len(found[1]))]


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web", 2)
    host.enter(101)
    return host


@pytest.mark.parametrize(
    ("state", "ns", "words", "vm"),
    [
        ("guest", 10 * SECOND, "", ""),
        ("kernel", SECOND // 20, "", ""),
        ("kernel", SECOND // 4, "kernel 0.2s", ""),
        ("idle", 125 * SECOND, "idle 2m05s", ""),
        ("wait", SECOND, "waits 1.0s", ""),
        ("throttled", 2_960_000_000, "throttled 3.0s", ""),
        ("user", 3 * SECOND, "STUCK user 3s", "1 stuck"),
        ("blocked", 3_200_000_000, "STUCK blocked 3s", "1 stuck"),
        ("wait", 12 * SECOND, "STUCK waits 12s", "1 stuck"),
        ("throttled", 99 * SECOND, "STUCK throttled 99s", "1 stuck"),
    ],
)
def test_what_a_vcpu_does_now(host: Host, state: str, ns: int, words: str, vm: str) -> None:
    host.leave(102, IO, state)
    host.now += ns
    assert states(host) == [vm, "", words]


@pytest.mark.parametrize("word", ["stopped", "paused"])
def test_a_vm_that_stands_still_is_one_line(host: Host, word: str) -> None:
    for tid in (101, 102):
        host.leave(tid, IO, "blocked")
    host.vms[100] = replace(host.vms[100], stopped=word == "stopped", paused=word == "paused")
    host.now += 10 * SECOND
    assert states(host) == [f"{word} 10s", "", ""]
    assert not any(row.mark for row in table(host)[1])
    host.end(100)
    assert states(host) == ["ended"] * 3


def test_where_the_time_goes(host: Host) -> None:
    host.leave(102, IO)
    for state in STATES:
        host.turn(102, state)
        host.now += SECOND
    found = cells(table(host), 2)
    assert [found[state] for state in STATES] == ["14.3%"] * 7
    assert "".join(run for run, _ in found["bar"]) == "█▓▒░░▞╳╱"  # type: ignore[attr-defined]
    host.told = ("guest",)
    found = cells(table(host), 2)
    assert [found[state] for state in STATES] == ["14.3%"] + ["–"] * 6
    assert "".join(run for run, _ in found["bar"]) == "█–––––––"  # type: ignore[attr-defined]
    host.vcpus.clear()
    assert cells(table(host), 0)["bar"] == "–"


@pytest.mark.parametrize("room", range(30, 240, 7))
def test_it_fits(host: Host, room: int) -> None:
    host.leave(102, IO, "throttled")
    host.now += 5 * SECOND
    found = table(host, room)
    assert width(found) <= max(room, 24)
    assert ("state" in cells(found)) == (room >= 38)


def test_a_log_has_every_state(host: Host) -> None:
    host.leave(102, IO, "throttled")
    host.now += 5 * SECOND
    session = Session()
    titles, *rows = text.lines(LOGGED, vcpu_rows(session, session.add(host.read())))
    assert titles == (
        "VM / VCPU              PID/TID EXITS/S   GUEST  KERNEL    USER    IDLE BLOCKED    WAIT THROTTLED  STATE"
    )
    assert " ".join(rows[2].split()) == f"vCPU 1 102 0 {'0.0% ' * 6}100% STUCK throttled 5s"
