"""The stacks of a reason's exits as blocks."""

from __future__ import annotations

from kvmtop.insight.stacks import Part, Spent
from kvmtop.tables.icicle import icicle
from kvmtop.tables.page import Block

from ..support.stacks import COMPACTION, FAULT, RUN, USERFAULT

MS = 1_000_000


def spent(*parts: tuple[str, tuple[str, ...], int, int]) -> Spent:
    found = [Part(7, 2, 0x400, state, frames, ms * MS, times) for state, frames, ms, times in parts]
    samples = sum(part.times for part in found if part.state == "kernel")
    return Spent((2, 0x400), "npf", 10, sum(part.ns for part in found), {}, samples, found)


def shape(block: Block) -> list[object]:
    return [block.names, round(block.share, 3), round(block.own, 3), block.state, [shape(one) for one in block.called]]


def test_functions_that_call_nothing_else_are_one_block() -> None:
    found = icicle(spent(("blocked", USERFAULT, 71, 10), ("wait", USERFAULT, 5, 0), ("kernel", COMPACTION, 24, 3)))
    assert found.headline == "71.0% blocked in userfaultfd, 24.0% in compaction"
    assert found.hint == "100ms since the page was opened · 3 samples"
    (top,) = found.root.called
    assert top.names == ("kvm_mmu_page_fault [kvm]", "hva_to_pfn [kvm]", "handle_mm_fault")
    assert shape(top)[1:4] == [1, 0, "blocked"]
    assert [shape(one) for one in top.called] == [
        [
            *(("handle_userfault",), 0.76, 0, "blocked"),
            [[("(blocked)",), 0.71, 0.71, "blocked", []], [("(waits for a CPU)",), 0.05, 0.05, "wait", []]],
        ],
        [("do_huge_pmd_anonymous_page", "compact_zone"), 0.24, 0.24, "kernel", []],
    ]


def test_a_block_has_words_for_what_it_does() -> None:
    found = icicle(spent(("blocked", USERFAULT, 71, 10), ("kernel", COMPACTION, 24, 3), ("kernel", FAULT, 5, 1)))
    (top,) = found.root.called
    assert top.words == "handle_mm_fault · 100ms · 4 samples · 10 times off the CPU"
    assert top.own == 0.05
    userfault, compaction = top.called
    assert userfault.words == (
        "handle_userfault (blocked) · 71.0ms · 10 times off the CPU"
        " · userfaultfd: a post-copy migration or another handler brings the page"
    )
    assert compaction.words == (
        "compact_zone · 24.0ms · 3 samples · compaction: pages are moved to make room for a huge one"
    )


def test_functions_without_names() -> None:
    found = icicle(spent(("blocked", (), 71, 10), ("kernel", (), 24, 3)), unnamed="functions have no names")
    assert found.headline == "functions have no names"
    assert [one.names for one in found.root.called] == [("(not known)",)]


def test_no_such_exit() -> None:
    assert icicle(None).root.called == () and "no such exit" in icicle(None).headline


def test_a_tree_of_thousands_is_bounded() -> None:
    many = [("kernel", (f"leaf{n}", f"f{n % 50}", *RUN), 1 + n % 7, 1) for n in range(5000)]
    found, number = [icicle(spent(*many)).root], 0
    for one in found:
        number += 1
        found += one.called
    assert 100 < number < 2000


def test_a_stack_that_is_too_deep_ends() -> None:
    deep = ("kernel", tuple(f"f{n}" for n in range(127)), 10, 1)
    wide = [("kernel", tuple(f"f{n}" for n in range(126 - at, 127)), 1, 1) for at in range(100)]
    at, depth = icicle(spent(deep, *wide)).root, 0
    while at.called:
        at, depth = at.called[0], depth + 1
    assert 1 < depth <= 41
