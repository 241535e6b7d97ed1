"""What went wrong, in one sentence that a person can act on."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
LONGEST = 2000  # characters


class KvmtopError(Exception):
    """Its text says what is wrong and what to do; cli prints it on stderr and ends with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


@contextlib.contextmanager
def meanwhile(text: str) -> Iterator[None]:
    """Say what takes a while as long as it does, where somebody sees it."""
    show(text)
    try:
        yield
    finally:
        show("")


def show(text: str) -> None:
    """Say what is done at present, in place of what was said before; "" wipes it. Nothing where nobody sees it."""
    with contextlib.suppress(OSError):
        if sys.stderr and sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


def fault(error: BaseException) -> KvmtopError:
    """For what nobody expected: what it was and where in kvmtop, so that it can be reported."""
    import traceback  # which takes longer to import than all else here

    ours = [at for at in traceback.extract_tb(error.__traceback__) if Path(at.filename).is_relative_to(HERE)]
    where = f" in {Path(ours[-1].filename).relative_to(HERE)}, line {ours[-1].lineno}" if ours else ""
    what = f"{type(error).__name__}: {error}".removesuffix(": ")
    return KvmtopError(f"a fault of its own ended it ({what}{where}): please report this line")


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
