"""`kvmtop list`: the VMs of this host, with all their names."""

from __future__ import annotations

import argparse
import json
import sys

from ..errors import KvmtopError
from .arguments import Parser

SUMMARY = "name the VMs that run here"


def parser() -> Parser:
    """Its options."""
    p = Parser("list", SUMMARY)
    p.add_argument("--json", action="store_true", help="a list of objects: pid, vcpus, name, aliases")
    return p


def run(options: argparse.Namespace) -> int:
    """The status. Raises KvmtopError where there is none."""
    from ..host import processes
    from .sources import running

    found = running()
    if not found:
        raise KvmtopError(
            processes.namespace()
            or "no VM runs here, or this user may not see it (run as root): no process has a KVM vCPU"
        )
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if options.json:
        objects = [{"pid": vm.pid, "vcpus": count, "name": vm.name, "aliases": vm.aliases} for vm, count in found]
        print(json.dumps(objects, indent=2))
        return 0
    print(f"{'PID':>7} {'VCPUS':>5} NAME")
    for vm, count in found:
        others = f" ({', '.join(vm.aliases)})" if vm.aliases else ""
        print(f"{vm.pid:>7} {count:>5} {vm.name}{others}")
    return 0
