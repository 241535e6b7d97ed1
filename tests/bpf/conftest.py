"""collector.bpf.c in this machine's kernel, for what stands beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import cast

import pytest

from kvmtop.bpf.collector import Collector

from . import machine
from .witness import Witness

TURNS = 5


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None]:
    """A failure while the kernel hid a switch to a Player (witness.py) says nothing: it is done again."""
    for turn in range(TURNS):
        machine.PLAYED.clear()
        try:
            if turn:
                item.runtest()
            else:
                yield
            return
        except Exception:
            witness = cast(Witness | None, item.funcargs["witness"])
            if not witness or not witness.hid(machine.PLAYED) or turn == TURNS - 1:
                raise


@pytest.fixture(scope="session")
def watching() -> Iterator[Witness]:
    with contextlib.closing(Witness()) as one:
        yield one


@pytest.fixture(autouse=True)
def witness(request: pytest.FixtureRequest) -> Witness | None:
    """Where the scheduler's events are counted."""
    if "counting" not in request.fixturenames:
        return None
    request.getfixturevalue("counting")  # skips where this machine cannot do it
    one: Witness = request.getfixturevalue("watching")
    return one


@pytest.fixture(scope="module")
def way() -> str:
    """One of machine.WAYS; a module that is about them has all."""
    return "notes"


@pytest.fixture(scope="module")
def counting(way: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    with machine.machine(tmp_path_factory.mktemp("machine"), way, threads=64) as one:
        yield one
