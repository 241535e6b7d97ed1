"""One loaded C file: its programs on their tracepoints, its maps."""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import KvmtopError
from . import loader, syscalls
from .run_time import Runs
from .tracepoint import Tracefs


@dataclass(frozen=True)
class Probe:
    """A function of the C file, and the tracepoint that it is for.

    kind: classic, raw, typed or sample, as syscalls.load has them; type_id: of a typed one. A sample has no
    tracepoint: it is for perf's clock, `frequency` times a second on each CPU that is online.
    """

    category: str
    name: str
    function: str
    kind: str = "classic"
    type_id: int = 0
    frequency: int = 0


class Probes:
    """Loaded at construction; runs between attach() and detach()."""

    def __init__(
        self,
        source: Path,
        flags: Sequence[str],
        probes: Sequence[Probe],
        maps: Sequence[str],
        shared: Mapping[str, int] | None = None,
        run: Sequence[str] = (),
    ) -> None:
        """shared: descriptors of another's maps, to be used for those of the same names; run: functions for run().

        Raises KvmtopError where this machine cannot do it.
        """
        programs = {probe.function: (probe.kind, probe.type_id) for probe in probes}
        loaded = loader.load(source, flags, programs | dict.fromkeys(run, ("raw", 0)), maps, shared or {})
        self.maps, self._programs, self._probes = loaded.maps, loaded.programs, probes
        self._links: dict[str, list[int]] = {}  # by function

    def attach(self, tracefs: Tracefs, functions: Container[str] | None = None) -> None:
        """Attach these functions (all without), in order; all of them or, where one fails, none. Raises KvmtopError."""
        wanted = [probe for probe in self._probes if functions is None or probe.function in functions]
        for probe in wanted:
            try:
                self._attach(tracefs, probe, self._links.setdefault(probe.function, []))
            except OSError as error:
                self.detach({one.function for one in wanted})
                why = loader.explanation(str(error))
                raise KvmtopError(
                    f"KVM was unloaded just now, with its {probe.name}: load it, and start again"
                    if isinstance(error, FileNotFoundError)
                    else f"the kernel refuses a probe at {probe.category}:{probe.name}: {why}"
                ) from None

    def _attach(self, tracefs: Tracefs, probe: Probe, links: list[int]) -> None:
        program = self._programs[probe.function]
        if probe.kind == "sample":
            for cpu in syscalls.online_cpus():
                links.append(syscalls.attach_sample(program, probe.frequency, cpu))
        elif probe.kind == "typed":
            links.append(syscalls.attach_typed(program))
        elif probe.kind == "raw":
            links.append(syscalls.attach_raw(probe.name, program))
        else:
            links.append(syscalls.attach(tracefs.number(probe.category, probe.name), program))

    @property
    def attached(self) -> frozenset[str]:
        """The functions that are."""
        return frozenset(self._links)

    def runs(self) -> dict[Probe, Runs]:
        """Of those that are attached, as far as the kernel measured them; one for each function."""
        mine = {probe.function: probe for probe in reversed(self._probes)}
        return {mine[name]: Runs(*syscalls.runs(self._programs[name])) for name in self._links}

    def run(self, function: str, *arguments: int) -> int:
        """Run a function now; what it returns. Raises OSError where the kernel cannot (before 5.10)."""
        return syscalls.run(self._programs[function], *arguments)

    def detach(self, functions: Container[str] | None = None) -> None:
        """Take these functions (all without) off their tracepoints, those that are attached, in order."""
        for function in [*self._links]:
            if functions is None or function in functions:
                for fd in self._links.pop(function):
                    os.close(fd)

    def close(self) -> None:
        """Free the programs and the maps."""
        self.detach()
        for fd in (*self._programs.values(), *self.maps.values()):
            os.close(fd)
        self._programs, self.maps = {}, {}
