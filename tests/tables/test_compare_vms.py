"""Two VMs or vCPUs side by side."""

from __future__ import annotations

from kvmtop.insight.vcpus import VcpuRow, vcpu_rows
from kvmtop.model.session import Session
from kvmtop.tables.compare_vms import lines_of_both, reasons_of_both, states_of_both

from ..support.fake import SECOND, Host

IO, MSR = 0x7B, 0x7C


def both() -> tuple[Session, VcpuRow, VcpuRow]:
    """Of web, which has io, and db, which has msr and waits."""
    host, session = Host(), Session()
    host.add(100, "web")
    host.add(200, "db")
    session.add(host.read())
    host.now += SECOND
    host.exits(101, IO, *[1_000_000] * 100)
    host.exits(201, MSR, *[1_000_000] * 50)
    for tid, guest, wait in ((101, 900, 0), (201, 700, 250)):
        host.vcpus[tid].states["guest"] += guest * 1_000_000
        host.vcpus[tid].states["wait"] += wait * 1_000_000
    session.add(host.read())
    assert session.interval
    rows = {row.name: row for row in vcpu_rows(session, session.interval)}
    return session, rows["web"], rows["db"]


def words(cell: object) -> str:
    return cell if isinstance(cell, str) else "".join(text for text, _ in cell)  # type: ignore[attr-defined]


def test_states_are_set_beside_each_other() -> None:
    _, web, db = both()
    heads, rows = states_of_both(web, db, 70)
    assert [head.title for head in heads] == ["", "web", "db", "CHANGE"]
    assert sum(head.width + 1 for head in heads) <= 70
    figures = {words(row.cells[0]): [words(cell) for cell in row.cells[1:]] for row in rows}
    assert figures["exits/s"] == ["100", "50", "−50"]
    assert figures["guest"] == ["90.0%", "70.0%", "−20.0%"]
    assert figures["wait"] == ["0.0%", "25.0%", "+25.0%"]
    assert figures["blocked"][2] == "="


def test_reasons_of_either_are_there_the_dearest_first() -> None:
    session, web, db = both()
    assert session.interval
    _, rows = reasons_of_both(session, session.interval, web, db, 70, 5)
    assert [row.cells for row in rows] == [["io", "100ms", "0", "−100ms"], ["msr", "0", "50.0ms", "+50.0ms"]]
    _, rows = reasons_of_both(session, session.interval, web, db, 70, 1)
    assert len(rows) == 1


def test_in_three_lines_what_differs_most_comes_first() -> None:
    _, web, db = both()
    lines = ["".join(text for text, _ in line) for line in lines_of_both(web, db)]
    assert lines[0] == "◆ web beside db"
    assert lines[1].startswith("web  100 exits/s  wait 0.0%  guest 90.0%")
    assert lines[2].startswith("db  50 exits/s  wait 25.0%  guest 70.0%")
