"""Whose figures they are: this host's as they come, or those of a recording."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import __version__
from ..sanitize import clean
from .snapshot import Snapshot


@dataclass(frozen=True)
class Origin:
    """Where and when Snapshots were taken, and by which version of kvmtop."""

    host: str
    kernel: str
    version: str = __version__
    recording: str | None = None  # what it is a recording of; None: not of one
    began: float | None = None  # s since 1970, when counting began; None: Snapshots are of now
    facts: Mapping[str, str] = field(default_factory=dict)  # what of the host decides how long an exit takes, by name

    def wall(self, snapshot: Snapshot) -> float:
        """When a Snapshot was taken, by the host's clock as it was then; s since 1970."""
        if snapshot.wall_ns:
            return snapshot.wall_ns / 1e9
        return time.time() if self.began is None else self.began + (snapshot.time_ns - snapshot.start_ns) / 1e9

    @property
    def title(self) -> str:
        """What to put in front of its figures."""
        return f"RECORDING of {self.recording}" if self.recording is not None else ""


HERE = Origin(clean(platform.node()), platform.release())
