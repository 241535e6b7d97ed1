"""QEMU's own map of a guest's memory and ports: the monitor's `info mtree -f`, or `info mtree`.

The text comes from another process, so it is taken as hostile: bounded, and its names cleaned. Its form: mtree_info()
and mtree_print_mr() in QEMU's softmmu/memory.c (system/memory.c since 8.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import bounded
from ..errors import KvmtopError
from ..sanitize import clean

MOST = 4 << 20  # bytes that are read; a q35 machine with two disks and a network has 20,000
STEPS = 5_000  # regions that one look-up may visit: aliases may form a ring
_DEPTH = 40
_SPACE = re.compile(r'address-space: (.+)| AS "([^"]+)", root: ')
_TARGET = re.compile(r"memory-region: (.+)")
_REGION = re.compile(r"( {1,200})([0-9a-f]{8,16})-([0-9a-f]{8,16}) \(prio (-?\d{1,10}), [^)]{1,30}\): (.{1,400})")
_ALIAS = re.compile(r"alias .*? @(.+) ([0-9a-f]{8,16})-[0-9a-f]{8,16}")
# What follows a name: its offset in the region, that KVM maps it, and with -o whose it is.
_AFTER = re.compile(r"(?: @[0-9a-f]{8,16})?(?: KVM)?(?: (?:owner|parent):\{.*)?$")
_EMPTY = {"system", "memory", "io", "pci"}  # containers: nothing answers there


@dataclass
class _Region:
    first: int
    last: int
    priority: int
    name: str
    enabled: bool = True
    alias: tuple[str, int] | None = None  # another region, and where in it
    inner: list[_Region] = field(default_factory=list)

    def at(self, address: int) -> Iterator[_Region]:
        """The inner regions that an address may mean, in QEMU's order of priority, small ones first."""
        found = [r for r in self.inner if r.enabled and r.first <= address <= r.last]
        yield from sorted(found, key=lambda r: (-r.priority, r.last - r.first))


class MemoryMap:
    """Which region of a machine answers at a guest-physical address or a port."""

    def __init__(self, spaces: Mapping[str, _Region], targets: Mapping[str, _Region]) -> None:
        self._spaces = spaces
        self._targets = targets

    @classmethod
    def read(cls, path: Path) -> MemoryMap:
        """A file with what the monitor said. Raises KvmtopError."""
        why = "is not what QEMU's monitor says to `info mtree -f`"
        found = cls.parse(bounded.whole(path, MOST, f"it {why}").decode(errors="replace"))
        if not found:
            raise KvmtopError(f"{path} {why}", 2)
        return found

    def __bool__(self) -> bool:
        return bool(self._spaces)

    @classmethod
    def parse(cls, text: str) -> MemoryMap:
        """Read what the monitor said. Lines of any other form are passed over; never raises."""
        spaces: dict[str, _Region] = {}
        targets: dict[str, _Region] = {}
        trail: list[tuple[int, _Region]] = []  # the regions around the next line, with their indentation
        within = False  # among the lines of a section, not of its heading
        for line in text[:MOST].splitlines():
            if heading := _SPACE.fullmatch(line[:300]) or _SPACE.match(line[:300]) or _TARGET.fullmatch(line[:300]):
                if within or not trail:
                    trail, within = [(0, _Region(0, (1 << 64) - 1, 0, ""))], False
                found = spaces if heading.re is _SPACE else targets
                found.setdefault(clean(next(filter(None, heading.groups()))), trail[0][1])
            elif line.startswith("FlatView #"):
                trail = []
            elif trail and (match := _REGION.fullmatch(line)):
                within = True
                while len(trail) > 1 and trail[-1][0] >= len(match[1]):
                    trail.pop()
                region = _region(match)
                trail[-1][1].inner.append(region)
                trail.append((len(match[1]), region))
        return cls(spaces, targets)

    def name(self, address: int) -> str:
        """The most specific region at a guest-physical address ("virtio-pci-notify-virtio-blk"); "" if none."""
        return self._look("memory", address)

    def port(self, number: int) -> str:
        """The most specific region at an I/O port ("acpi-tmr"); "" if none."""
        return self._look("I/O", number)

    def _look(self, space: str, address: int) -> str:
        root = self._spaces.get(space)
        return self._resolve(root, address, 0, iter(range(STEPS))) if root else ""

    def _resolve(self, region: _Region, address: int, depth: int, steps: Iterator[int]) -> str:
        """The region's part at an address in its own container's terms, as memory_region_find() would."""
        if depth > _DEPTH or next(steps, None) is None:
            return ""
        for inner in region.at(address):
            if name := self._resolve(inner, address, depth + 1, steps):
                return name
        if region.alias:
            target = self._targets.get(region.alias[0])
            if target and target.inner:
                whole = target.inner[0]
                return self._resolve(whole, whole.first + region.alias[1] + address - region.first, depth + 1, steps)
        return "" if region.name in _EMPTY else region.name


def _region(match: re.Match[str]) -> _Region:
    """The region of a line; an alias goes by the name of what it stands for, as in the flat view."""
    text = match[5].removesuffix(" [disabled]")
    alias = _ALIAS.match(text)
    name = clean(alias[1] if alias else _AFTER.sub("", text))
    return _Region(
        int(match[2], 16),
        int(match[3], 16),
        int(match[4]),
        name,
        enabled=not match[5].endswith(" [disabled]"),
        alias=(name, int(alias[2], 16)) if alias else None,
    )
