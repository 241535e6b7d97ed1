"""Where Snapshots come from."""

from __future__ import annotations

from typing import Protocol

from .arrays import Array
from .provenance import Origin
from .snapshot import Snapshot
from .vocabulary import DetailRequest


class Source(Protocol):
    """Where Snapshots come from: the live kernel, or a recording."""

    @property
    def origin(self) -> Origin:
        """Whose figures they are."""

    @property
    def trouble(self) -> str | None:
        """What has failed beside reading, which goes on, as a sentence."""

    @property
    def busy(self) -> str:
        """What holds up the reading that is under way, in a few words; "" where nothing does. From any thread."""

    def read(self) -> Snapshot:
        """The counters now. Raises KvmtopError where they cannot be had any more."""

    def look(self, look: DetailRequest | None) -> None:
        """Tell these details from the next reading on, or none. From any thread; a recording does not care."""

    def slow(self) -> Array:
        """The slow exits since the last reading or call, for whoever cannot wait for the next; dtype SLOW."""

    def close(self) -> Snapshot:
        """Stop counting; the final counters."""


class Wrapper:
    """A Source around another: what a subclass leaves as it is, the other does."""

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def origin(self) -> Origin:
        """Whose figures they are."""
        return self._source.origin

    @property
    def trouble(self) -> str | None:
        """What has failed beside reading, which goes on, as a sentence."""
        return self._source.trouble

    @property
    def busy(self) -> str:
        """What holds up the reading that is under way; "" where nothing does."""
        return self._source.busy

    def read(self) -> Snapshot:
        """The counters now. Raises KvmtopError."""
        return self._source.read()

    def look(self, look: DetailRequest | None) -> None:
        """Tell these details from the next reading on, or none."""
        self._source.look(look)

    def slow(self) -> Array:
        """The slow exits since the last reading or call; dtype SLOW."""
        return self._source.slow()

    def close(self) -> Snapshot:
        """Stop counting; the final counters."""
        return self._source.close()
