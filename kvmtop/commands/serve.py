"""`kvmtop serve PORT`: this host for Prometheus, without a screen."""

from __future__ import annotations

import argparse
from functools import partial

from . import arguments
from .arguments import Parser

SUMMARY = "serve /metrics for Prometheus, as a service"


def parser() -> Parser:
    """Its options."""
    p = Parser("serve", SUMMARY)
    p.add_argument(
        "address",
        type=arguments.address,
        metavar=arguments.ADDRESS,
        help="on this host alone without ADDR; SIGTERM ends it with the summary, SIGHUP does nothing",
    )
    arguments.add_vms(p)
    arguments.add_schedule(p)
    arguments.add_summary(p)
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError."""
    from ..model.selection import Selection
    from . import headless, sources
    from .outputs import Outputs
    from .run import Metrics, Run

    outputs = Outputs(options.dump, options.kvm)
    outputs.check({})
    schedule = headless.Schedule(options.interval, options.duration)
    show = partial(headless.follow, schedule=schedule, tables=None)
    metrics = Metrics(options.address, service=True, fresh=True)
    return Run(partial(sources.host, options.pid, Selection.of(options.vm)), show, outputs, metrics).status()
