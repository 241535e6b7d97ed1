"""What went wrong, in one sentence that a person can act on."""

import contextlib
import sys

LONGEST = 2000  # characters


class KvmtopError(Exception):
    """Its text says what is wrong and what to do; cli prints it on stderr and ends with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def tell(text: object) -> None:
    """Print a sentence on stderr, if that is still there: in one line, and nothing of it for a terminal to obey.

    It may repeat an argument or the name of a file, which hold whatever others put there.
    """
    line = "".join(character if character.isprintable() else "?" for character in str(text))
    if len(line) > LONGEST:
        line = f"{line[: LONGEST // 2]} … {line[-LONGEST // 2 :]}"
    with contextlib.suppress(OSError):
        if sys.stderr:
            print(f"kvmtop: {line}", file=sys.stderr, flush=True)
