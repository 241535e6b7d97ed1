"""The key that finds out what costs a VM time: the dashboard's readings go to a Doctor while its screen is open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from textual import work

from ..errors import KvmtopError
from ..insight.diagnosis import Doctor
from ..insight.earlier import since_when
from ..model.scope import Scope
from ..model.snapshot import Snapshot
from ..output.diagnosis import lines
from ..tables.header import trail
from ..widgets.diagnosis import DiagnosisScreen
from .moving import Moving

SECONDS = 20.0


class Diagnosing(Moving):
    """Part of the dashboard of a live host."""

    _doctor: Doctor | None = None

    def action_diagnose(self) -> None:
        """What costs the VM under the cursor time, or those of the scope: look closer where the counters point to."""
        if not self.shown or len(self.screen_stack) > 1:
            return
        pid = (self._under_cursor() or self.viewpoint.scope).pid
        whose = trail(Scope(pid), self.shown.snapshot, None)[-1][0]
        self._doctor = Doctor(
            SECONDS, self.presenter.labels, self.viewpoint.limits, lambda vm: pid is None or vm.pid == pid
        )
        self.push_screen(DiagnosisScreen(whose), self._put_away)
        self.look()

    def _put_away(self, _: None) -> None:
        self._doctor = None
        self.look()

    def look(self) -> None:
        """Ask for what the doctor looks at, while there is one."""
        if self._doctor:
            self.feed.look(self._doctor.request)
        else:
            super().look()

    def examine(self, snapshot: Snapshot) -> None:
        """A reading for the doctor, who may have seen enough then."""
        doctor = self._doctor
        if not doctor or not isinstance(self.screen, DiagnosisScreen):
            return
        doctor.add(snapshot)
        if doctor.starting and self.feed.trouble:
            doctor.skip(self.feed.trouble)
        self.screen.progress(f"{doctor.now}: {doctor.left:.0f} s left")
        if doctor.done:
            self._doctor = None
            self.screen.progress("putting it together …")
            self._conclude(doctor, self.screen, self.screen.room)

    @work(thread=True, group="diagnosis")
    def _conclude(self, doctor: Doctor, screen: DiagnosisScreen, room: int) -> None:
        """It takes a while with many VMs, or a long recording. room: characters of a line."""
        found = doctor.conclude()
        try:
            found = since_when(found, limits=doctor.limits)
        except KvmtopError as error:  # nothing of the rest is lost
            found = replace(found, since_unknown=str(error))
        told = list(lines(found, room))

        def show(told: Sequence[str]) -> None:
            if self.screen is screen:
                screen.show(told)

        self.call_from_thread(show, told)
