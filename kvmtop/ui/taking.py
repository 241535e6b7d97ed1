"""Taking along what is on the screen: into a file, or to the clipboard."""

from __future__ import annotations

import re
import time
from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType

from ..model.scope import Scope
from ..output import summary
from ..sanitize import clean
from ..tables.header import trail
from ..tables.rows import plain
from ..widgets.links import Links
from ..widgets.overview import Overview
from ..widgets.table import Table
from ..widgets.timeline_page import TimelinePage
from .dashboard import Dashboard

LONGEST = 60  # characters of a VM's name in a file's


class Taking(Dashboard):
    """The keys that do so."""

    _dump: Path | None  # where the summary goes, if somebody has said so
    _isa: int

    def action_summary(self) -> None:
        """The summary so far, as a file."""
        if self.newest:
            path = self._dump or Path(time.strftime("kvmtop-%Y%m%d-%H%M%S.txt"))
            self._save({path: summary.text(self.newest.snapshot, self._isa)})

    def action_save_screen(self) -> None:
        """This screen as SVG and as text."""
        vm = self._names(Scope(self.viewpoint.scope.pid))[-1:]
        stem = file_name(vm[0] if vm else "all", time.strftime("%Y%m%d-%H%M%S"))
        strips = self.screen._compositor.render_strips()
        text = "".join(f"{''.join(segment.text for segment in strip).rstrip()}\n" for strip in strips)
        drawn = self.screen._compositor.render_update(full=True, screen_stack=self._background_screens)
        self.presenter.frame(self.shown, self.newest, "saving …")  # answers the key, before what takes longer
        self.call_after_refresh(self._save_screen, stem, drawn, text)

    def _save_screen(self, stem: str, drawn: RenderableType, text: str) -> None:
        width, height = self.size
        console = Console(
            width=width,
            height=height,
            file=StringIO(),
            force_terminal=True,
            color_system="truecolor",
            record=True,
            legacy_windows=False,
            safe_box=False,
        )
        console.print(drawn)
        self._save({Path(f"{stem}.svg"): console.export_svg(title=self.title), Path(f"{stem}.txt"): text})
        self.redraw_frame()

    def _save(self, files: dict[Path, str]) -> None:
        for path, text in files.items():
            try:
                summary.write(path, text)
            except OSError as error:
                self.notify(f"cannot write {path}: {error.strerror}", severity="error", markup=False)
                return
        self.notify(f"written: {' and '.join(map(str, files))}", markup=False)

    def action_copy(self) -> None:
        """The selected row or finding, to the clipboard of the terminal, which does not say whether it obeys."""
        text = self._selected()
        if not text:
            self.notify("No row, no finding and no exit is selected.")
            return
        self.copy_to_clipboard(text)
        self.notify(f"Copied, where the terminal allows that (OSC 52): {text}", markup=False)

    def _selected(self) -> str:
        at, overview = self.viewpoint, self.query_one(Overview)
        if at.timeline:
            return clean(self.query_one(TimelinePage).copied())
        focused = overview.table(overview.filtered) if self.focused is overview.lower else self.focused
        if isinstance(focused, Links):
            one = next((one for one in self.presenter.found if one.key == at.walked), None)
            return clean(f"{one.text}  [{one.rule}]") if one else ""
        if not isinstance(focused, Table) or not focused.rows:
            return ""
        name = " ".join(self._names(focused.cursor)) if isinstance(focused.cursor, Scope) else ""
        return clean(plain(focused.headings, focused.rows[focused.position], name))

    def _names(self, scope: Scope) -> list[str]:
        """Of its VM, and of its vCPU."""
        return [name for name, _ in trail(scope, self.shown.snapshot if self.shown else None, None)][1:]


def file_name(vm: str, when: str) -> str:
    """Without an ending; of the characters A-Z a-z 0-9 . _ -, whatever the VM is called."""
    return f"kvmtop-{re.sub('[^A-Za-z0-9._-]+', '-', vm)[:LONGEST].strip('.-') or 'vm'}-{when}"
