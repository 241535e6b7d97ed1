"""The list of VMs and vCPUs, and what one does now, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kvmtop.insight.vcpus import vcpu_rows
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import STATES
from kvmtop.tables import text
from kvmtop.tables.rows import Rows
from kvmtop.tables.states import UNKNOWN
from kvmtop.tables.vcpus import COLUMNS, LOGGED, vcpu_table

from ..support.fake import SECOND, Host
from ..support.rows import cells, width

IO = 0x7B


KEYS = tuple(column.key for column in COLUMNS)


def table(host: Host, room: int = 240, keys: tuple[str, ...] = ()) -> Rows:
    session = Session()
    return vcpu_table(vcpu_rows(session, session.add(host.read())), ALL, room, keys)


def plain(cell: object) -> str:
    return cell if isinstance(cell, str) else "".join(run for run, _ in cell)  # type: ignore[attr-defined]


def states(host: Host, room: int = 240) -> list[str]:
    found = table(host, room)
    return [plain(cells(found, row)["state"]) for row in range(len(found[1]))]


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
        ("kernel", SECOND // 250, "", ""),
        ("kernel", SECOND // 4, "kernel    250ms", "1 kernel"),
        ("idle", 9_140_000, "idle      9.1ms", ""),
        ("idle", 125 * SECOND, "idle      2m05s", ""),
        ("wait", SECOND, "wait      1.00s", "1 wait"),
        ("throttled", 41_000_000, "throttled  41ms", "1 throttled"),
        ("user", 3 * SECOND, "STUCK     3.00s", "1 stuck"),
        ("wait", 12 * SECOND, "STUCK     12.0s", "1 stuck"),
        ("throttled", 99 * SECOND, "STUCK     99.0s", "1 stuck"),
    ],
)
def test_what_a_vcpu_does_now(host: Host, state: str, ns: int, words: str, vm: str) -> None:
    host.leave(102, IO, state)
    host.now += ns
    assert states(host) == [vm, "", words]
    found = cells(table(host, keys=KEYS), 2)["state"]
    assert not words or found[0][1] == state  # type: ignore[index]  # in its colour


@pytest.mark.parametrize("word", ["stopped", "paused"])
def test_a_vm_that_stands_still_is_one_line(host: Host, word: str) -> None:
    for tid in (101, 102):
        host.leave(tid, IO, "blocked")
    host.vms[100] = replace(host.vms[100], stopped=word == "stopped", paused=word == "paused")
    host.now += 10 * SECOND
    assert states(host) == [f"{word} 10.0s", "", ""]
    assert not any(row.mark for row in table(host)[1])
    host.end(100)
    assert states(host) == ["ended"] * 3


def test_where_the_time_goes(host: Host) -> None:
    host.leave(102, IO)
    for state in STATES:
        host.turn(102, state)
        host.now += SECOND
    found = cells(table(host, keys=KEYS), 2)
    assert [found[state] for state in STATES] == ["14.3%"] * 7
    assert {state for _, state in found["bar"]} == set(STATES)  # type: ignore[attr-defined]
    host.told = ("guest",)
    found = cells(table(host, keys=KEYS), 2)
    assert [found[state] for state in STATES] == ["14.3%"] + ["–"] * 6
    assert {state for _, state in found["bar"]} == {"guest", UNKNOWN}  # type: ignore[attr-defined]
    host.vcpus.clear()
    assert cells(table(host), 0)["bar"] == "–"


@pytest.mark.parametrize(
    ("room", "keys"),  # of the VMs' pane in screens of 160, 140 and 120 columns, and of a tab of its own
    [
        (63, "name rate bar top state trend"),
        (55, "name rate bar top trend"),
        (46, "name rate bar top"),
        (30, "name rate bar"),
        (20, "name rate"),
    ],
)
def test_what_gives_way(host: Host, room: int, keys: str) -> None:
    host.leave(102, IO, "throttled")
    host.now += 5 * SECOND
    found = table(host, room)
    assert list(cells(found)) == keys.split()
    assert width(found) <= max(room, 20) + 1
    for row in found[1]:
        for heading, cell in zip(found[0], row.cells, strict=True):
            assert len(plain(cell)) <= heading.width
    if "state" not in keys and "top" in keys:
        assert cells(found, 2)["top"] == "STUCK"


def test_vms_fold_and_the_scope_is_marked(host: Host) -> None:
    host.add(200, "db", 1)
    rows = vcpu_rows(Session(), Session().add(host.read()))

    def names(scope: Scope, *folded: int) -> list[str]:
        found = vcpu_table(rows, scope, 80, (), folded)
        assert [row.strong for row in found[1]] == [row.key.thread is None for row in found[1]]  # type: ignore[attr-defined]
        return [str(row.cells[0]) for row in found[1]]

    assert names(ALL) == ["▾ db", "  vCPU 0", "▾ web", "  vCPU 0", "  vCPU 1"]
    assert names(Scope(100), 200) == ["▸ db", "› web", "  vCPU 0", "  vCPU 1"]


def test_a_log_has_every_state(host: Host) -> None:
    host.leave(102, IO, "throttled")
    host.now += 5 * SECOND
    session = Session()
    titles, *rows = text.lines(LOGGED, vcpu_rows(session, session.add(host.read())))
    assert titles == (
        "VM / VCPU              PID/TID EXITS/S   GUEST  KERNEL    USER    IDLE BLOCKED    WAIT THROTTLED  STATE"
    )
    assert " ".join(rows[2].split()) == f"vCPU 1 102 0 {'0.0% ' * 6}100% STUCK throttled 5.00s"
