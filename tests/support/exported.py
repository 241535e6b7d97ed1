"""What --json and --csv write, read again."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema

import kvmtop

from .fake import SECOND, Host

SCHEMA = json.loads((Path(kvmtop.__file__).parent / "output" / "schema.json").read_text())

Object = dict[str, Any]


def a_second(host: Host) -> None:
    """What the vCPUs 101, 102 and 201 do in a second; each is in the guest for the rest of it."""
    host.now += SECOND
    host.exits(101, 0x72, *[2_000] * 1200)
    host.exits(101, 0x7B, *[40_000] * 300, user=30_000)
    host.exits(102, 0x78, SECOND // 2)
    host.exits(201, 0x9, 1_000_000, 1_000_000)
    for tid, inside in ((101, SECOND - 14_400_000), (102, SECOND // 2), (201, SECOND - 2_000_000)):
        host.vcpus[tid].states["guest"] += inside


def closed(schema: Any) -> Any:
    """The schema, with no other keys than those it describes."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    return {**found, "additionalProperties": False} if isinstance(found.get("properties"), dict) else found


VALIDATOR = jsonschema.Draft202012Validator(closed(SCHEMA), format_checker=jsonschema.FormatChecker())


def lines(text: str) -> list[Object]:
    """The objects of a stream, each as the schema wants it."""
    assert text.endswith("\n")
    assert text.isascii()
    found = [json.loads(line) for line in text.removesuffix("\n").split("\n")]
    for line in found:
        VALIDATOR.validate(line)
    return found


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV with its titles."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


LIVE_ONLY = ("time", "kvmtop", "recording", "counted_by", "touched", "slow", "polling", "profile", "findings", "apic")


def counters(text: str) -> list[Object]:
    """What a replay has in common with its live run."""
    found = [{name: value for name, value in line.items() if name not in LIVE_ONLY} for line in lines(text)]
    for line in found:
        for vm in line.get("vms", ()):
            for name in LIVE_ONLY:
                vm.pop(name, None)
    return found
