"""How the dashboard is arranged: at the beginning as the file has it, later as the keys have left it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from textual.app import App

from ..config.file import Config
from ..config.preferences import LIMITS, PANES, Value, limits_of, settings_of
from ..insight.finding import USUAL
from ..sanitize import clean
from ..tables import exit_reasons, vcpus
from ..tables.columns import falling
from ..widgets import themes
from ..widgets.choices import Bounds, Choice, Chosen
from .feed import Feed
from .live_feed import LiveFeed
from .viewpoint import Viewpoint

MOST = 3  # sentences on the screen
STEPS = {
    "%": (0, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 35, 40, 50, 60, 70, 80, 90, 100),
}
WORDS = {
    "reasons": ("Reasons", "the exit reasons; they stay"),
    "vms": ("VMs", "the VMs and vCPUs, beside the reasons; the key 2 turns to them without it, too"),
    "time": ("Time", "where the time goes"),
    "findings": ("Findings", "what stands out"),
    "lower": ("Detail", "what the cursor is on"),
}


class Arrangement:
    """Of one run."""

    def __init__(self, app: App[Any], feed: Feed, at: Viewpoint, config: Config | None) -> None:
        """config: where it is kept; None: nowhere."""
        self._app, self._feed, self._at, self._config = app, feed, at, config or Config()
        self._kept: dict[str, Value] = {}

    def begin(self) -> None:
        """Once the app has its themes: wear the one of the file, and say what is wrong in it."""
        themes.wear(self._app, self._config.preferences.word("theme"))
        self.show_panes(self._at.panes)
        self._kept = self._now()
        for sentence in self._config.complaints[:MOST]:
            self._app.notify(clean(sentence), severity="warning", timeout=15, markup=False)
        if len(self._config.complaints) > MOST:
            self._app.notify("kvmtop config tells all that is wrong there", severity="warning", timeout=15)

    def _now(self) -> dict[str, Value]:
        at = self._at
        found: dict[str, Value] = {
            "sort": at.sorting,
            "reverse": at.descending != falling(at.sorting),
            "idle": at.idle,
            "theme": themes.worn(self._app),
            "panes": at.panes,
            "columns.reasons": at.columns["reasons"],
            "columns.vms": at.columns["vms"],
            **{f"findings.{name}": value for name, value in settings_of(at.limits).items()},
        }
        if isinstance(self._feed, LiveFeed):
            found["interval"] = self._feed.seconds
        return found

    def show_panes(self, panes: tuple[str, ...]) -> None:
        """Of those that may be hidden, these; all without any."""
        self._at.panes = panes
        for pane in PANES:
            self._app.screen_stack[0].set_class(bool(panes) and pane not in panes, f"-no-{pane}")

    def keep(self) -> str:
        """Write what has been changed on the screen; what to say of it. From any thread. Raises KvmtopError."""
        now = self._now()
        changed = {name: value for name, value in now.items() if value != self._kept.get(name)}
        if not changed:
            return "nothing has been changed"
        if self._config.path is None:
            return "this is how it looks until the end: --no-config keeps nothing"
        self._config.keep(changed)
        self._kept = now
        return f"kept in {clean(str(self._config.path))}: {', '.join(changed)}"

    def choices(self, first: str, preview: Callable[..., Any]) -> list[Choice]:
        """What there is to choose from, the columns of this table first. preview: shows what is chosen of one."""
        found: list[Choice] = []
        for table, name, columns in (("reasons", "exit reasons", exit_reasons.COLUMNS), ("vms", "VMs", vcpus.COLUMNS)):
            usual = tuple(column.key for column in columns if column.usual)
            words = {column.key: (column.title, column.help) for column in columns}
            now = self._at.columns[table] or usual
            found.append(Chosen(name, f"columns of the {name}", "COLUMN", words, usual, now, partial(preview, table)))
        if first != "reasons":
            found.reverse()
        found.append(Chosen("panes", "panes", "PANE", WORDS, PANES, self._at.panes or PANES, partial(preview, "panes")))
        found.append(
            Bounds(
                "findings",
                "findings: from where on",
                LIMITS,
                STEPS,
                settings_of(USUAL),
                settings_of(self._at.limits),
                lambda values: preview("findings", limits_of(values)),
            )
        )
        return found
