"""The key with which columns are chosen, and what is on the screen is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import work

from ..config.preferences import PANES
from ..errors import KvmtopError
from ..sanitize import clean
from ..widgets.column_chooser import ColumnChooser
from ..widgets.overview import Overview
from .arrangement import Arrangement
from .dashboard import Dashboard


class Arranging(Dashboard):
    """What it does."""

    arrangement: Arrangement

    def begin(self) -> None:
        """As the file has it."""
        self.arrangement.begin()

    def action_columns(self) -> None:
        """Choose the columns of the table that has the keys."""
        if self.viewpoint.on_page or len(self.screen_stack) > 1:
            return
        choices = self.arrangement.choices(self.query_one(Overview).filtered, self._preview)
        self.push_screen(ColumnChooser(choices), self._chosen)

    def _preview(self, what: str, chosen: Any) -> Sequence[str]:
        """See ColumnChooser; what: a table, the panes, or the findings."""
        if what == "findings":
            self.viewpoint.limits = chosen
            if self.shown:
                self.presenter.findings(self.shown)
            return ()
        if what == "panes":
            self.arrangement.show_panes(chosen)
            self.call_after_refresh(self.redraw)
            return chosen or PANES
        overview = self.query_one(Overview)
        self.viewpoint.columns[what] = chosen
        if not overview.table(what).size.width:
            overview.turn_to(what)
        self.redraw()
        return [heading.key for heading in overview.table(what).headings]

    def _chosen(self, keep: bool | None) -> None:
        if keep:
            self._keep()

    @work(thread=True, group="arrangement")
    def _keep(self) -> None:
        try:
            told, failed = self.arrangement.keep(), False
        except KvmtopError as error:
            told, failed = clean(str(error)), True
        self.call_from_thread(self.notify, told, severity="error" if failed else "information", markup=False)
