"""What ends kvmtop from outside: a signal.

Until counting begins there is nothing to keep, and a signal does what it does to any program: it ends it at once
and without a word, with the status 128 + its number for a shell (__main__.py sees to that). From then on it ends
the run, with the summary.
"""

from __future__ import annotations

import os
import select
import signal

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP)
LONGEST = 1e6  # seconds that poll can wait for


class Ending:
    """As a context, it takes the signals; the first one sets it, for good.

    It is a pipe that can be read then: an event loop can watch it, however late it starts, and no lock is taken in a
    handler, which may have interrupted whoever holds it.
    """

    def __init__(self, hangup: bool = True) -> None:
        """hangup: whether SIGHUP ends it, too, unless it is ignored already."""
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._reader, select.POLLIN)
        self._hangup, self._come = hangup, False

    def __enter__(self) -> Ending:
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN  # by nohup, which means it
        self._before = {number: signal.signal(number, self._handle) for number in NUMBERS}
        if ignored or not self._hangup:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def _handle(self, *_: object) -> None:
        if not self._come:
            self._come = True
            os.write(self._writer, b"\0")

    def fileno(self) -> int:
        """What can be read once it is set."""
        return self._reader

    def is_set(self) -> bool:
        """Whether a signal has come."""
        return self._come

    def wait(self, seconds: float) -> bool:
        """Whether a signal has come, or comes within so many seconds."""
        return bool(self._poll.poll(min(seconds, LONGEST) * 1000))
