from __future__ import annotations

import pytest

from kvmtop.bpf.syscalls import possible_cpus

from .files import Files


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(monkeypatch)


@pytest.mark.parametrize(
    ("possible", "cpus"), [("0", 1), ("0-7", 8), ("0-127", 128), ("0,2-5", 6), ("0-3,8-11", 12), ("0-1,7", 8)]
)
def test_possible_cpus(files: Files, possible: str, cpus: int) -> None:
    files.found["/sys/devices/system/cpu/possible"] = f"{possible}\n"
    assert possible_cpus() == cpus
