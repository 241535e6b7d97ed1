"""A trace as JSON in the Trace Event Format, which ui.perfetto.dev, chrome://tracing and speedscope open.

The format: "Trace Event Format" (Chrome's, 2016), JSON Object Format. Times are µs with three decimals, from the
beginning of the trace. A VM is a process, a vCPU one of its threads; the host's CPUs are a process of their own.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..host.tracing import Trace
from ..insight.timeline import KernelSlices, clipped, guests, joined, touching
from ..model.arrays import I64, Array
from ..model.keys import unpack
from ..model.reasons import HLT, is_one_of
from ..model.timeline import A_TASK, AN_INTERRUPT, EXIT, NO_REASON, RAN, SPAN
from ..model.vocabulary import KINDS, NESTED, REFLECTED, STATES
from ..reference.labels import Labels
from ..sanitize import clean

CPUS = 1 << 22  # the pid of the process that the CPUs are in, and its threads' tids from there on: PID_MAX_LIMIT
BINS = 500  # of the counters, at most; none is shorter than SHORTEST
SHORTEST = 1_000_000  # ns
WAIT = STATES.index("wait")
NO_NAME = '"outside the guest"'  # without an exit that was seen

Write = Callable[[str], object]


@dataclass
class Around:
    """Only what is around exits that took so long (ns); idle ones do not count."""

    ns: int
    slow_ns: int


@dataclass
class Written:
    """What a trace has in it."""

    exits: int = 0
    slow: int | None = None  # exits that it is around of, if it is around any
    vms: int = 0


@dataclass
class _Seen:
    """What must be known of all records before the first is written."""

    stretches: I64  # to be written
    slow: int
    cpus: set[int] = field(default_factory=set)  # that the chosen vCPUs had
    counts: dict[int, I64] = field(default_factory=dict)  # exits by pid, in bins
    bin_ns: int = SHORTEST


def write(trace: Trace, pids: Collection[int], labels: Labels, around: Around | None, out: Write) -> Written:
    """Write what there is of the VMs of these processes; memory does not grow with the trace. Raises OSError."""
    seen = _first(trace, pids, around)
    done = Written(slow=seen.slow if around else None, vms=len(pids))
    out('{"displayTimeUnit":"ns","traceEvents":[\n')
    out(",\n".join(_names(trace, pids, seen)))
    kernel, words = KernelSlices(), lru_cache(4096)(partial(_exit, trace, labels))
    for exits, spans in trace.records:
        slices = list(_slices(trace, _of(exits, pids), spans, pids, words, kernel, seen))
        done.exits += sum(one.kind == "exit" and one.name != NO_NAME for one in slices)
        out("".join(f",\n{event}" for event in _events(slices)))
    for part in _counters(trace, seen):
        out(f",\n{part}")
    out(f'\n],"otherData":{json.dumps(_about(trace, around, done))}}}\n')
    return done


def _of(rows: Array, pids: Collection[int]) -> Array:
    return rows[np.isin(unpack(rows["id"])[0], np.array(list(pids), "u8"))]


def _ended(trace: Trace, exits: Array) -> Array:
    """Those that both begin and end in the trace."""
    return exits[(exits["number"] > 0) & (exits["begin_ns"] >= trace.start_ns) & (exits["end_ns"] <= trace.stop_ns)]


def _first(trace: Trace, pids: Collection[int], around: Around | None) -> _Seen:
    length = trace.stop_ns - trace.start_ns
    seen = _Seen(np.array([[trace.start_ns, trace.stop_ns]], "i8"), 0, bin_ns=max(SHORTEST, -(-length // BINS)))
    found = [np.zeros((0, 2), "i8")]
    for exits, spans in trace.records:
        mine, theirs = _of(exits, pids), _of(spans, pids)
        for rows in (mine, theirs):
            seen.cpus |= set(np.unique(clipped(rows, trace.start_ns, trace.stop_ns)["cpu"]).tolist())
        begun = mine[(mine["begin_ns"] >= trace.start_ns) & (mine["begin_ns"] < trace.stop_ns)]
        begun = begun[begun["reason"] != NO_REASON]
        owner = unpack(begun["id"])[0]
        for pid in np.unique(owner).tolist():
            at = (begun["begin_ns"][owner == pid] - np.uint64(trace.start_ns)) // np.uint64(seen.bin_ns)
            counts = np.bincount(at.astype("i8"), minlength=-(-length // seen.bin_ns))
            seen.counts[pid] = seen.counts.get(pid, 0) + counts
        if around:
            long = _ended(trace, mine)
            ns = (long["end_ns"] - long["begin_ns"]).astype("i8") - long["idle_ns"].astype("i8")
            long = long[(ns >= around.slow_ns) & ~is_one_of(long, HLT) & (long["reason"] != NO_REASON)]
            seen.slow += len(long)
            ends = np.stack([long["begin_ns"].astype("i8") - around.ns, long["end_ns"].astype("i8") + around.ns], 1)
            found = [joined(np.concatenate([*found, ends]))]
    if around:
        seen.stretches = found[0]
    return seen


def _names(trace: Trace, pids: Collection[int], seen: _Seen) -> Iterator[str]:
    def named(what: str, pid: int, tid: int, **args: object) -> str:
        return json.dumps({"ph": "M", "name": what, "pid": pid, "tid": tid, "args": args})

    yield named("process_name", CPUS, CPUS, name="CPUs")
    for cpu in sorted(seen.cpus):
        yield named("thread_name", CPUS, CPUS + cpu, name=f"CPU {cpu}")
        yield named("thread_sort_index", CPUS, CPUS + cpu, sort_index=cpu)
    for one, vcpu in trace.vcpus.items():
        pid, tid = unpack(one)
        if pid in pids:
            yield named("thread_name", pid, tid, name=f"vCPU {vcpu}")
            yield named("thread_sort_index", pid, tid, sort_index=vcpu)
    for pid in pids:
        yield named("process_name", pid, pid, name=_vm(trace, pid))


def _vm(trace: Trace, pid: int) -> str:
    vm = trace.vms.get(pid)
    return vm.name if vm else f"pid {pid}"


class _Slice(NamedTuple):
    """begin, end: ns since the trace began; depth: 0, or 1 in another slice."""

    begin: int
    end: int
    depth: int
    pid: int
    tid: int
    name: str  # JSON, as args
    kind: str
    args: str = ""


def _named(dtype: np.dtype[Any]) -> Any:
    """A type for what tolist() makes of rows."""
    return namedtuple("_named", dtype.names or ())


_Exit, _Span = _named(EXIT), _named(SPAN)
Words = Callable[..., tuple[str, str]]


def _slices(
    trace: Trace, exits: Array, spans: Array, pids: Collection[int], words: Words, kernel: KernelSlices, seen: _Seen
) -> Iterator[_Slice]:
    """Of records that came together."""
    start, stop = trace.start_ns, trace.stop_ns

    def wanted(rows: Array) -> Any:
        return rows[touching(rows, seen.stretches)].tolist()

    ran = clipped(spans[spans["state"] == RAN], start, stop)
    inside = clipped(_of(spans[spans["state"] != RAN], pids), start, stop)
    outside = clipped(exits, start, stop)
    for number, begin, end in wanted(guests(exits, start, stop)):
        yield _Slice(begin - start, end - start, 0, *_ids(number), '"guest"', "guest")
    for one in map(_Exit._make, wanted(outside)):
        name, args = words(one.isa, one.reason, one.kind, one.value, one.extra, one.rip, one.cpu, one.number > 0)
        yield _Slice(one.begin_ns - start, one.end_ns - start, 0, *_ids(one.id), name, "exit", args)
    for number, begin, end in wanted(kernel.add(outside, inside)):
        yield _Slice(begin - start, end - start, 1, *_ids(number), '"kernel"', "kernel")
    for one in map(_Span._make, wanted(inside)):
        state = STATES[one.state]
        yield _Slice(one.begin_ns - start, one.end_ns - start, 1, *_ids(one.id), f'"{state}"', state, _told(one))
    for one in map(_Span._make, wanted(ran)):
        if one.cpu in seen.cpus:
            pid, tid = unpack(one.id)
            name, args = _task(trace, one.id, one.comm), f'{{"pid":{pid},"tid":{tid}}}'
            yield _Slice(one.begin_ns - start, one.end_ns - start, 0, CPUS, CPUS + one.cpu, name, "ran", args)


def _ids(number: int) -> tuple[int, int]:
    """A thread's tgid and tid."""
    return unpack(number)


def _events(slices: Iterable[_Slice]) -> Iterator[str]:
    """Slices as pairs of events, in the order in which they can be followed.

    One event with a length ("X") would be less, but lengths are added up in floats: then one slice ends some 1e-12 µs
    after the next begins, and is drawn as if that were in it. speedscope ends by name alone.
    """
    found = list[tuple[int, int, int, str]]()
    for one in slices:
        where = f'"pid":{one.pid},"tid":{one.tid},"ts":'
        args = one.args and f',"args":{one.args}'
        head = f'{{"ph":"B","name":{one.name},"cat":"{one.kind}",{where}{_us(one.begin)}{args}}}'
        found.append((one.begin, 1, one.depth, head))
        found.append((one.end, 0, -one.depth, f'{{"ph":"E","name":{one.name},{where}{_us(one.end)}}}'))
    return (text for *_, text in sorted(found))


def _us(ns: int) -> str:
    return f"{ns // 1000}.{ns % 1000:03d}"


def _exit(
    trace: Trace,
    labels: Labels,
    isa: int,
    reason: int,
    kind: int,
    value: int,
    extra: int,
    rip: int,
    cpu: int,
    over: bool,
) -> tuple[str, str]:
    """Its name, and what is told of it."""
    if reason == NO_REASON:
        return NO_NAME, ""
    name = trace.names.name(isa, reason)
    args: dict[str, object] = {"reason": name, "code": reason, "level": "L2" if isa & NESTED else "L1"}
    if isa & REFLECTED:
        args["given to"] = "L1"
    if isa & NESTED:  # symbols and memory map are the VM's own
        labels = Labels(labels.names)
    if kind and (what := KINDS[kind % len(KINDS)]):
        args["touched"] = labels.what(what, value, extra)
    if rip:
        args["rip"] = labels.what("rip", rip, 0)
    args["cpu"] = cpu
    if not over:
        args["ended"] = False
    return json.dumps(name), json.dumps(args)


def _told(one: Any) -> str:
    """What is told of a state."""
    args: dict[str, object] = {}
    if one.state == WAIT and one.withheld:
        args["of it throttled by a CPU quota, µs"] = one.withheld / 1000
    if one.by == A_TASK:
        pid, tid = unpack(one.waker)
        args["woken by"] = f"{_command(one.comm)} (pid {pid}, tid {tid})" if tid else "the idle CPU"
    elif one.by == AN_INTERRUPT:
        args["woken by"] = "an interrupt"
    return json.dumps(args) if args else ""


def _command(comm: bytes) -> str:
    return clean(comm.decode(errors="replace"))


def _task(trace: Trace, number: int, comm: bytes) -> str:
    """Who has a CPU: "web01 vCPU 1", else the command and its thread id."""
    pid, tid = unpack(number)
    if number in trace.vcpus:
        return json.dumps(f"{_vm(trace, pid)} vCPU {trace.vcpus[number]}")
    return json.dumps(f"{_command(comm)} {tid}")


def _counters(trace: Trace, seen: _Seen) -> Iterator[str]:
    """Exits per second, by VM."""
    for pid, counts in seen.counts.items():
        before = None
        for number, count in enumerate(counts.tolist()):
            begin = trace.start_ns + number * seen.bin_ns
            length = min(seen.bin_ns, trace.stop_ns - begin)
            at = np.searchsorted(seen.stretches[:, 1], begin, side="right")
            if at == len(seen.stretches) or seen.stretches[at, 0] >= begin + length:
                continue
            rate = round(count * 1e9 / length)
            if rate != before:
                yield (
                    f'{{"ph":"C","name":"exits/s","pid":{pid},"tid":{pid},"ts":{_us(begin - trace.start_ns)},'
                    f'"args":{{"exits/s":{rate}}}}}'
                )
            before = rate


def _about(trace: Trace, around: Around | None, done: Written) -> dict[str, object]:
    about: dict[str, object] = {
        "made by": "kvmtop trace",
        "began at (seconds since 1970)": trace.wall_ns / 1e9,
        "lasted (s)": (trace.stop_ns - trace.start_ns) / 1e9,
        "exits": done.exits,
        "exits lost": trace.lost.get("exits", 0),
        "switches and states lost": trace.lost.get("spans", 0),
        "exits without an entry, or the reverse": trace.missed,
    }
    if around:
        about |= {"slow exits": done.slow, "slow (ms)": around.slow_ns / 1e6, "around (ms)": around.ns / 1e6}
    return about
