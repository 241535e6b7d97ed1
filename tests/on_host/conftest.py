from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..hosts.held import Held


@pytest.fixture(scope="session", autouse=True)
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.release()
