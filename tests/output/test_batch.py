from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from kvmtop.model.vocabulary import HIT, KINDS, STATES, UNKNOWN, VMX, WASTED, DetailRequest
from kvmtop.output import batch
from kvmtop.reference.guest_symbols import KERNEL_HALF, Symbols
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean

from ..support.exported import a_second
from ..support.fake import SECOND, Host


class Written(batch.Batch):
    def __init__(self, labels: Labels | None = None) -> None:
        self.text = io.StringIO()
        super().__init__(self.text, labels or Labels())


def written(writer: Written, host: Host) -> list[str]:
    out = writer.text
    out.truncate(out.seek(0))
    writer.write(host.read())
    assert out.getvalue().endswith("\n\n")  # an empty line ends an interval
    return out.getvalue().split("\n")[:-2]


def reasons(lines: list[str]) -> list[str]:
    """The table of reasons, up to the empty line."""
    return lines[1 : lines.index("")] if "" in lines else lines[1:]


def header(line: str) -> str:
    """Without its time."""
    when, _, rest = line.partition("  ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", when)
    return rest


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, clean("\x1b[31mweb\x9b01\n\u202e\a-of-the-longest-name"), 2)
    host.add(200, "db")
    host.add(300, "old")
    host.end(300)
    return host


def test_table(host: Host) -> None:
    writer = Written()
    writer.session.add(host.read())
    a_second(host)
    lines = written(writer, host)
    assert header(lines[0]) == (
        "SVM  2 VMs  3 vCPUs  1.50k exits/s  1.00s  guest 82.8% kernel 0.2% user 0.3% idle 16.7%"
    )
    assert reasons(lines) == [
        "REASON               EXITS/S EXITS%  TIME/S  TIME%  USER% BLOCK%  WAIT%    AVG    P50    P99    MAX  TOTAL",
        "io                       300  20.0%  12.0ms  73.2%  75.0%   0.0%   0.0% 40.0µs 40.0µs 40.0µs 40.0µs    300",
        "cpuid                  1.20k  79.8%  2.40ms  14.6%   0.0%   0.0%   0.0% 2.00µs 2.00µs 2.00µs 2.00µs  1.20k",
        "0x009                    2.0   0.1%  2.00ms  12.2%   0.0%   0.0%   0.0% 1.00ms 1.00ms 1.00ms 1.00ms      2",
        "hlt idle                 1.0   0.1%   500ms      –      –      –   0.0%  500ms  500ms  500ms  500ms      1",
        "all but idle           1.50k  99.9%  16.4ms   100%  54.9%   0.0%   0.0% 10.9µs 2.00µs 36.9µs 1.00ms  1.50k",
    ]
    assert lines[len(reasons(lines)) + 1 :] == [
        "",
        "VM / VCPU              PID/TID EXITS/S   GUEST  KERNEL    USER    IDLE BLOCKED    WAIT THROTTLED  STATE",
        "[31mweb 01 -of-the-lo      100   1.50k   74.3%    0.3%    0.4%   25.0%    0.0%    0.0%      0.0%",
        "  vCPU 0                   101   1.50k   98.6%    0.5%    0.9%    0.0%    0.0%    0.0%      0.0%",
        "  vCPU 1                   102     1.0   50.0%    0.0%    0.0%   50.0%    0.0%    0.0%      0.0%",
        "db                         200     2.0   99.8%    0.2%    0.0%    0.0%    0.0%    0.0%      0.0%",
        "  vCPU 0                   201     2.0   99.8%    0.2%    0.0%    0.0%    0.0%    0.0%      0.0%",
        "old                        300       0       –       –       –       –       –       –         –  ended",
        "  vCPU 0                   301       0       –       –       –       –       –       –         –  ended",
    ]

    host.now += SECOND * 5 // 2
    host.exits(101, 0x72, *[2_000] * 5)
    host.counters.update(lost=4, unpaired=5, overwritten=6)
    lines = written(writer, host)
    assert header(lines[0]).startswith("SVM  2 VMs  3 vCPUs  2.0 exits/s  2.50s  guest 100% kernel 0.0%  ")
    assert header(lines[0]).endswith("  lost 4  unpaired 5  overwritten 6")
    assert reasons(lines)[1:] == [
        "cpuid                    2.0   100%  4.00µs   100%   0.0%   0.0%   0.0% 2.00µs 2.00µs 2.00µs 2.00µs  1.21k",
        "0x009                      0   0.0%       0   0.0%      –      –      –      –      –      –      –      2",
        "hlt                        0   0.0%       0   0.0%      –      –      –      –      –      –      –      1",
        "io                         0   0.0%       0   0.0%      –      –      –      –      –      –      –    300",
        "all                      2.0   100%  4.00µs   100%   0.0%   0.0%   0.0% 2.00µs 2.00µs 2.00µs 2.00µs  1.51k",
    ]

    host.told = STATES[:-1]
    host.leave(101, 0x7B, "wait")
    host.now += SECOND
    assert "  1.00s  guest 66.7% wait 33.3% throttled –  lost 4" in written(writer, host)[0]


def test_no_control_characters(host: Host) -> None:
    writer = Written()
    for _ in range(3):
        host.now += SECOND
        host.exits(101, 0x72, 2_000)
        for line in written(writer, host):
            assert line.isprintable()


@pytest.mark.parametrize(("isa", "name"), [(VMX, "VMX"), (UNKNOWN, "–")])
def test_before_the_first_exit(isa: int, name: str) -> None:
    host, writer = Host(isa=isa), Written()
    host.now += SECOND
    assert [header(line) for line in written(writer, host)[:1]] == ["–  0 VMs  0 vCPUs  0 exits/s  1.00s"]
    host.add(100, "a")
    host.now += SECOND
    lines = written(writer, host)
    assert header(lines[0]).startswith(f"{name}  1 VM  1 vCPU  0 exits/s  1.00s")
    assert len(reasons(lines)) == 1  # no more than the titles


def test_each_reason_has_a_line_of_its_own(host: Host) -> None:
    for code in range(300):
        host.exits(101, code, 1_000 + code)
    host.now += SECOND
    lines = reasons(written(Written(), host))
    assert len(lines) == 302
    assert lines[1].startswith("0x12b ")  # the one with the most time


def test_a_closed_pipe_is_told(host: Host) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        batch.Batch(Closed(), Labels()).write(host.read())


# ---- what was looked at


def details(host: Host, *kinds: str, slow_ns: int | None = None) -> Written:
    host.look(DetailRequest(frozenset(kinds), slow_ns=slow_ns))
    writer = Written()
    writer.session.add(host.read())
    host.now += 2 * SECOND
    return writer


def section(lines: list[str], title: str) -> list[str]:
    """The rows under a title, up to the empty line."""
    at = next(n for n, line in enumerate(lines) if line.startswith(title))
    rest = lines[at + 1 :]
    return rest[: rest.index("")] if "" in rest else rest


def test_what_exits_touched(host: Host) -> None:
    writer = details(host, "io", "rip")
    host.touch(101, "io", 0x3F8, 0x101, *[1_000_000] * 30)
    host.touch(201, "io", 0x60, 0x100, *[1_000_000] * 10)
    host.touch(101, "msr", 0x10, 0, 1_000)  # not asked for
    host.touch(101, "rip", 0xFFFFFFFF81000010, 0, 2_000)
    lines = written(writer, host)
    assert "I/O ports" + " " * 39 + " COUNT/S  TIME/S   TIME%     AVG     P99     MAX" in lines
    first, second = section(lines, "I/O ports")
    assert re.fullmatch(r"port 0x3f8 COM1 out 1 B {25} +15 +15\.0ms +75\.0% +1\.00ms +\S+ +1\.00ms", first)
    assert re.fullmatch(r"port 0x60 .* in 1 B +5\.0 +5\.00ms +25\.0% +1\.00ms +\S+ +1\.00ms", second)
    assert section(lines, "guest code")[0].startswith("0xffffffff81000010 (kernel) ")
    assert not [line for line in lines if line.startswith("MSRs")]


def test_more_keys_than_a_log_needs_are_counted(host: Host) -> None:
    writer = details(host, "io")
    for number in range(batch.MOST_KEYS + 5):
        host.touch(101, "io", 0x1000 + number, 0, *[1_000] * (100 - number))
    rows = section(written(writer, host), "I/O ports")
    assert len(rows) == batch.MOST_KEYS + 1
    rest = sum(100 - number for number in range(batch.MOST_KEYS, batch.MOST_KEYS + 5))
    assert rows[-1] == f"5 more, {rest // 2}/s in all"


def test_a_kind_that_nothing_touched_has_its_title_alone(host: Host) -> None:
    assert section(written(details(host, "io"), host), "I/O ports") == []


def test_halt_polling(host: Host) -> None:
    writer = details(host, "poll", "window")
    host.touch(102, "poll", WASTED, 0, *[100_000_000] * 9)
    host.touch(102, "poll", HIT, 0, 0)
    host.touch(102, "window", 0, 0, 200_000)
    (row,) = section(written(writer, host), "halt polling")
    assert row.isprintable() and row.split("  ")[-1].startswith("wasteful: 10.0% of 10 polls hit, 45.0% of a CPU spent")
    assert re.search(r" 1 +9 +0 +450ms/s +450ms/s +200µs  wasteful", row)


def test_findings_come_with_their_rules(host: Host) -> None:
    writer = details(host, "io")
    host.exits(201, 0x7B, *[SECOND // 100] * 100, user=SECOND // 100)
    host.touch(201, "io", 0x3F8, 0x101, *[SECOND // 100] * 100, user=SECOND // 100)
    assert (
        "! db talks to a serial port 50 times a second (50.0% of a vCPU's time): a serial console is"
        " chatty; each byte is an exit or two that the VMM answers [20 or more such accesses a second that take ≥ 5% of"
        " a vCPU's time]"
    ) in written(writer, host)


def test_slow_exits_come_before_their_interval(host: Host) -> None:
    writer = details(host, "io", slow_ns=1)
    host.linger(101, 0x7B, 7_000_000, kind="io", value=0x3F8, extra=0x101)
    first, second = written(writer, host)[:2]
    assert " vCPU 0 io 7.00ms (kernel 7.00ms user 0 idle 0 blocked 0 wait 0) " in first and first.endswith(
        "port 0x3f8 COM1 out 1 B"
    )
    assert first.isprintable() and header(second).startswith("SVM")


def test_slow_exits_before_the_first_interval_are_not_lost(host: Host) -> None:
    host.look(DetailRequest(frozenset({"io"}), slow_ns=1))
    writer = Written()
    host.linger(201, 0x7B, 5_000_000)
    writer.begin(host.read())
    host.linger(201, 0x7B, 7_000_000)
    writer.slow(host.slow())
    lines = writer.text.getvalue().splitlines()
    assert [re.search(r" db vCPU 0 io (\S+) ", line)[1] for line in lines] == ["5.00ms", "7.00ms"]  # type: ignore[index]


def test_what_had_no_room_is_said(host: Host) -> None:
    details(host, "io")
    snapshot = host.read()
    assert snapshot.details
    writer = Written()
    writer.write(replace(snapshot, details=replace(snapshot.details, dropped={"io": 5}, undelivered=3)))
    assert (
        "! 5 I/O ports events of keys for which there was no room, 3 more slow exits are not in the list: they came faster than they could be read (the counts have them)"
        in (writer.text.getvalue().splitlines())
    )


def test_hostile_names_in_details(host: Host) -> None:
    symbols = Symbols([(KERNEL_HALF, clean("\x1b[red]f\x07"))])
    writer = Written(Labels(symbols=symbols))
    host.look(DetailRequest(frozenset(KINDS) - {""}, slow_ns=1))
    host.now += SECOND
    host.touch(101, "rip", KERNEL_HALF + 4, 0, 1_000)
    host.touch(101, "poll", HIT, 0, 1_000)
    host.linger(101, 0x7B, 7_000_000, rip=KERNEL_HALF + 4)
    lines = written(writer, host)
    assert all(line.isprintable() for line in lines)
    assert sum("[red]f+0x4" in line for line in lines) == 2
