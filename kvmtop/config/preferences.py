"""What can be set, its defaults, and what a file says of it."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from ..insight.finding import USUAL, Limits
from ..sanitize import clean
from ..tables import exit_reasons, vcpus

Value = bool | float | str | tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One line of the file. name: with its table before a dot; words: what it decides, and what it may be."""

    name: str
    default: Value
    words: str
    check: Callable[[object], Value]  # what a file's value stands for; raises ValueError: why it is none

    @property
    def table(self) -> str:
        """Empty where it is in none."""
        return self.name.rpartition(".")[0]

    @property
    def key(self) -> str:
        """Its name in its table."""
        return self.name.rpartition(".")[2]


def _number(name: str, default: float, words: str, least: float, most: float) -> Setting:
    def check(value: object) -> Value:
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        raise ValueError(f"is not a number from {least:g} to {most:g}")

    return Setting(name, default, f"{words}; {least:g} to {most:g}", check)


def _switch(name: str, default: bool, words: str) -> Setting:
    def check(value: object) -> Value:
        if isinstance(value, bool):
            return value
        raise ValueError("is neither true nor false")

    return Setting(name, default, words, check)


def _one(name: str, default: str, words: str, names: Collection[str]) -> Setting:
    def check(value: object) -> Value:
        if isinstance(value, str) and value in names:
            return value
        raise ValueError(f"is none of {', '.join(names)}")

    return Setting(name, default, f"{words}: {', '.join(names)}", check)


def _some(name: str, words: str, names: Sequence[str]) -> Setting:
    """The first of the names is always among them."""

    def check(value: object) -> Value:
        if not isinstance(value, list):
            raise ValueError("is no list of names")
        if wrong := [one for one in value if not isinstance(one, str) or one not in names]:
            raise ValueError(f"has {_quoted(str(wrong[0]))}, which is none of {', '.join(names)}")
        return tuple(dict.fromkeys([names[0], *value])) if value else ()

    return Setting(name, (), f"{words}: some of {', '.join(names)}; [] is kvmtop's choice", check)


_OF_A_VCPU = "% of a vCPU's time"
LIMITS = {
    "user": f"{_OF_A_VCPU} on a CPU in the VMM",
    "blocked": f"{_OF_A_VCPU} asleep, not halted",
    "wait": f"{_OF_A_VCPU} ready to run, but its CPU is busy",
    "throttled": f"{_OF_A_VCPU} ready to run, but its quota is used up",
    "kernel": f"{_OF_A_VCPU} in KVM",
    "nesting": f"{_OF_A_VCPU} between exits and entries of its guest's guests",
    "polling": "% of a CPU spent on halt polling most of which misses",
    "cause": f"{_OF_A_VCPU} for one thing that a guest does, such as reading a clock",
}


def limits_of(values: Mapping[str, float]) -> Limits:
    """From settings."""
    return Limits(**{name: value / 100 for name, value in values.items()})


def settings_of(limits: Limits) -> dict[str, float]:
    """The other way round."""
    return {name: round(getattr(limits, name) * 100, 6) for name in LIMITS}


def _limit(name: str, words: str) -> Setting:
    return _number(f"findings.{name}", settings_of(USUAL)[name], words, 0, 100)


REASONS = tuple(column.key for column in exit_reasons.COLUMNS)
PANES = ("reasons", "vms", "time", "findings", "lower")  # the first is always there
VMS = tuple(column.key for column in vcpus.COLUMNS)
# Ours and Textual's, which must not be imported yet: commands/screen.py keeps it from the environment first.
THEMES = tuple(
    "dark light ansi-dark ansi-light atom-one-dark atom-one-light catppuccin-frappe catppuccin-latte"  # noqa: SIM905
    " catppuccin-macchiato catppuccin-mocha dracula flexoki gruvbox monokai nord rose-pine rose-pine-dawn"
    " rose-pine-moon solarized-dark solarized-light textual-dark textual-light tokyo-night".split()
)

SETTINGS = (
    _number("interval", 1.0, "seconds between two readings of a live host", 0.1, 3600),
    _one("sort", "time", "the column by which the reasons are sorted", REASONS),
    _switch("reverse", False, "sort the other way round"),
    _switch("idle", False, "idle reasons among the others, not after them"),
    _one("theme", "dark", "the colours", THEMES),
    _some("panes", "what there is on the screen where there is room", PANES),
    _some("columns.reasons", "columns of the exit reasons, from the left", REASONS),
    _some("columns.vms", "columns of the VMs and vCPUs, from the left", VMS),
    *(_limit(*one) for one in LIMITS.items()),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}
_TABLES = {setting.table: "" for setting in SETTINGS if setting.table}


@dataclass(frozen=True)
class Preferences:
    """The settings that a file has; the others are at their defaults."""

    values: Mapping[str, Value]

    def but(self, **values: Value) -> Preferences:
        """With other values of settings that are in no table."""
        return Preferences({**self.values, **values})

    def number(self, name: str) -> float:
        """One that is a number."""
        value = self._of(name)
        assert isinstance(value, int | float)
        return value

    def is_on(self, name: str) -> bool:
        """One that is true or false."""
        return bool(self._of(name))

    def word(self, name: str) -> str:
        """One that is a name."""
        return str(self._of(name))

    def words(self, name: str) -> tuple[str, ...]:
        """One that is a list of names."""
        value = self._of(name)
        assert isinstance(value, tuple)
        return value

    @property
    def limits(self) -> Limits:
        """Those of findings."""
        return limits_of({name: self.number(f"findings.{name}") for name in LIMITS})

    def _of(self, name: str) -> Value:
        return self.values.get(name, BY_NAME[name].default)

    def text(self) -> str:
        """All settings as a file, with what they mean."""
        lines, table = ["# How kvmtop's dashboard looks; `kvmtop config` checks this file."], ""
        for setting in SETTINGS:
            if setting.table != table:
                table = setting.table
                lines += ["", f"[{table}]"]
            lines += [f"# {line}" for line in textwrap.wrap(setting.words, 98, break_on_hyphens=False)]
            lines.append(f"{setting.key} = {_toml(self._of(setting.name))}")
        return "\n".join(lines) + "\n"


def read(document: Mapping[str, object], text: str) -> tuple[Preferences, list[str]]:
    """What a file says, and a sentence for each line of it that is wrong. text: the file, to find that line in."""
    values: dict[str, Value] = {}
    wrong: list[str] = []
    for name, found in _flat(document).items():
        setting = BY_NAME.get(name)
        if not setting:
            wrong.append(f"{_line(text, name)}there is no setting {_quoted(name)}{_instead(name)}")
            continue
        try:
            values[name] = setting.check(found)
        except ValueError as why:
            wrong.append(f"{_line(text, name)}{name} {why}; {_toml(setting.default)} is taken")
    return Preferences(values), wrong


def _flat(document: Mapping[str, object]) -> dict[str, object]:
    """By name; a table that there is not counts as one setting."""
    found: dict[str, object] = {}
    for key, value in document.items():
        if key in _TABLES and isinstance(value, dict):
            found |= {f"{key}.{inner}": one for inner, one in value.items()}
        else:
            found[key] = value
    return found


def _line(text: str, name: str) -> str:
    """Where it is; empty where that is not obvious."""
    wanted, table = name.rpartition(".")[0::2], ""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            table = match[1]
            if table == name:
                return f"line {number}: "
        elif (match := re.match(r"\s*([\w-]+)\s*=", line)) and (table, match[1]) == (wanted[0], wanted[1]):
            return f"line {number}: "
    return ""


def _instead(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name[:40], BY_NAME, 1, 0.7)
    return f": did you mean {close[0]}?" if close else " (kvmtop config lists them)"


def _quoted(name: str) -> str:
    return repr(clean(name)[:40])


def _toml(value: Value) -> str:
    """As TOML has it."""
    if isinstance(value, float):
        return f"{value:g}" if value.is_integer() or not math.isfinite(value) else repr(value)
    return json.dumps(value, ensure_ascii=False)
