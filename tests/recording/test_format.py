from __future__ import annotations

from kvmtop.recording.format import base


def test_what_a_sample_is_packed_against() -> None:
    assert base(32) is None and base(45) == 44
