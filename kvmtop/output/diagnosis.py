"""What a diagnosis says: for people in so many columns, and as one object for programs.

What comes from outside in it (VMs' names, comms, symbols) has been cleaned where it was read.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from .. import units
from ..insight.diagnosis import Cause, Diagnosis
from ..insight.finding import Began
from ..model.provenance import HERE, Origin
from ..model.scope import Scope
from ..recording.moment import words
from ..sanitize import clean
from ..tables.price import short
from .json_lines import SENTENCE, head

FIELD = 11  # characters before what is said, behind three of margin


_EARLY = ": by then each VM had a cause that is certain, and nothing else was to be looked at, so it ended there"


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
    vms, others = len(diagnosis.vms), diagnosis.others
    compared = f", and {others} other{'s' * (others != 1)} to compare with" if others > 0 else ""
    yield f"{vms} VM{'s' * (vms != 1)} watched for {diagnosis.seconds:.1f} s{compared}"
    yield ""
    for number, cause in enumerate(diagnosis.causes, 1):
        yield from _cause(number, cause, width)
        yield ""
    if not diagnosis.causes:
        yield "Nothing stands out."
        yield ""
    yield from _checked(diagnosis, width)


def _cause(number: int, cause: Cause, width: int) -> Iterator[str]:
    yield from textwrap.wrap(f"{number}. {clean(cause.finding.text, SENTENCE)}", width)
    for at, one in enumerate(cause.rule.remedy.words):
        yield from _field("try" if not at else "", one, width)
    if gain := _gain(cause):
        yield from _field("then", gain, width)
    if cause.began:
        yield from _field("since", _since(cause.began), width)
    for at, one in enumerate([*_evidence(cause), f"to see it again: {_see(cause)}"]):
        yield from _field("rests on" if not at else "", one, width)
    yield from _field("how sure", f"{cause.rule.confidence}: {cause.finding.rule}", width)
    yield from _field("mind", cause.rule.unless, width)


def _since(began: Began) -> str:
    """In words that claim no more than was looked at."""
    later = f"and whenever it was looked at later ({began.moments} moments in all)"
    if began.before is None:
        return f"it held when the recording began, {words(began.held)}, {later}"
    return f"by the recording not yet at {words(began.before)}, but at {words(began.held)} {later}"


def _field(name: str, text: str, width: int) -> Iterator[str]:
    indent = " " * (FIELD + 3)
    first = f"   {name:<{FIELD}}"
    text = clean(text, SENTENCE)
    # What is to be typed stays in one piece, as far as there is room.
    yield from textwrap.wrap(text, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def _checked(diagnosis: Diagnosis, width: int) -> Iterator[str]:
    clear = [one.rule.name for one in diagnosis.checked if one.state == "clear"]
    missed = [one for one in diagnosis.checked if one.state == "not looked at"]
    looked = [
        f"{look.words} for {seconds:.1f} s{f' ({short(price)})' if price and look.kinds else ''}"
        for look, seconds, price in diagnosis.looks
    ]
    wrapped = [f"Looked at {'; '.join(looked)}{_EARLY * diagnosis.early}."]
    if clear:
        wrapped.append(f"Checked and clear: {', '.join(clear)} (kvmtop explain NAME says what each is).")
    by_reason: dict[str, list[str]] = {}
    for one in missed:
        by_reason.setdefault(one.why, []).append(one.rule.name)
    wrapped += [f"Not looked at: {', '.join(names)}: {why}." for why, names in by_reason.items()]
    if diagnosis.since_unknown:
        wrapped.append(f"Since when is not known: {clean(diagnosis.since_unknown, SENTENCE)}.")
    for text in wrapped:
        yield from textwrap.wrap(text, width, break_on_hyphens=False)


def as_json(diagnosis: Diagnosis, origin: Origin = HERE) -> str:
    """A line: one object, which schema.json describes."""
    assert diagnosis.last, "there was a reading"
    found: dict[str, Any] = {
        **head("diagnosis", diagnosis.last, max(diagnosis.seconds, 1e-9), origin),
        "seconds": round(diagnosis.seconds, 3),
        "vms": [{"name": clean(vm.vm), "pid": vm.number} for vm in diagnosis.vms],
        "causes": [_object(cause, diagnosis) for cause in diagnosis.causes],
        "checked": [{"rule": one.rule.name, "state": one.state, "why": one.why or None} for one in diagnosis.checked],
        "looks": [
            {
                "what": look.words,
                "seconds": round(seconds, 3),
                "added_exit_ns": _ns(price.added_exit_ns if price else None),
                "added_switch_ns": _ns(price.added_switch_ns if price else None),
            }
            for look, seconds, price in diagnosis.looks
        ],
    }
    return json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n"


def _began(began: Began) -> dict[str, Any]:
    held, before = (one and datetime.fromtimestamp(one, UTC).isoformat() for one in (began.held, began.before))
    return {"held": held, "not_yet": before, "moments": began.moments}


def _name_of(diagnosis: Diagnosis, scope: Scope) -> str | None:
    vm = diagnosis.last.vms.get(scope.pid or 0) if diagnosis.last else None
    return clean(vm.name) if vm and vm.name else None


def _ns(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _object(cause: Cause, diagnosis: Diagnosis) -> dict[str, Any]:
    found, rule = cause.finding, cause.rule
    return {
        "rule": rule.name,
        "vm": clean(_named(cause)) or None,
        "pid": found.scope.pid,
        "other": found.other and {"vm": _name_of(diagnosis, found.other), "pid": found.other.pid},
        "text": clean(found.text, SENTENCE),
        "condition": found.rule,
        "cost": None if found.cost is None else round(found.cost, 6),
        "confidence": rule.confidence,
        "evidence": [
            {"figure": clean(figure, SENTENCE), "see": clean(_see(cause), SENTENCE)} for figure in _evidence(cause)
        ],
        "try": {where: what or None for where, what in asdict(rule.remedy).items()},
        "gain": _gain(cause),
        "since": cause.began and _began(cause.began),
        "unless": rule.unless,
    }
