"""What our programs on the screen have in common: a fault in one is told in a sentence, as everything else is."""

from __future__ import annotations

from textual.app import App
from textual.worker import WorkerFailed

from ..errors import KvmtopError, fault


class Program(App[None]):
    """`failure` tells, after it has ended, why it had to."""

    def __init__(self) -> None:
        super().__init__()
        self.failure: KvmtopError | None = None

    def _handle_exception(self, error: Exception) -> None:
        """Textual's, for whatever nobody has caught. Whoever runs the program would not know of it."""
        cause = error.error if isinstance(error, WorkerFailed) else error
        self.failure = self.failure or (cause if isinstance(cause, KvmtopError) else fault(cause))
        super()._handle_exception(error)
        self._exit_renderables.clear()

    def _fatal_error(self) -> None:
        """Textual's, without a traceback that shows all local variables."""
        self._close_messages_no_wait()
