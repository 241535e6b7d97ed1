"""The terminal: whether it can show a screen, and the programs on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ending import Ending

if TYPE_CHECKING:  # none of it without a screen
    from ..config.file import Config
    from ..insight.compare import Change, RecordingSpan
    from ..model.source import Source
    from ..model.vocabulary import DetailRequest
    from ..recording.store import Store
    from ..reference.labels import Labels
    from ..tables.row_choice import RowChoice
    from ..ui.viewpoint import Viewpoint
    from ..widgets.program import Program
    from .headless import Schedule
    from .outputs import Outputs


def able() -> bool:
    """Whether there is a terminal that can show one: not one that TERM says obeys no escapes, or says nothing of."""
    able = os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return able and all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def dashboard(
    source: Source,
    ending: Ending,
    *,
    schedule: Schedule,
    details: DetailRequest | None,
    labels: Labels,
    choice: RowChoice | None,
    outputs: Outputs,
    config: Config,
) -> None:
    """This host, until it ends. outputs: for the key that writes the summary. Raises KvmtopError."""
    _take()
    from ..ui.app import KvmtopApp
    from ..ui.live_feed import LiveFeed

    feed = LiveFeed(source, schedule.interval, schedule.duration, details)
    _run(KvmtopApp(feed, _viewpoint(choice, config), outputs.dump, outputs.flavour, labels, config), ending)


def player(
    source: Source,
    ending: Ending,
    *,
    recording: Store,
    start: int,
    labels: Labels,
    choice: RowChoice | None,
    outputs: Outputs,
    config: Config,
) -> None:
    """A recording, which goes back and forth: nobody else reads the source. start: with this interval, and paused where
    it is not the first. Raises KvmtopError."""
    _take()
    from ..ui.player import Player
    from ..ui.replay_feed import ReplayFeed

    at = _viewpoint(choice, config)
    _run(Player(ReplayFeed(recording, start), at, outputs.dump, outputs.flavour, labels, config), ending)


def comparison(
    a: RecordingSpan, b: RecordingSpan, found: Sequence[Change], sort: str, ending: Ending, config: Config
) -> None:
    """Two recordings next to each other; sort: by this column. Raises KvmtopError."""
    _take()
    from ..ui.compare_app import Comparison

    _run(Comparison(a, b, found, sort, config.preferences.word("theme")), ending)


def _viewpoint(choice: RowChoice | None, config: Config) -> Viewpoint:
    """As --reason and the configuration have it."""
    from ..tables.columns import falling
    from ..ui.viewpoint import Viewpoint

    set_ = config.preferences
    sort = set_.word("sort")
    return Viewpoint(
        sorting=sort,
        descending=falling(sort) != set_.is_on("reverse"),
        idle=set_.is_on("idle"),
        filters={"reasons": choice.reason.pattern if choice and choice.reason else "", "vms": ""},
        columns={table: set_.words(f"columns.{table}") for table in ("reasons", "vms")},
        panes=set_.words("panes"),
        limits=set_.limits,
    )


def _run(app: Program, ending: Ending) -> None:
    app.run_until(ending)
    if app.failure:
        raise app.failure


def _take() -> None:
    """To be called before Textual is imported."""
    # A shell may export COLUMNS and LINES: Textual would keep to this size for ever. And by its own variables it would
    # import any module (TEXTUAL_DRIVER) and write to any file (TEXTUAL_LOG), as root.
    for name in [name for name in os.environ if name in ("COLUMNS", "LINES") or name.startswith("TEXTUAL")]:
        del os.environ[name]
    if not os.environ.get("NO_COLOR"):  # which means nothing if it is empty; to Textual it does
        os.environ.pop("NO_COLOR", None)
    from ..ui.terminal import Vanishing

    sys.__stderr__ = Vanishing(sys.__stderr__)  # type: ignore[assignment,arg-type,misc] # what Textual writes to
