from __future__ import annotations

import time

import pytest
from rich.cells import cell_len

from kvmtop.insight.slow_exits import read
from kvmtop.model.vocabulary import Vm
from kvmtop.reference.guest_symbols import Symbols
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean
from kvmtop.tables.slow_exits import line, slow_table

from ..support.fake import Host
from ..support.rows import cells, width


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web", 2)
    return host


@pytest.mark.parametrize("room", [40, 60, 79, 80, 100, 120, 160, 300])
def test_it_fits(host: Host, room: int) -> None:
    host.linger(101, 0x7B, 5_000_000)
    late = slow_table(read(host.slow(), host.read()), room, Labels())
    assert width(late) <= max(room, 49)
    assert {heading.key for heading in late[0]} >= {"vm", "vcpu", "reason", "ns", "where"}
    assert ("what" in cells(late)) == (room >= 77)
    assert {"kernel", "user", "idle", "blocked", "wait"} <= cells(late).keys() or room < 120


def test_slow_exits() -> None:
    host = Host()
    host.add(100, "web", 2)
    host.linger(102, 0x7B, 9_000_000, user=5_000_000, kind="io", value=0x3F8, extra=0x101, rip=0xFFFFFFFF81000010)
    host.linger(101, 0x60, 2_000_000, wait=1_500_000)
    labels = Labels(symbols=Symbols([(0xFFFFFFFF81000000, "outb")]))
    table = slow_table(read(host.slow(), host.read()), 200, labels)
    first, second = cells(table, 0), cells(table, 1)
    first.pop("time"), second.pop("time")
    assert first == {
        "vm": "web",
        "vcpu": "1",
        "reason": "io",
        "ns": "9.00ms",
        "where": [("▓▓▓▓", "kernel"), ("▒▒▒▒", "user")],
        "kernel": "4.00ms",
        "user": "5.00ms",
        "idle": "0",
        "blocked": "0",
        "wait": "0",
        "cpu": "1",
        "what": "port 0x3f8 COM1 out 1 B",
        "rip": "0xffffffff81000010 outb+0x10 (kernel)",
    }
    assert (second["what"], second["reason"], second["rip"]) == ("–", "interrupt", "0x0 (user)")
    assert (second["kernel"], second["wait"]) == ("500µs", "1.50ms")  # who waits does not work
    assert len({row.key for row in table[1]}) == 2


def test_throttled_has_a_column_where_there_is_any(host: Host) -> None:
    host.linger(101, 0x7B, 5_000_000, wait=4_000_000)
    host.linger(101, 0x7B, 5_000_000, wait=1_000_000, throttled=3_000_000)
    one, two = read(host.slow(), host.read())
    assert "throttled" not in cells(slow_table([one], 119, Labels()))
    found = cells(slow_table([one, two], 119, Labels()), 1)
    assert (found["kernel"], found["wait"], found["throttled"]) == ("1.00ms", "1.00ms", "3.00ms")


def test_hostile_names_are_plain_text(host: Host) -> None:
    host.vms[100] = Vm(100, clean("\x1b[31m[bold]w\u202eeb\n"))
    host.linger(101, 0x7B, 5_000_000, rip=0x1000)
    labels = Labels(symbols=Symbols([(0x1000, clean("\x1b]0;x\x07[red]f"))]))
    _, (row,) = slow_table(read(host.slow(), host.read()), 200, labels)
    text = " ".join(str(cell) for cell in row.cells)
    assert text.isprintable() and cell_len(text) and "[bold]" in text and "[red]" in text


def test_a_line_of_a_log(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "localtime", time.gmtime)
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.25)
    monkeypatch.setattr(time, "monotonic", lambda: host.now / 1e9)
    host.linger(101, 0x7B, 9_000_000, user=5_000_000, kind="io", value=0x3F8, extra=0x101, rip=0xFFFFFFFF81000010)
    host.linger(101, 0x60, 2_000_000, rip=0x10, blocked=500_000, throttled=1_500_000)
    first, second = read(host.slow(), host.read())
    labels = Labels(symbols=Symbols([(0xFFFFFFFF81000000, "outb")]))
    assert line(first, labels) == (
        "22:13:20.250000 web vCPU 0 io 9.00ms (kernel 4.00ms user 5.00ms idle 0 blocked 0 wait 0) CPU 1 rip 0xffffffff81000010 outb+0x10 (kernel)"
        " port 0x3f8 COM1 out 1 B"
    )
    assert line(second, labels) == (
        "22:13:20.250000 web vCPU 0 interrupt 2.00ms (kernel 0 user 0 idle 0 blocked 500µs wait 0 throttled 1.50ms) CPU 1 rip 0x10 (user)"
    )


def test_a_hostile_name_is_one_plain_line(host: Host) -> None:
    host.vms[100] = Vm(100, clean("\x1b[31mweb\n\u202e[bold]"))
    host.linger(101, 0x7B, 1_000)
    (one,) = read(host.slow(), host.read())
    assert line(one, Labels()).isprintable() and "[bold]" in line(one, Labels())
