from __future__ import annotations

import pytest

from kvmtop.insight.other_threads import OtherThread
from kvmtop.tables import text
from kvmtop.tables.other_threads import LOGGED, thread_table

IO = OtherThread(100, 104, "io", "IO iothread1", 6, 0.97, 0.011, 0.0)
UNKNOWN = OtherThread(100, 105, "other", "", None, None, None, None)


def test_what_is_unknown_is_no_zero() -> None:
    headings, rows = thread_table([IO, UNKNOWN], 80)
    assert [heading.title for heading in headings] == ["THREAD", "ROLE", "TID", "CPU", "BUSY%", "WAIT%", "THROT%"]
    assert rows[0].cells == ["IO iothread1", "io", "104", "@6", "97.0%", "1.1%", "0.0%"]
    assert rows[1].cells == ["–", "other", "105", "–", "–", "–", "–"]
    assert rows[0].key == (100, 104)


@pytest.mark.parametrize(("width", "left"), [(80, 7), (51, 6), (50, 6), (45, 5), (37, 4), (10, 4)])
def test_where_it_is_narrow(width: int, left: int) -> None:
    headings, rows = thread_table([IO], width)
    assert len(headings) == len(rows[0].cells) == left
    assert {"name", "busy", "wait", "throttled"} <= {heading.key for heading in headings}


def test_in_text() -> None:
    assert list(text.lines(LOGGED, [IO, UNKNOWN])) == [
        "THREAD          ROLE        TID     CPU   BUSY%   WAIT%  THROT%",
        "IO iothread1    io          104      @6   97.0%    1.1%    0.0%",
        "–               other       105       –       –       –       –",
    ]
