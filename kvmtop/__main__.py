"""The command, also as `python -m kvmtop`."""

import _signal  # type: ignore[import-not-found] # signal itself takes long enough to import for a ^C to come first
import sys


def at_once() -> None:
    """Let SIGINT end this process, as other signals do: Python would tell where it was, in many lines."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:  # else it is ignored, as after `trap "" INT`
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def main() -> int:
    """What the installed command calls. All the rest takes a while to import."""
    at_once()
    from .cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
