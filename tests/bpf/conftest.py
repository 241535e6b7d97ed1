"""collector.bpf.c in this machine's kernel, for what stands beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kvmtop.bpf.collector import Collector

from . import machine


@pytest.fixture(scope="module")
def way() -> str:
    """One of machine.WAYS; a module that is about them has all."""
    return "notes"


@pytest.fixture(scope="module")
def counting(way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with machine.machine(tmp_path_factory.mktemp("machine"), way, threads=64) as one:
        yield one
