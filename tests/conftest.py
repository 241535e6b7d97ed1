from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.bpf import privileges
from kvmtop.host import processes

from .support import nobody
from .support.fake import Busy
from .support.pair import pair
from .support.program import pretended

__all__ = ["pair"]  # a fixture for everybody

# The tests in on_host/ need a machine whose KVM fires kvm_exit, and root: tests/hosts/suite.py runs
# them in the emulated ones. On a real KVM host: sudo KVMTOP_ON_HOST=1 .venv/bin/pytest tests/on_host
collect_ignore = [] if os.environ.get("KVMTOP_ON_HOST") else ["on_host"]


def pytest_sessionstart() -> None:
    """Where all is required, nothing is skipped for want of rights; signals are as in a user's shell, and nothing is
    configured."""
    os.environ["XDG_CONFIG_HOME"] = "/nonexistent"  # how the tester likes the dashboard is none of the tests' business
    os.environ.pop("SUDO_UID", None)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup ignores it, and what is started by it, too
    if os.environ.get("KVMTOP_REQUIRE_HOSTS") == "1" and (
        not privileges.may_load_bpf() or processes.namespace() or os.geteuid()
    ):
        pytest.exit("KVMTOP_REQUIRE_HOSTS=1 needs root, who may load BPF programs, and no container", 2)


@pytest.fixture(scope="session")
def for_all() -> Iterator[Path]:
    """A folder with kvmtop in it which any user may enter: pytest's own are for their owner alone."""
    with tempfile.TemporaryDirectory(prefix="kvmtop-tests-", dir="/tmp") as folder:
        nobody.copy(Path(folder))
        yield Path(folder)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Busy:
    """A live host that is made up: kvmtop in this process reads it."""
    return pretended(monkeypatch)
