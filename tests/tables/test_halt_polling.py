from __future__ import annotations

from kvmtop.insight.halt_polling import Polling
from kvmtop.model.interval import diff
from kvmtop.model.vocabulary import Vm
from kvmtop.sanitize import clean
from kvmtop.tables import text
from kvmtop.tables.halt_polling import polling_columns, polling_table, verdict

from ..support.fake import Host


def test_polling() -> None:
    host = Host()
    host.add(100, "web", 2)
    ours, theirs = (
        Polling(pid << 32 | pid + 2, 2.0, 6, 4, 3, 500_000, 360_000, window)
        for pid, window in ((100, 200_000), (7, None))
    )
    headings, rows = polling_table([ours, theirs], diff(None, host.read()))
    assert rows[0].cells == ["web vCPU 1", "6", "4", "430µs/s", "180µs/s", "200µs", verdict(ours)]
    assert rows[1].cells == ["7 vCPU –", "6", "4", "430µs/s", "180µs/s", "–", verdict(theirs)]
    assert len(headings) == 7
    titles, *lines = text.lines(polling_columns(diff(None, host.read())), [ours, theirs])
    assert titles == "halt polling                      HITS  MISSES   OTHER   POLLING    WASTED  WINDOW  VERDICT"
    assert (
        lines[0]
        == f"web vCPU 1                           6       4       3   430µs/s   180µs/s   200µs  {verdict(ours)}"
    )
    assert lines[1].startswith("7 vCPU –        ")


def test_hostile_names_are_plain_text() -> None:
    host = Host()
    host.add(100, "x")
    host.vms[100] = Vm(100, clean("\x1b[31m[bold]w\u202eeb\n"))
    _, (row,) = polling_table([Polling(100 << 32 | 101, 1, 1, 1, 0, 1, 1, None)], diff(None, host.read()))
    words = " ".join(str(cell) for cell in row.cells)
    assert words.isprintable() and "[bold]" in words
