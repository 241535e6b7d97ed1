"""One run, from the first reading to the summary: what a command has made of its options."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from ..ending import Ending
from ..errors import tell
from ..model.source import Source
from ..output.stream import Tee, finish
from ..reference.labels import Labels
from ..tables.row_choice import RowChoice
from .outputs import Outputs

Show = Callable[[Source, Ending], None]  # reads a Source until it ends, or shall


@dataclass(frozen=True)
class Metrics:
    """Where they are served. service: nothing else is written; fresh: each scrape reads the source anew."""

    address: tuple[str, int]
    service: bool
    fresh: bool
    told: bool = True  # where, on standard error


@dataclass(frozen=True)
class Run:
    """start: what is read, once all else is ready; show: who reads it. labels and choice: for JSON and CSV."""

    start: Callable[[], Source]
    show: Show
    outputs: Outputs
    metrics: Metrics | None = None
    labels: Labels = field(default_factory=Labels)
    choice: RowChoice | None = None

    def status(self) -> int:
        """Do it; 0, or 1 where something could not be written. Raises KvmtopError, and OSError of standard output."""
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        with contextlib.ExitStack() as after:
            metrics = self.metrics
            if metrics:
                from ..output.http_server import Server

                server = Server(*metrics.address)
                after.callback(server.stop)
            base = self.start()
            # A service has nothing to read again on SIGHUP, and shall not end because somebody thought so.
            with Ending(hangup=not (metrics and metrics.service)) as ending:
                base, outputs = self.outputs.open(base, self.labels, self.choice)
                live = base
                try:
                    if metrics:
                        from ..output.prometheus import Exporter

                        live = exporter = Exporter(base, metrics.fresh, base.origin)
                        server.start(exporter.scrape)
                        if metrics.told:
                            tell(f"serving {server.url}")
                    self.show(Tee(live, outputs) if outputs else live, ending)
                finally:
                    # Also after a failure: what was counted is not lost.
                    after.close()
                    final = live.close()
                    status = self.outputs.deliver(final)
                    for error in finish(outputs, final, base.origin):
                        tell(error)
                        status = error.status
                    if any(output.broken and output.path is None for output in outputs):
                        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                    if final.lost:
                        tell(f"{final.lost} exits were not counted: a BPF map was full")
                    if trouble := base.trouble:
                        tell(trouble)
                        status = 1
        return status
