from __future__ import annotations

import time

import pytest
from rich.cells import cell_len

from kvmtop.insight.slow_exits import read
from kvmtop.model.vocabulary import Vm
from kvmtop.reference.guest_symbols import KERNEL_HALF, Symbols
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean
from kvmtop.tables.rows import Rows
from kvmtop.tables.slow_exits import ago, line, slow_table

from ..support.fake import Host
from ..support.rows import cells, width


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web", 2)
    return host


def shown(host: Host, room: int, labels: Labels | None = None, whose: bool = True) -> Rows:
    found = read(host.slow(), host.read())
    return slow_table(found, room, labels or Labels(), host.now, whose)


@pytest.mark.parametrize("room", [40, 60, 79, 80, 100, 120, 160, 300])
def test_it_fits(host: Host, room: int) -> None:
    host.linger(101, 0x7B, 5_000_000)
    table = shown(host, room)
    assert width(table) <= max(room, 50)
    assert {heading.key for heading in table[0]} >= {"ago", "who", "reason", "ns", "kernel"}
    there = cells(table).keys()
    assert ({"wait", "throttled"} <= there) == (room >= 62) and ("where" in there) == (room >= 71)
    assert ("what" in there) == (room >= 98)


def test_slow_exits() -> None:
    host = Host()
    host.add(100, "web", 2)
    host.linger(102, 0x7B, 9_000_000, user=5_000_000, kind="io", value=0x3F8, extra=0x101, rip=0xFFFFFFFF81000010)
    host.now += 4_000_000_000
    host.linger(101, 0x60, 2_000_000, wait=1_500_000)
    host.now += 400_000_000
    table = shown(host, 200, Labels(symbols=Symbols([(0xFFFFFFFF81000000, "outb")])))
    first, second = cells(table, 0), cells(table, 1)
    assert first == {
        "ago": "4.4s",
        "who": "web vCPU 1",
        "reason": "io",
        "ns": "9.00ms",
        "where": [("▓▓▓▓", "kernel"), ("▒▒▒▒", "user")],
        "kernel": "4.00ms",
        "user": "5.00ms",
        "idle": "0",
        "blocked": "0",
        "wait": "0",
        "throttled": "0",
        "cpu": "1",
        "what": "port 0x3f8 COM1 out 1 B",
        "rip": "0xffffffff81000010 outb+0x10 (kernel)",
    }
    assert (second["ago"], second["what"], second["reason"], second["rip"]) == ("0.4s", "–", "interrupt", "–")
    assert (second["kernel"], second["wait"]) == ("500µs", "1.50ms")  # who waits does not work
    assert "".join(run for run, _ in second["where"]) == "▓╳"  # type: ignore[attr-defined]  # as it is of the longest
    assert len({row.key for row in table[1]}) == 2


def test_addresses_in_user_space_say_nothing(host: Host) -> None:
    host.linger(101, 0x7B, 5_000_000, rip=0x7F0012345678)
    assert cells(shown(host, 200))["rip"] == "user space"


def test_what_is_not_told_is_a_dash(host: Host) -> None:
    host.told = ("guest", "kernel", "user", "idle", "blocked", "wait")
    host.linger(101, 0x7B, 5_000_000, wait=4_000_000)
    found = cells(shown(host, 119, whose=False))
    assert (found["kernel"], found["wait"], found["throttled"]) == ("1.00ms", "4.00ms", "–")
    assert "who" not in found


def test_how_long_ago() -> None:
    assert [ago(int(s * 1e9)) for s in (-1, 0.04, 9.94, 9.96, 99.4, 125)] == [
        "0.0s", "0.0s", "9.9s", "10s", "99s", "2m05s",
    ]  # fmt: skip


def test_hostile_names_are_plain_text(host: Host) -> None:
    host.vms[100] = Vm(100, clean("\x1b[31m[bold]w\u202eeb\n"))
    host.linger(101, 0x7B, 5_000_000, rip=KERNEL_HALF)
    labels = Labels(symbols=Symbols([(KERNEL_HALF, clean("\x1b]0;x\x07[red]f"))]))
    _, (row,) = shown(host, 200, labels)
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
