"""When figures were taken, and what stands in front of them."""

from __future__ import annotations

import time
from dataclasses import replace

from kvmtop.model.provenance import HERE, Origin

from ..support.fake import SECOND, Host


def test_of_this_host() -> None:
    assert HERE.title == "" and abs(HERE.wall(Host().read()) - time.time()) < 1


def test_of_a_recording() -> None:
    host = Host()
    origin = Origin("kvm01", "6.1", recording="kvm01 at night", began=1_700_000_000.0)
    assert origin.title == "RECORDING of kvm01 at night"
    later = replace(host.read(), time_ns=host.start + 90 * SECOND)
    assert origin.wall(later) == 1_700_000_090.0
    stepped = replace(later, wall_ns=1_600_000_000 * SECOND)  # somebody had set the clock meanwhile
    assert origin.wall(stepped) == HERE.wall(stepped) == 1_600_000_000.0
