from __future__ import annotations

import os

from kvmtop.ui.terminal import Vanishing


def test_a_terminal_that_has_gone_takes_what_is_written() -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w") as file:
        terminal = Vanishing(file)
        assert terminal.write("seen\n") == 5 and terminal.isatty()
        terminal.flush()
        assert os.read(ours, 100).startswith(b"seen")
        os.close(ours)
        for _ in range(3):
            assert terminal.write("x" * 100_000) == 100_000
            terminal.flush()
        assert not terminal.isatty()
