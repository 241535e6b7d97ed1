"""The terminal: whether it can show a screen, and the programs on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ending import Ending

if TYPE_CHECKING:  # none of it without a screen
    from ..insight.compare import Change, RecordingSpan
    from ..model.source import Source
    from ..model.vocabulary import DetailRequest
    from ..recording.reader import Recording
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
) -> None:
    """This host, until it ends. outputs: for the key that writes the summary. Raises KvmtopError."""
    _take()
    from ..ui.app import KvmtopApp
    from ..ui.live_feed import LiveFeed

    feed = LiveFeed(source, schedule.interval, schedule.duration, details)
    _run(KvmtopApp(feed, _viewpoint(choice), outputs.dump, outputs.flavour, labels), ending)


def player(source: Source, ending: Ending, *, recording: Recording, choice: RowChoice | None, outputs: Outputs) -> None:
    """A recording, which goes back and forth: nobody else reads the source. Raises KvmtopError."""
    _take()
    from ..ui.player import Player
    from ..ui.replay_feed import ReplayFeed

    _run(Player(ReplayFeed(recording), _viewpoint(choice), outputs.dump, outputs.flavour), ending)


def comparison(a: RecordingSpan, b: RecordingSpan, found: Sequence[Change], sort: str, ending: Ending) -> None:
    """Two recordings next to each other; sort: by this column. Raises KvmtopError."""
    _take()
    from ..ui.compare_app import Comparison

    _run(Comparison(a, b, found, sort), ending)


def _viewpoint(choice: RowChoice | None) -> Viewpoint:
    """As --reason, --sort and --no-idle have it."""
    from ..tables.columns import falling
    from ..ui.viewpoint import Viewpoint

    if not choice:
        return Viewpoint()
    return Viewpoint(
        sorting=choice.sort,
        descending=falling(choice.sort),
        leave_idle=not choice.idle,
        filters={"reasons": choice.reason.pattern if choice.reason else "", "vms": ""},
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
