from __future__ import annotations

import pytest

from kvmtop.insight.own_cost import own_share
from kvmtop.model.price import Price, Taken
from kvmtop.model.scope import ALL, Scope
from kvmtop.model.session import Session

from ..support.fake import SECOND, Host

PRICE = Price(10, 0, Taken(4_000), {"details": Taken(16_000)})  # 2 µs of an exit


@pytest.mark.parametrize("price", [None, Price(), Price(why="it takes Linux 5.8")])
def test_unknown(price: Price | None) -> None:
    host = Host()
    host.add(100, "web")
    session = Session()
    session.add(host.read())
    host.now += SECOND
    host.counters["price"] = price
    assert own_share(session.add(host.read())) is None


def test_the_share_of_the_vcpus_time() -> None:
    host = Host()
    host.add(100, "web", 2)
    host.add(200, "db")
    session = Session()
    session.add(host.read())
    host.now += SECOND
    host.exits(101, 0x7B, *[1_000] * 50_000)
    host.counters["price"] = PRICE
    interval = session.add(host.read())
    thread = int(interval.after.thread_ids[0])
    assert own_share(interval, Scope(100, thread)) == pytest.approx(0.1)
    assert own_share(interval, Scope(100)) == pytest.approx(0.05)
    assert own_share(interval, Scope(200)) == 0.0
    assert own_share(interval, ALL) == pytest.approx(0.1 / 3)
