"""What a diagnosis says: for people in so many columns, and as one object for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from .. import units
from ..insight.diagnosis import Cause, Diagnosis
from ..model.provenance import HERE, Origin
from ..sanitize import clean
from .json_lines import head

FIELD = 11  # characters before what is said
WHERE = {"host": "on the host", "guest": "in the guest", "vm": "in the VM's definition"}


def _named(cause: Cause) -> str:
    return cause.vm.vm if cause.vm else ""


def _see(cause: Cause) -> str:
    """The command that shows the figures again; a VM's name as a shell takes it."""
    name = _named(cause)
    plain = name and all(letter.isalnum() or letter in "-_.@:+" for letter in name)
    return cause.rule.see.replace("{vm}", name if plain else "'" + name.replace("'", "'\\''") + "'")


def _evidence(cause: Cause) -> list[str]:
    return [*cause.finding.evidence, *filter(None, [cause.elsewhere])][:3]


def _gain(cause: Cause) -> str | None:
    """What would change."""
    cost = cause.finding.cost
    return f"at most {units.percent(cost)} of a vCPU's time would be free" if cost else None


def lines(diagnosis: Diagnosis, width: int = 80) -> Iterator[str]:
    """For people."""
    vms = len(diagnosis.vms)
    yield f"{vms} VM{'s' * (vms != 1)} watched for {diagnosis.seconds:.1f} s"
    yield ""
    for number, cause in enumerate(diagnosis.causes, 1):
        yield from _cause(number, cause, width)
        yield ""
    if not diagnosis.causes:
        yield "Nothing stands out."
        yield ""
    yield from _checked(diagnosis, width)


def _cause(number: int, cause: Cause, width: int) -> Iterator[str]:
    text = clean(cause.finding.text)
    yield from textwrap.wrap(f"{number}. {text[0].upper() if not cause.vm else text[0]}{text[1:]}", width)
    yield from _field("how sure", f"{cause.rule.confidence}: {cause.finding.rule}", width)
    for at, one in enumerate([*_evidence(cause), f"to see it again: {_see(cause)}"]):
        yield from _field("rests on" if not at else "", one, width)
    tries = [f"{WHERE[where]}: {words}" for where, words in asdict(cause.rule.remedy).items() if words]
    for at, one in enumerate(tries):
        yield from _field("try" if not at else "", one, width)
    if gain := _gain(cause):
        yield from _field("then", gain, width)
    yield from _field("but", f"not if it is this: {cause.rule.unless}", width)


def _field(name: str, text: str, width: int) -> Iterator[str]:
    indent = " " * (FIELD + 3)
    first = f"   {name:<{FIELD}}"
    # What is to be typed stays in one piece, as far as there is room.
    yield from textwrap.wrap(
        clean(text), width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False
    ) or [first]


def _checked(diagnosis: Diagnosis, width: int) -> Iterator[str]:
    clear = [one.rule.name for one in diagnosis.checked if one.state == "clear"]
    missed = [one for one in diagnosis.checked if one.state == "not looked at"]
    looked = ", ".join(f"{look.words} {seconds:.1f} s" for look, seconds in diagnosis.looks)
    wrapped = [f"Looked at: {looked}."]
    if clear:
        wrapped.append(f"Checked and clear: {', '.join(clear)} (kvmtop explain NAME says what each is).")
    by_reason: dict[str, list[str]] = {}
    for one in missed:
        by_reason.setdefault(one.why, []).append(one.rule.name)
    wrapped += [f"Not looked at: {', '.join(names)}: {why}." for why, names in by_reason.items()]
    for text in wrapped:
        yield from textwrap.wrap(clean(text), width, break_on_hyphens=False)


def as_json(diagnosis: Diagnosis, origin: Origin = HERE) -> str:
    """A line: one object, which schema.json describes."""
    begin = head("diagnosis", diagnosis.last, diagnosis.seconds, origin) if diagnosis.last else {"type": "diagnosis"}
    found: dict[str, Any] = {
        **begin,
        "seconds": round(diagnosis.seconds, 3),
        "vms": [{"name": clean(vm.vm), "pid": vm.number} for vm in diagnosis.vms],
        "causes": [_object(cause, diagnosis) for cause in diagnosis.causes],
        "checked": [{"rule": one.rule.name, "state": one.state, "why": one.why or None} for one in diagnosis.checked],
        "looks": [{"what": look.words, "seconds": round(seconds, 3)} for look, seconds in diagnosis.looks],
    }
    return json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n"


def _object(cause: Cause, diagnosis: Diagnosis) -> dict[str, Any]:
    one, rule = cause.finding, cause.rule
    return {
        "rule": rule.name,
        "vm": clean(_named(cause)) or None,
        "pid": one.scope.pid,
        "text": clean(one.text),
        "condition": one.rule,
        "cost": None if one.cost is None else round(one.cost, 6),
        "confidence": rule.confidence,
        "evidence": [{"figure": clean(figure), "see": clean(_see(cause))} for figure in _evidence(cause)],
        "try": {where: words or None for where, words in asdict(rule.remedy).items()},
        "gain": _gain(cause),
        "unless": rule.unless,
    }
