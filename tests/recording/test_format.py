from __future__ import annotations

from kvmtop.recording.format import base


def way(sample: int, version: int) -> list[int]:
    """The samples that have to be unpacked for one."""
    found = [sample]
    while (against := base(found[-1], version)) is not None:
        found.append(against)
    return found


def test_what_a_sample_is_packed_against() -> None:
    assert base(512, 3) is None and way(538, 3) == [538, 537, 536, 532, 528, 512]
    assert max(len(way(n, 3)) for n in range(2000)) == 14
    assert base(32, 2) is None and base(45, 2) == 44  # as recordings of today and before it are
    assert max(len(way(n, 2)) for n in range(2000)) == 6
