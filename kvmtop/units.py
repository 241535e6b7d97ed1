"""Numbers as people read them, in few characters and never without their unit."""

from __future__ import annotations

import math
from collections.abc import Sequence

DASH = "–"  # unknown, which is not zero


def _three(value: float) -> str:
    """Three significant digits without an exponent: 1.23, 12.3, 123."""
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def number(value: float | None) -> str:
    """A count: 0, 999, 12.3k, 4.57M."""
    if value is None:
        return DASH
    if value < 999.5:
        return f"{value:.0f}"
    for unit in "kMGT":
        value /= 1000
        if value < 999.5 or unit == "T":
            return f"{_three(value)}{unit}"
    raise AssertionError


def rate(value: float | None) -> str:
    """Events a second: 0, 0.3, 47, 12.3k."""
    return f"{value:.1f}" if value is not None and 0 < value < 9.95 else number(value)


def duration(ns: float | None) -> str:
    """A time: 870ns, 4.10µs, 1.20ms, 12.0s, 2m05s."""
    if ns is None:
        return DASH
    if ns < 999.5:
        return f"{ns:.0f}ns" if ns else "0"
    for unit in ("µs", "ms"):
        ns /= 1000
        if ns < 999.5:
            return f"{_three(ns)}{unit}"
    seconds = ns / 1000
    if seconds < 99.95:
        return f"{_three(seconds)}s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}m{seconds:02}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02}m"


def spoken(ns: float) -> str:
    """A time in a sentence, to the second: 34 s, 1 min 34 s, 2 h 5 min."""
    minutes, seconds = divmod(round(ns / 1e9), 60)
    if not minutes:
        return f"{seconds} s"
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def age(seconds: float) -> str:
    """A long time in a sentence: 45 min, 12 h, 7 d, 2.5 d."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.0f} s"


def size(amount: float) -> str:
    """Of memory, in bytes: 512B, 4.00KiB, 3.20GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 999.5 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.0f}B" if unit == "B" else f"{_three(amount)}{unit}"


def clock(ns: int) -> str:
    """How far on something is: 0:00:07, 12:34:56."""
    minutes, seconds = divmod(ns // 1_000_000_000, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def percent(share: float | None) -> str:
    """A share of 1: 0.0%, 12.3%, 100%. What is a hair below 0 has no sign: an event may be read some µs late."""
    if share is None:
        return DASH
    return f"{100 * share:z.1f}%" if share < 0.9995 else f"{100 * share:.0f}%"


_LEFT, _RIGHT = (0, 0x40, 0x44, 0x46, 0x47), (0, 0x80, 0xA0, 0xB0, 0xB8)  # dots of a column, from the ground


def sparkline(values: Sequence[float], width: int) -> str:
    """The last 2 * width values, two a character, dots from zero to the largest: a flat rate looks flat."""
    values = values[-2 * width :] if width > 0 else ()
    top = max(values, default=0)
    dots = [0 if value <= 0 else math.ceil(value / top * 4) for value in values]
    dots = [0] * (len(dots) % 2) + dots
    cells = (_LEFT[left] | _RIGHT[right] for left, right in zip(dots[::2], dots[1::2], strict=True))
    return "".join(chr(0x2800 + cell) if cell else " " for cell in cells).rjust(width)
