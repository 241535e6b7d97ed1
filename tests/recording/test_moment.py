"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvmtop.errors import KvmtopError
from kvmtop.recording.moment import moment, stretch, words

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [BERLIN, ZoneInfo("America/New_York"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kolkata"), UTC]
INSTANTS = st.integers(946_684_800, 4_102_444_800)  # 2000 to 2100
zones = st.sampled_from(ZONES)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


END = at("2026-11-30T18:00:00+01:00")  # a Monday


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("03:12", "2026-11-30T03:12:00+01:00"),
        ("3:12", "2026-11-30T03:12:00+01:00"),
        ("18:00", "2026-11-30T18:00:00+01:00"),
        ("18:00:01", "2026-11-29T18:00:01+01:00"),
        ("yesterday 03:12", "2026-11-29T03:12:00+01:00"),
        ("yesterday-03:12:07", "2026-11-29T03:12:07+01:00"),
        ("yesterday", "2026-11-29T00:00:00+01:00"),
        ("today 03:12", "2026-11-30T03:12:00+01:00"),
        ("2026-11-23T03:12:00+01:00", "2026-11-23T03:12:00+01:00"),
        ("2026-11-23T03:12:00Z", "2026-11-23T04:12:00+01:00"),
        ("2026-11-23 03:12", "2026-11-23T03:12:00+01:00"),
        ("2026-11-23T03:12:00.5", "2026-11-23T03:12:00.5+01:00"),
        ("2026-11-23", "2026-11-23T00:00:00+01:00"),
        ("-10m", "2026-11-30T17:50:00+01:00"),
        ("-1d2h30s", "2026-11-29T15:59:30+01:00"),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert moment(text, END, END + 60, BERLIN) == at(expected)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "25:00",
            "03:60",
            "3",
            "03",
            "10m",
            "-10",
            "-",
            "-m",
            "tomorrow",
            "2026-13-01",
            "2026-02-30",
            "0000-01-01",
        ),
        *(
            "03:12 PM",
            "٠٣:١٢",
            "1e3",
            "nan",
            "2026-W48",
            "20261123",
            "x" * 50,
            "03:12\n",
            "2026-11-23T03",
            "-9999999d" * 4,
        ),
    ],
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(KvmtopError) as caught:
        moment(text, END, END, BERLIN)
    assert "is no moment: write 03:12" in str(caught.value) and len(str(caught.value)) < 200


def test_the_hour_that_comes_twice() -> None:
    """2026-10-25 at 03:00 CEST it is 02:00 CET: of 02:30 the last one that there is, and the other by its offset."""
    first, second = at("2026-10-25T02:30:00+02:00"), at("2026-10-25T02:30:00+01:00")
    assert second == first + 3600
    for text in ("02:30", "2026-10-25T02:30", "today 02:30"):
        assert moment(text, second + 60, second + 60, BERLIN) == second
        assert moment(text, second - 60, second - 60, BERLIN) == first
    assert moment("2026-10-25T02:30+02:00", second + 60, second, BERLIN) == first
    assert words(first, BERLIN) == "Sun 25 Oct 02:30:00 CEST" and words(second, BERLIN) == "Sun 25 Oct 02:30:00 CET"


def test_the_hour_that_is_missing() -> None:
    """2026-03-29 at 02:00 CET it is 03:00 CEST: the last 02:30 before noon was the day before."""
    noon = at("2026-03-29T12:00:00+02:00")
    assert moment("02:30", noon, noon, BERLIN) == at("2026-03-28T02:30:00+01:00")
    for text in ("2026-03-29T02:30", "today 02:30"):
        with pytest.raises(KvmtopError, match=f"there was no {text}: clocks were put forward"):
            moment(text, noon, noon, BERLIN)


def test_the_end_of_a_stretch_is_after_its_beginning() -> None:
    begin = moment("yesterday-23:00", END, END, BERLIN)
    assert moment("01:00", END, END, BERLIN, after=begin) == at("2026-11-30T01:00:00+01:00")
    assert moment("23:30", END, END, BERLIN, after=begin) == at("2026-11-29T23:30:00+01:00")
    assert stretch("03:00..04:00") == ("03:00", "04:00") and stretch("..-10m") == ("", "-10m")
    assert stretch("03:00") is None


@given(end=INSTANTS, zone=zones, hour=st.integers(0, 23), minute=st.integers(0, 59), second=st.integers(0, 59))
def test_a_time_of_day_is_the_last_one(end: int, zone: ZoneInfo, hour: int, minute: int, second: int) -> None:
    found = moment(f"{hour:02}:{minute:02}:{second:02}", end, end, zone)
    shown = datetime.fromtimestamp(found, zone)
    assert (shown.hour, shown.minute, shown.second) == (hour, minute, second)
    assert end - 49 * 3600 <= found <= end
    later = (datetime.fromtimestamp(found + step, zone) for step in range(3600, int(end - found) + 1, 1800))
    assert not any((one.hour, one.minute, one.second) == (hour, minute, second) for one in later)


@given(end=INSTANTS, ago=st.integers(0, 9_999_999), zone=zones)
def test_what_is_written_with_its_offset_is_exact(end: int, ago: int, zone: ZoneInfo) -> None:
    instant = end - ago
    assert moment(datetime.fromtimestamp(instant, zone).isoformat(), end, end, ZONES[1]) == instant
    assert moment(f"-{ago}s", end, end, zone) == instant
    local = datetime.fromtimestamp(instant, zone).replace(tzinfo=None)
    assert moment(local.isoformat(), end, end, zone) - instant in (0, 1800, 3600)  # where it comes twice, the last


@given(now=INSTANTS, zone=zones)
def test_yesterday_is_the_day_before(now: int, zone: ZoneInfo) -> None:
    found = datetime.fromtimestamp(moment("yesterday 12:00", now, now, zone), zone)
    assert found.date() == datetime.fromtimestamp(now, zone).date() - timedelta(days=1) and found.hour == 12


@given(text=st.text(max_size=60), end=INSTANTS)
def test_any_text_is_a_moment_or_a_sentence(text: str, end: int) -> None:
    try:
        assert isinstance(moment(text, end, end, BERLIN), float | int)
    except KvmtopError as error:
        assert error.status == 2
