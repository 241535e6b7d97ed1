"""`kvmtop` without a command, or `kvmtop live`: this host, on the dashboard or as text."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import KvmtopError, tell
from . import arguments, demo
from .arguments import Parser

if TYPE_CHECKING:
    from ..model.source import Source

SUMMARY = "this host, live, on a dashboard; also without a command"
EXAMPLES = """\
examples:
  sudo kvmtop                              all VMs of this host, live
  sudo kvmtop --vm web01                   one VM, by its name
  sudo kvmtop --duration 10 --dump out.txt ten seconds, summary in a file
  sudo kvmtop --batch --interval 5         a table every five seconds, for a log
  sudo kvmtop --json | jq .totals.rate     an object every second, for programs
  sudo kvmtop --openmetrics 9960           for Prometheus, beside the dashboard
  sudo kvmtop -T 10 -G kvm=intel           as kvm_service_time.stp was called

keys in the dashboard: ? for help, q to quit
"""


def parser() -> Parser:
    """Its options."""
    p = Parser("live", SUMMARY, EXAMPLES)
    p.add_argument(
        "--live", action="store_true", help="this host even if no VM runs; without any option, the demo is shown then"
    )
    arguments.add_batch(p, "a table per interval on standard output")
    p.add_argument("--record", type=Path, metavar="FILE", help="write every reading to FILE, for kvmtop replay")
    p.add_argument("--version", action="version", version=f"kvmtop {__version__}")
    arguments.add_vms(p)
    arguments.add_schedule(p)
    p.set_defaults(interval=None)  # on the dashboard, the configuration may have one
    arguments.add_config(p)
    arguments.add_rows(p)
    arguments.add_details(p)
    arguments.add_stacks(p)
    arguments.add_programs(p)
    arguments.add_summary(p)
    return p


def run(options: argparse.Namespace, bare: bool = False) -> int:
    """The status. bare: nothing is asked for, so the demo will do where there is nothing to see. Raises KvmtopError."""
    from ..model.selection import Selection
    from . import headless, requests, screen, sources
    from .outputs import Outputs
    from .run import Metrics, Run

    outputs = Outputs(options.dump, options.kvm, options.record, options.json, options.csv, options.stacks)
    inputs = {"what --guest-kallsyms reads": options.guest_kallsyms, "what --memory-map reads": options.memory_map}
    outputs.check(inputs, options.batch)
    choice = requests.rows(options.reason, options.sort, options.top, options.idle)
    selection = Selection.of(options.vm)
    labels = requests.labels(options.guest_kallsyms, options.memory_map)
    details = requests.details(options.event, options.slow, options.pid, bool(options.stacks))
    schedule = headless.Schedule(options.interval or 1.0, options.duration)
    start: Callable[[], Source] = partial(sources.host, options.pid, selection, details, options.record)
    if bare:
        try:
            source = sources.host_with_vms()
        except KvmtopError as why:
            tell(f"{why}. This is the demo, a recording of another host.")
            return demo.run(demo.parser().read([]))
        start = lambda: source  # noqa: E731
    plain = options.batch or outputs.streamed or bool(outputs.stacks) or not screen.able()
    # Without a screen, tables are.
    written = options.batch or not (outputs.programs or outputs.stacks or options.openmetrics)
    if plain:
        tables = headless.Tables(labels, choice, options.event, bool(options.slow)) if written else None
        show = partial(headless.follow, schedule=schedule, tables=tables)
    else:
        config = arguments.dashboard(options)
        if options.interval is None and not (outputs.programs or options.record or options.openmetrics):
            schedule = headless.Schedule(config.preferences.number("interval"), options.duration)
        show = partial(
            screen.dashboard,
            schedule=schedule,
            details=details,
            labels=labels,
            choice=choice,
            outputs=outputs,
            config=config,
        )
    metrics = None
    if options.openmetrics:
        service = plain and not written and not outputs.streamed and not outputs.stacks
        metrics = Metrics(options.openmetrics, service, fresh=service and not outputs.programs, told=plain)
    return Run(start, show, outputs, metrics, labels, choice).status()
