"""`kvmtop diagnose`: what costs the VMs of this host time, why, and what to try."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KvmtopError, show, tell
from ..recording.always import ALWAYS
from . import arguments
from .arguments import STDOUT, Parser

if TYPE_CHECKING:
    from ..ending import Ending
    from ..insight.diagnosis import Doctor
    from ..model.source import Source

SUMMARY = "what costs VMs time, why, and what to try"
FOUND = 3  # the status where something stands out
SECONDS = 20.0
EXAMPLES = f"""\
It counts exits first, then looks closer at what the counters point to, each for
some seconds, at the VMs in question.

The status is 0 if nothing stands out, {FOUND} if something does.
"""


def parser() -> Parser:
    """Its options."""
    p = Parser("diagnose", SUMMARY, EXAMPLES)
    p.add_argument(
        "-T",
        "--duration",
        type=arguments.seconds(2),
        default=SECONDS,
        metavar="S",
        help=f"seconds that it may take (default {SECONDS:g})",
    )
    p.add_argument(
        "--json",
        nargs="?",
        const=STDOUT,
        type=arguments.file_name,
        metavar="FILE",
        help="an object for programs, on standard output or in FILE",
    )
    p.add_argument(
        "--earlier",
        type=Path,
        metavar="DIR",
        help=f"a recording of this host, to say since when it is so (default: {ALWAYS}, if it can be read)",
    )
    arguments.add_vms(p)
    arguments.add_names(p)
    arguments.add_config(p)
    return p


def run(options: argparse.Namespace) -> int:
    """0 if nothing stands out, FOUND if something does. Raises KvmtopError, and OSError of standard output."""
    from ..ending import Ending
    from ..insight.diagnosis import Doctor
    from ..insight.earlier import since_when
    from ..model.selection import Selection
    from ..output import diagnosis as output
    from ..output import summary
    from . import requests, sources
    from .outputs import Outputs

    inputs = {"what --guest-kallsyms reads": options.guest_kallsyms, "what --memory-map reads": options.memory_map}
    Outputs(json=options.json).check(inputs)
    labels = requests.labels(options.guest_kallsyms, options.memory_map)
    limits = arguments.config(options).preferences.limits
    selection = Selection.of(options.vm)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    sources.some_vm(selection)
    running = {vm.pid for vm, _ in sources.running()}
    for pid in options.pid:
        if pid not in running:
            raise KvmtopError(f"process {pid} is no VM of this host; `kvmtop list` names them", 2)
    doctor = Doctor(
        options.duration,
        labels,
        limits,
        lambda vm: selection.matches(vm) and (not options.pid or vm.pid in options.pid),
    )
    source = sources.host()
    try:
        with Ending() as ending:
            _watch(source, doctor, ending)
    finally:
        source.close()
    found = doctor.conclude()
    if not found.looks:
        raise KvmtopError("it ended before its second reading, so nothing is known")
    try:
        found = since_when(found, options.earlier, limits)
    except KvmtopError as error:  # nothing of the rest is lost
        found = replace(found, since_unknown=str(error))
        if options.json:
            tell(f"since when is not known: {error}")
    if options.json:
        text = output.as_json(found, source.origin)
        if options.json != STDOUT:
            try:
                summary.write(Path(options.json), text)
            except OSError as error:
                raise KvmtopError(f"cannot write {options.json}: {error.strerror}") from None
    else:
        width = min(shutil.get_terminal_size().columns, 100)
        text = "".join(f"{line}\n" for line in output.lines(found, width))
    if not options.json or options.json == STDOUT:
        sys.stdout.write(text)
        sys.stdout.flush()
    return FOUND if found.causes else 0


def _watch(source: Source, doctor: Doctor, ending: Ending) -> None:
    """Until the time is over, or a signal ends it. Raises KvmtopError."""
    from .headless import Schedule

    try:
        doctor.add(source.read())
        for snapshot in Schedule(1.0).readings(source, ending):
            doctor.add(snapshot)
            if doctor.starting and source.trouble:
                doctor.skip(source.trouble)
            if doctor.done:
                break
            source.look(doctor.request)
            show(f"{doctor.now}: {doctor.left:.0f} s left" + " after that" * doctor.starting)
    finally:
        show("")
