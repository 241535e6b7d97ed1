from __future__ import annotations

import pytest

from kvmtop.model.price import Price, Taken
from kvmtop.tables import price

COUNTING = Taken(400_000, 50_000)
DETAILS = Price(1000, 100, COUNTING, {"details": Taken(1_600_000)})
SCHED = Price(1000, 100, COUNTING, {"sched": Taken(0, 21_000, 7)})
TIMELINE = Price(1000, 100, COUNTING, {"timeline": Taken(900_000, 21_000)})


@pytest.mark.parametrize(
    ("found", "short", "words"),
    [
        (DETAILS, "probes ≥1.60µs/exit", "probes ≥1.60µs/exit, counting  ≥400ns/exit"),
        (SCHED, "probes  ≥210ns/switch", "probes  ≥210ns/switch, counting  ≥400ns/exit"),
        (TIMELINE, "probes  ≥900ns/exit", "probes  ≥900ns/exit,  ≥210ns/switch, counting  ≥400ns/exit"),
        (Price(1000, 9, COUNTING), "probes  ≥400ns/exit", "probes  ≥400ns/exit"),
        (Price(), "probes       –/exit", "probes       –/exit"),
        (Price(why="it takes Linux 5.8"), "probes       –/exit", "probes –/exit: not measured, it takes Linux 5.8"),
    ],
)
def test_it_is_said_in_few_words_or_more(found: Price, short: str, words: str) -> None:
    assert (price.short(found), price.words(found)) == (short, words)


def test_its_width_stays() -> None:
    lengths = {len(price.short(Price(10, 0, Taken(10 * ns)))) for ns in (1, 999, 1_000, 99_900, 3_000_000)}
    assert lengths | {len(price.short(Price()))} == {len("probes ≥1.60µs/exit")}
