"""A host with two VMs."""

from __future__ import annotations

import pytest

from ..support.fake import Host


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "a", 2)
    host.add(200, "b")
    return host
