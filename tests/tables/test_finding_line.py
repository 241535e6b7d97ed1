"""The line of what stands out, at any width."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.cells import cell_len

from kvmtop.insight.finding import Finding, Since
from kvmtop.tables.finding_line import finding_lines
from kvmtop.tables.rows import Link
from kvmtop.tables.text import shortened, wrapped

SECOND = 1_000_000_000
FOUND = [
    Finding(
        "vCPU 1 of db02 is throttled 35.0% of its time: the CPU quota of its cgroup is used up",
        "throttled > 20% of a vCPU's time",
        short="db02 vCPU 1 is throttled",
        state="throttled",
        since=Since(6 * SECOND),
    ),
    Finding("p99 of io rose 5× in web01", "p99 ≥ 4×", short="web01: p99 of io rose", state="kernel"),
    Finding("vCPU 0 of ｗｉｄｅ waits", "wait > 20%", short="ｗｉｄｅ vCPU 0 waits", state="wait"),
]


WHO = "S", " tells who"


def line(
    width: int,
    shown: int | None = 0,
    walking: bool = False,
    found: list[Finding] = FOUND,
    more: tuple[str, str] = ("", ""),
) -> list[Link]:
    (one,) = lines(width, shown, walking, found, more) or [[]]
    return one


def lines(
    width: int,
    shown: int | None = 0,
    walking: bool = False,
    found: list[Finding] = FOUND,
    more: tuple[str, str] = ("", ""),
) -> list[list[Link]]:
    return finding_lines(found, shown, width, 100 * SECOND, walking, more)


def text(parts: list[Link]) -> str:
    return "".join(part.text for part in parts)


@pytest.mark.parametrize("more", [("", ""), WHO])
@pytest.mark.parametrize("shown", [0, 1, 2])
def test_it_fits_and_tells_one(shown: int, more: tuple[str, str]) -> None:
    for width in range(40, 260):
        parts = line(width, shown, more=more)
        assert cell_len(text(parts)) <= width, width
        (told,) = (part for part in parts if part.style == "strong")
        words = told.text.rstrip("…")
        assert (
            told.target == shown
            and words
            and any(one.startswith(words) for one in (FOUND[shown].text, FOUND[shown].short))
        )


@pytest.mark.parametrize("more", [("", ""), WHO])
@pytest.mark.parametrize("shown", [0, 1, 2])
def test_whoever_walks_reads_all_of_it(shown: int, more: tuple[str, str]) -> None:
    for width in range(40, 260):
        told = lines(width, shown, True, more=more)
        assert all(cell_len(text(one)) <= width for one in told), width
        assert " ".join(part.text for one in told for part in one if part.style == "strong") == FOUND[shown].text
        assert {part.target for one in told for part in one} <= {shown, None}
        assert f"   {shown + 1}/3 ↵ goes there" in text(told[-1])
        assert ("e explains it" in text(told[-1])) == (width > 60)


def test_whoever_walks_reads_what_to_try() -> None:
    found = [replace(FOUND[0], name="quota")]
    *_, held, tries = map(text, lines(118, 0, True, found))
    assert held.startswith("  for 1 min 34 s  [throttled > 20% of a vCPU's time]   1/1 ↵")
    assert tries.startswith("  try on the host: ")
    assert len(lines(60, 0, True, [replace(FOUND[0], text="word " * 100)])) == 5  # and no more


def test_of_one_alone_the_key_is_named_where_there_is_room_for_what_it_does() -> None:
    assert text(line(200, found=FOUND[1:2])).endswith("   f tells more")
    assert text(line(50, found=FOUND[1:2])).rstrip().endswith("]")


def test_the_rule_gives_way_first_then_how_long_it_has_held_then_the_end_of_the_sentence() -> None:
    assert text(line(300)) == (
        "▲ vCPU 1 of db02 is throttled 35.0% of its time: the CPU quota of its cgroup is used up, for 1 min 34 s"
        "  [throttled > 20% of a vCPU's time]   ▲ web01: p99 of io rose   ▲ ｗｉｄｅ vCPU 0 waits   f walks them"
    )
    whole = "▲ vCPU 1 of db02 is throttled 35.0% of its time: the CPU quota of its cgroup is used up"
    for width, words in (
        (136, f"{whole}, for 1 min 34 s  [throttled > 20%]   ▲▲ f next"),
        (118, f"{whole}, for 1 min 34 s   ▲▲ f next"),
        (100, f"{whole}   ▲▲ f next"),
        (98, "▲ vCPU 1 of db02 is throttled 35.0% of its time: the CPU quota of its cgroup is used…   ▲▲ f next"),
        (74, "▲ db02 vCPU 1 is throttled, for 1 min 34 s  [throttled > 20%]   ▲▲ f next"),
        (60, "▲ db02 vCPU 1 is throttled  [throttled > 20%]   ▲▲ f next"),
        (40, "▲ db02 vCPU 1 is throttled   ▲▲ f next"),
    ):
        assert text(line(width)) == words, width


def test_the_key_that_tells_more_stays_where_the_sentence_is_cut() -> None:
    assert "[throttled > 20% of a vCPU's time]   S tells who   ▲ web01" in text(line(300, more=WHO))
    assert text(line(78, more=WHO)) == "▲ db02 vCPU 1 is throttled  [throttled > 20%]   S tells who   ▲▲ f next"
    assert [part.text for part in line(78, more=WHO) if part.style == "key"] == ["S", "f"]
    assert "tells" not in text(line(60, more=WHO))


def test_what_may_have_held_for_longer_says_so() -> None:
    long = [Finding("a", "b", since=Since(0, longer=True))]
    assert text(line(80, found=long)).startswith("▲ a, for more than 1 min 40 s  [b]")


def test_what_is_elsewhere_is_not_told_as_if_it_were_here() -> None:
    parts = line(160, None)
    assert text(parts).startswith("nothing here; elsewhere   ▲ db02 vCPU 1 is throttled")
    assert not [part for part in parts if part.style == "strong"]
    assert [part.target for part in parts if part.style == "link"] == [0, 1, 2]


def test_each_leads_to_its_own() -> None:
    links = {part.text: part.target for part in line(300) if part.style in ("strong", "link")}
    assert links == {FOUND[0].text: 0, FOUND[1].short: 1, FOUND[2].short: 2}
    assert lines(80, found=[]) == []


def test_text_is_wrapped_between_words_by_cells() -> None:
    assert wrapped("one two three", 7, 3) == ["one two", "three"]
    assert wrapped("ｗｉｄｅ on", 10, 3) == ["ｗｉｄｅ", "on"]
    assert wrapped("one two three four", 9, 2) == ["one two", "three…"]
    assert wrapped("onetwothree", 5, 2) == ["onet…"]
    assert wrapped("", 5, 2) == [""]


def test_text_is_cut_between_words() -> None:
    assert shortened("one two three", 13) == "one two three"
    assert shortened("one two three", 12) == "one two…"
    assert shortened("one two three", 8) == "one two…"
    assert shortened("one two, three", 9) == "one two…"
    assert shortened("onetwothree", 5) == "onet…"
    assert shortened("one", 0) == ""
