"""From symptom to cause: the counters first, then a closer look in turn at what they point to, and all rules on that.

What a rule says that needs no closer look is taken from the time in which nothing but the counters was attached: else
kvmtop's own probes would be among what stands out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .. import units
from ..model.price import Price
from ..model.scope import Scope
from ..model.snapshot import Snapshot
from ..model.vocabulary import DetailRequest, Vm
from ..reference.labels import Labels
from .closer import Look, looks
from .finding import CERTAIN, USUAL, Began, Finding, Limits
from .findings import causes, found_in, of_each_vm
from .rules import BY_NAME, RULES
from .rules.rule import Rule, View
from .vcpus import VcpuRow

COUNTERS = Look("the counters", frozenset(), DetailRequest())
FIRST = 0.25  # of the time, for nothing but the counters
LEAST = 3.0  # seconds that each closer look takes: probes are attached and detached between two readings
PATIENCE = 10  # readings after which a look is not waited for any more
LATE = 2.0  # seconds that a reading may be late at no cost to the looks
TOLERANCE = 0.05  # seconds that a reading may be early
MOST_VMS = 64  # of which causes are looked for, those with the most time outside the guest first


@dataclass
class Stage:
    """A stretch in which one thing was looked at, from the first reading that shows it to the last."""

    look: Look
    first: Snapshot | None = None
    last: Snapshot | None = None
    asked: int = 0  # readings that do not show it yet

    @property
    def seconds(self) -> float:
        """So far."""
        return (self.last.time_ns - self.first.time_ns) / 1e9 if self.first and self.last else 0.0


@dataclass(frozen=True)
class Cause:
    """A finding with its rule, and of which VM it is. elsewhere: the same of the other VMs, in words; began: by a
    recording, if that knows it."""

    finding: Finding
    rule: Rule
    vm: VcpuRow | None
    elsewhere: str = ""
    began: Began | None = None


@dataclass(frozen=True)
class Checked:
    """What came of a rule: "found", "clear" or "not looked at", and then why not."""

    rule: Rule
    state: str
    why: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """What costs time, most first; what was checked; and for how many seconds it was looked at what."""

    seconds: float
    vms: Sequence[VcpuRow]
    causes: Sequence[Cause]
    checked: Sequence[Checked]
    looks: Sequence[tuple[Look, float, Price | None]]  # with what kvmtop's own programs took meanwhile
    last: Snapshot | None = None
    others: int = 0  # VMs that these were held against
    early: bool = False  # it ended before its time, since there was no more to find out
    since_unknown: str = ""  # why no recording says since when


@dataclass
class Doctor:
    """Reads snapshots in turn, says what shall be looked at meanwhile, and concludes when the time is over.

    seconds: that it looks in all, longer where a reading is late. What it takes to load the probes is not among them,
    and their share of the CPUs is in no figure.
    """

    seconds: float
    labels: Labels = field(default_factory=Labels)
    limits: Limits = USUAL
    wanted: Callable[[Vm], bool] = lambda vm: True  # whose causes are looked for; others are held against them

    def __post_init__(self) -> None:
        self._stages = [Stage(COUNTERS)]
        self._waiting: list[Look] = []
        self._missed: list[tuple[Look, str]] = []  # with why
        self.done = self.early = self._decided = False

    @property
    def request(self) -> DetailRequest | None:
        """What shall be looked at until the next reading."""
        look = self._stages[-1].look
        return None if look is COUNTERS else look.request

    @property
    def now(self) -> str:
        """What is done, in words."""
        look = self._stages[-1].look
        return f"{'loading the probes for' if self.starting and look is not COUNTERS else 'looking at'} {look.words}"

    def add(self, snapshot: Snapshot) -> None:
        """A reading."""
        stage = self._stages[-1]
        if stage.first is None:
            stage.first = snapshot if _shows(snapshot, stage.look) else None
            stage.asked += 1
            if stage.first is None and stage.asked > PATIENCE:
                self.skip("it did not come")
            return
        stage.last = snapshot
        if stage.seconds >= self._share() - TOLERANCE:
            self._go_on()

    def skip(self, why: str) -> None:
        """What shall be looked at cannot be."""
        self._missed.append((self._stages.pop().look, why))
        self._next()

    @property
    def starting(self) -> bool:
        """Whether what shall be looked at is not there yet."""
        return self._stages[-1].first is None

    @property
    def left(self) -> float:
        """Seconds until it is done, as far as is known; loading probes comes on top."""
        return max(self.seconds - sum(stage.seconds for stage in self._stages), 0.0)

    @property
    def _left(self) -> float:
        """Seconds without this stage."""
        return self.seconds - sum(stage.seconds for stage in self._stages[:-1])

    def _share(self) -> float:
        """Seconds of this stage."""
        if len(self._stages) == 1 and not self.done:
            return self.seconds * FIRST
        return max(self._left / (len(self._waiting) + 1), LEAST)

    def _go_on(self) -> None:
        """To the next stage, or the end."""
        if not self._decided and (late := self._stages[0].seconds - self._share()) > LATE:
            self.seconds += late  # a busy host held up the reading: the looks have their time all the same
        self._decided = True
        if len(self._stages) == 1 and self._stages[0].seconds < self.seconds - TOLERANCE:
            wanted = looks(self._of_wanted(self._view(self._stages[0])))
            room = max(int((self.seconds - self._stages[0].seconds) / LEAST), 0)
            self._waiting, self._missed = wanted[:room], [(look, _NO_TIME) for look in wanted[room:]]
            if not self._waiting:
                self.early = not wanted and self._certain()
                if not self.early:  # the counters it is, to the end
                    return
        self._next()

    def _certain(self) -> bool:
        """Whether the counters alone name a cause of each VM that is asked for, and nothing else fits them."""
        found = [causes for _, causes in of_each_vm(self._of_wanted(self._view(self._stages[0])))]
        return bool(found) and all(any(BY_NAME[one.name].confidence == CERTAIN for one in causes) for causes in found)

    def _next(self) -> None:
        if self._waiting:
            self._stages.append(Stage(self._waiting.pop(0)))
        else:
            self.done = True

    def _view(self, stage: Stage) -> View:
        """What rules see of it."""
        assert stage.last
        return View.between(stage.first, stage.last, self.labels, self.limits)

    def _of_wanted(self, view: View) -> View:
        """The part of a view that is of the VMs whose causes are looked for."""
        pids = {pid for pid, vm in view.interval.after.vms.items() if self.wanted(vm)}
        vms, vcpus = ([row for row in part if row.scope.pid in pids] for part in (view.vms, view.vcpus))
        return replace(view, vms=vms, vcpus=vcpus)

    def conclude(self) -> Diagnosis:
        """What came of it. Where a signal ended it early, of the stages that have a second reading."""
        stages = [stage for stage in self._stages if stage.last is not None]
        if not stages:
            return Diagnosis(0.0, (), (), (), (), self._stages[0].first)
        views = {id(stage): self._view(stage) for stage in stages}
        first, last = views[id(stages[0])], stages[-1].last
        assert last
        vms = sorted((vm for vm in self._of_wanted(first).vms if not vm.ended), key=_outside)
        found = [cause for vm in vms[:MOST_VMS] for cause in self._of(vm, stages, views)]
        found += _of_host(first)
        found.sort(key=lambda one: -(one.finding.cost if one.finding.cost is not None else -1.0))
        found = list(_once(found))
        return Diagnosis(
            sum(stage.seconds for stage in stages),
            sorted(vms, key=lambda vm: vm.vm),
            found,
            list(self._checked({one.rule.name for one in found}, stages)),
            [(stage.look, stage.seconds, stage.last.price if stage.last else None) for stage in stages],
            last,
            sum(not vm.ended for vm in first.vms) - len(vms),
            self.early,
        )

    def _of(self, vm: VcpuRow, stages: Sequence[Stage], views: Mapping[int, View]) -> Iterator[Cause]:
        """What costs a VM time."""
        best: dict[str, tuple[int, Finding, View]] = {}
        for stage in stages:
            view = views[id(stage)]
            for one in found_in(view.of_vm(vm.number)):
                rule = BY_NAME[one.name]
                told = sum(view.looks_at(kind, vm) for kind in rule.needs | rule.more)
                known = best.get(one.name)
                if (told > known[0]) if known else (rule.needs or stage.look is COUNTERS):
                    best[one.name] = told, one, view
        kept = {id(one) for one in causes([one for _, one, _ in best.values()])}
        for _, one, view in best.values():
            if id(one) in kept and one.scope.pid == vm.number:
                yield Cause(one, BY_NAME[one.name], vm, _elsewhere(view, one))

    def _checked(self, found: set[str], stages: Sequence[Stage]) -> Iterator[Checked]:
        """What came of each rule. One that needs a look at what took no time is clear without it."""
        looked = frozenset(kind for stage in stages for kind in stage.look.kinds)
        waiting = [(look, _NO_TIME) for look in (*(one.look for one in self._stages), *self._waiting)]
        missed = {kind: f"{look.words}: {why}" for look, why in (*waiting, *self._missed) for kind in look.kinds}
        told = stages[-1].last.told if stages[-1].last else ()
        for rule in RULES:
            if rule.name in found:
                yield Checked(rule, "found")
            elif rule.needs and not rule.needs & looked and rule.needs & missed.keys():
                yield Checked(rule, "not looked at", missed[min(rule.needs & missed.keys())])
            elif rule.name in STATES_OF and STATES_OF[rule.name] not in told:
                yield Checked(rule, "not looked at", f"the state {STATES_OF[rule.name]} is not told here")
            else:
                yield Checked(rule, "clear")


_NO_TIME = "no time was left for it; a longer --duration has it"
STATES_OF = {"quota": "throttled", "waits": "wait", "blocked": "blocked", "vmm": "user", "kvm": "kernel"}


def _shows(snapshot: Snapshot, look: Look) -> bool:
    """Whether a reading has what is looked at."""
    wanted = look.request
    details, scheduling = snapshot.details, snapshot.scheduling
    if wanted.kinds:
        return details is not None and (details.look.kinds, details.look.only) == (wanted.kinds, wanted.only)
    if wanted.sched is not None:
        return scheduling is not None and scheduling.pid == wanted.sched
    return snapshot.stacks is not None or not wanted.stacks


def _outside(vm: VcpuRow) -> float:
    """For sorting: the most time that is neither the guest's nor idle first."""
    return vm.share("guest") + vm.share("idle") - 1.0


def _of_host(view: View) -> list[Cause]:
    """What is no VM's."""
    return [Cause(one, BY_NAME[one.name], None) for one in found_in(view) if one.name == "lost"]


def _once(found: Iterable[Cause]) -> Iterator[Cause]:
    """Without those that say of another VM what has been said."""
    told: set[tuple[str, Scope]] = set()
    for one in found:
        if (one.rule.name, one.finding.scope) not in told:
            yield one
            if one.finding.other:
                told.add((one.rule.name, one.finding.other))


def _elsewhere(view: View, one: Finding) -> str:
    """The most that a vCPU of another VM spends in the state that a finding is about."""
    others = [vcpu for vcpu in view.vcpus if vcpu.scope.pid != one.scope.pid and vcpu.shares]
    if not one.state or not others:
        return ""
    most = max(others, key=lambda vcpu: vcpu.share(one.state))
    share = units.percent(most.share(one.state))
    return f"for comparison: {share} {one.state} in {most.name} of {most.vm}, the most of all other VMs"
