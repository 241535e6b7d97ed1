"""Which program counts exits: what the kernel's types must tell, when the raw one may take over, and that it does so
in this machine's kernel."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from kvmtop.bpf import btf, kvm_exit, privileges, syscalls
from kvmtop.bpf.btf import FUNCTION, STRUCT
from kvmtop.bpf.collector import CPU
from kvmtop.bpf.kvm_exit import ENOUGH, ExitProbes, KvmExit
from kvmtop.bpf.loader import KERNEL_FUNCTION
from kvmtop.bpf.tracepoint import Tracefs
from kvmtop.errors import KvmtopError
from kvmtop.model.arrays import Array

from ..support.formats import parsed
from . import machine
from .machine import Player, cells, enter, leave_raw

RECORD = parsed("6.12", "kvm_exit")
NOW, OLD = ("kvm_vcpu", "u32"), ("unsigned int", "kvm_vcpu", "u32")  # since and before 5.16
VCPU = {"vcpu_id": 36}
AMD = {"vcpu_svm": {"vcpu": 0, "vmcb": 6480}, "vmcb": {"control.exit_code": 112}}
INTEL = {"vcpu_vmx": {"vcpu": 0, "exit_reason.full": 7744}}
TDX = {
    "vcpu_vmx": {"vcpu": 0, "vt.exit_reason.full": 6100},
    "vcpu_tdx": {"vcpu": 0, "vt.exit_reason.full": 6100},
}
ALWAYS = ["-DRAW_VCPU=0", "-DVCPU_ID=36"]
SVM, VMX = ["-DSVM_VMCB=6480", "-DSVM_CODE=112"], ["-DVMX_REASON=7744"]


class Types:
    """A made-up Btf: the arguments of kvm_exit; structure → member → offset; ids: of what else the kernel has."""

    ids: ClassVar[dict[str, int]] = {}

    def __init__(self, given: tuple[str, ...] | None, *structures: dict[str, dict[str, int]]) -> None:
        self.given = given
        self.structures = {name: members for one in structures for name, members in one.items()}

    def arguments(self, event: str) -> tuple[str, ...] | None:
        assert event == "kvm_exit"
        return self.given

    def id(self, name: str, kind: int) -> int | None:
        return self.ids.get(name)

    def offset(self, structure: str, path: str) -> int | None:
        return self.structures.get(structure, {}).get(path)


def found(given: tuple[str, ...] | None, *structures: dict[str, dict[str, int]]) -> KvmExit:
    return kvm_exit.kvm_exit(RECORD, cast(Any, Types(given, *structures)))


def names(one: KvmExit) -> list[tuple[str, str]]:
    assert all((probe.category, probe.name) == ("kvm", "kvm_exit") for probe in one.probes)
    return [(probe.function, probe.kind) for probe in one.probes]


@pytest.mark.parametrize(
    ("structures", "flags"),
    [
        ((AMD,), SVM),
        ((INTEL,), VMX),
        ((AMD, INTEL), SVM + VMX),  # both are built in: each exit tells which it is of
        ((TDX,), ["-DVMX_REASON=6100"]),
        (({"vcpu_vmx": TDX["vcpu_vmx"]},), ["-DVMX_REASON=6100"]),  # without TDX
    ],
)
def test_the_reason_is_read_where_kvm_reads_it(
    structures: tuple[dict[str, dict[str, int]], ...], flags: list[str]
) -> None:
    one = found(NOW, {"kvm_vcpu": VCPU}, *structures)
    assert (list(one.flags), one.why) == ([*ALWAYS, *flags], "")
    assert names(one) == [("on_exit", "classic"), ("on_check", "raw"), ("on_exit_raw", "raw")]


def test_before_5_16_the_reason_is_an_argument() -> None:
    for structures in ((), (AMD,), (INTEL,)):  # which need not be known
        assert found(OLD, {"kvm_vcpu": VCPU}, *structures).flags == ("-DRAW_VCPU=1", "-DVCPU_ID=36")


@pytest.mark.parametrize(
    ("given", "structures", "why"),
    [
        (None, (AMD,), "the kernel's types of KVM"),
        ((), (AMD,), "the kernel's types of KVM"),
        (("kvm_vcpu",), (AMD,), "other arguments"),
        (("u32", "kvm_vcpu"), (AMD,), "other arguments"),
        (("kvm_vcpu", "u32", "u32"), (AMD,), "other arguments"),
        ((*OLD, "u32"), (AMD,), "other arguments"),
        (("kvm_run", "u32"), (AMD,), "other arguments"),
        (NOW, (AMD, {"kvm_vcpu": {}}), "other arguments"),
        (OLD, (AMD, {"kvm_vcpu": {}}), "other arguments"),
        (NOW, (), "neither kvm_amd nor kvm_intel"),
        (NOW, ({"vcpu_svm": {"vcpu": 0}, "vmcb": AMD["vmcb"]},), "struct vcpu_svm is not"),
        (NOW, ({"vcpu_svm": AMD["vcpu_svm"]},), "struct vcpu_svm is not"),
        (NOW, ({**AMD, "vcpu_svm": {"vcpu": 8, "vmcb": 6480}},), "struct vcpu_svm is not"),
        (NOW, ({"vcpu_vmx": {"vcpu": 0, "exit_reason": 7744}},), "struct vcpu_vmx is not"),
        (NOW, ({"vcpu_vmx": {"vcpu": 8, "exit_reason.full": 7744}},), "struct vcpu_vmx is not"),
        (NOW, (AMD, {"vcpu_vmx": {"vcpu": 0}}), "struct vcpu_vmx is not"),
        (NOW, ({**TDX, "vcpu_tdx": {"vcpu": 0, "vt.exit_reason.full": 6108}},), "struct vcpu_tdx is not"),
        (NOW, ({**TDX, "vcpu_tdx": {"vcpu": 0}},), "struct vcpu_tdx is not"),
        (NOW, ({**INTEL, "vcpu_tdx": {"vcpu": 0}},), "struct vcpu_tdx is not"),
    ],
)
def test_where_something_is_missing_the_classic_one_counts(
    given: tuple[str, ...] | None, structures: tuple[dict[str, dict[str, int]], ...], why: str
) -> None:
    one = found(given, {"kvm_vcpu": VCPU}, *structures)
    assert one.flags == () and why in one.why
    assert names(one) == [("on_exit", "classic")]


def test_without_types_or_a_record_to_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    types = cast(Any, Types(NOW, {"kvm_vcpu": VCPU}, AMD))
    assert kvm_exit.kvm_exit(RECORD, types).flags
    assert "it takes raw tracepoints" in kvm_exit.kvm_exit(RECORD, None).why
    for missing in ("isa", "vcpu_id"):
        fields = {name: field for name, field in RECORD.fields.items() if name != missing}
        assert "its record lacks" in kvm_exit.kvm_exit(replace(RECORD, fields=fields), types).why
    monkeypatch.setattr(syscalls, "may_read_kernel", lambda: False)
    assert "locked down" in kvm_exit.kvm_exit(RECORD, types).why


def test_it_is_read_without_a_helper_where_the_kernel_lets_a_program_do_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Types, "ids", {"bpf_rdonly_cast": 65_504, "perf_callchain_entry": 2296})
    monkeypatch.setattr(syscalls, "can_cast", lambda *ids: ids == (65_504, 2296))
    one = found(NOW, {"kvm_vcpu": VCPU}, AMD)
    assert one.flags == (*ALWAYS, *SVM, f"-DRDONLY_CAST={KERNEL_FUNCTION + 65_504}", "-DENDLESS=2296")
    monkeypatch.setattr(syscalls, "can_cast", lambda *ids: False)
    assert found(NOW, {"kvm_vcpu": VCPU}, AMD).flags == (*ALWAYS, *SVM)
    monkeypatch.setattr(Types, "ids", {"bpf_rdonly_cast": 65_504})
    assert found(NOW, {"kvm_vcpu": VCPU}, AMD).flags == (*ALWAYS, *SVM)


@pytest.mark.skipif(os.geteuid() != 0 or not privileges.may_load_bpf(), reason="only root loads BPF programs")
def test_the_kernel_says_what_may_be_read_without_a_helper() -> None:
    with btf.load() as types:
        function = types and types.id("bpf_rdonly_cast", FUNCTION)
        endless, other = (types and types.id(name, STRUCT) for name in ("perf_callchain_entry", "list_head"))
    if not function or not endless or not other:
        pytest.skip("this kernel has no bpf_rdonly_cast (before 6.2), or tells no types")
    assert syscalls.can_cast(function, endless)
    assert not syscalls.can_cast(function, other)  # which has an end
    assert not syscalls.can_cast(0, endless)


# The check


class Attached:
    """Probes: what is attached, and what was done; refuses: a function that cannot be attached."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses, self.now, self.done = refuses, set[str](), list[str]()

    def attach(self, tracefs: object, functions: set[str]) -> None:
        if self.refuses in functions:
            raise KvmtopError("the kernel refuses a probe")
        self.now |= functions
        self.done += [f"+{name}" for name in sorted(functions)]

    def detach(self, functions: set[str]) -> None:
        self.now -= functions
        self.done += [f"-{name}" for name in sorted(functions)]


class Cpus:
    def __init__(self) -> None:
        self.rows = np.zeros(2, CPU)

    def read(self) -> Array:
        return self.rows.copy()


FOUND = KvmExit(("-DRAW_VCPU=0",))


def probes(found: KvmExit = FOUND, checked: bool = False, refuses: str = "") -> tuple[ExitProbes, Attached, Cpus]:
    attached, cpus = Attached(refuses), Cpus()
    return ExitProbes(cast(Any, attached), cast(Any, None), found, cast(Any, cpus), checked), attached, cpus


def test_the_raw_one_takes_over_when_enough_has_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    one, attached, cpus = probes()
    monkeypatch.setattr(syscalls, "grace_period", lambda: attached.done.append("wait"))
    assert attached.now == {"on_exit", "on_check"} and one.how == "classic kvm_exit: the raw one is being checked"
    attached.done.clear()
    for agreed, reasons in (([0, 0], [0, 0]), ([ENOUGH - 1, 0], [1, 4]), ([ENOUGH, 5], [4, 4]), ([ENOUGH, 5], [0, 4])):
        cpus.rows["agreed"], cpus.rows["reasons"] = agreed, reasons
        one.update()
        assert not attached.done and one.how.startswith("classic")
    cpus.rows["agreed"], cpus.rows["reasons"] = [ENOUGH - 5, 5], [1 << 63, 4]
    one.update()
    # One of the two is there all the time, and both until no event is under way that began with the first alone.
    assert attached.done == ["-on_check", "+on_exit_raw", "wait", "-on_exit"] and attached.now == {"on_exit_raw"}
    assert one.how == "raw kvm_exit, which agreed with the classic one in 1,000 exits"
    cpus.rows["differed"] = 1  # that nobody counts any more
    one.update()
    assert attached.now == {"on_exit_raw"}


def test_one_exit_that_differs_ends_it() -> None:
    one, attached, cpus = probes()
    cpus.rows["agreed"], cpus.rows["reasons"], cpus.rows["differed"] = [ENOUGH, ENOUGH], [3, 3], [0, 1]
    one.update()
    assert attached.now == {"on_exit"} and one.how == "classic kvm_exit: the raw one differed in 1 of 2,001 exits"
    cpus.rows["differed"] = 0
    one.update()
    assert attached.now == {"on_exit"}


def test_what_cannot_be_attached_leaves_the_classic_one() -> None:
    one, attached, cpus = probes(refuses="on_exit_raw")
    cpus.rows["agreed"], cpus.rows["reasons"] = ENOUGH, 3
    one.update()
    assert attached.now == {"on_exit"} and one.how == "classic kvm_exit: the kernel refuses a probe"


def test_without_a_grace_period_the_classic_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(syscalls, "grace_period", refuse)
    one, attached, cpus = probes()
    cpus.rows["agreed"], cpus.rows["reasons"] = ENOUGH, 3
    one.update()
    assert attached.now == {"on_exit"} and one.how == "classic kvm_exit: [Errno 12] Cannot allocate memory"


def test_without_a_raw_one_nothing_is_checked() -> None:
    for checked in (False, True):
        one, attached, cpus = probes(KvmExit(why="no types"), checked)
        cpus.rows["agreed"], cpus.rows["reasons"] = ENOUGH, 3
        one.update()
        assert "on_exit" in attached.now and "on_exit_raw" not in attached.now
        assert one.how == "classic kvm_exit: no types"


def test_what_is_known_needs_no_check() -> None:
    one, attached, _ = probes(checked=True)
    one.update()
    assert attached.now == {"on_exit_raw"} and one.how == "raw kvm_exit"


# In this machine's kernel

ONE, OTHER, VCPU_NUMBER = 1, 2, 5  # two reasons


def exits(count: int) -> None:
    """So many of each reason."""
    for _ in range(count):
        leave_raw(ONE, VCPU_NUMBER)
        enter()
        leave_raw(OTHER, VCPU_NUMBER)
        enter()


@pytest.fixture(params=["helper", "cast"])
def reads(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Flags of the way in which the programs read the kernel's memory."""
    if request.param == "helper":
        return ()
    with btf.load() as types:
        found = kvm_exit._cast(types) if types and os.geteuid() == 0 else []
    return (*found,) or pytest.skip("this kernel has no bpf_rdonly_cast (before 6.2)")


def flags(number: int, reads: tuple[str, ...] = ()) -> tuple[str, ...]:
    return ("-DRAW_VCPU=1", f"-DVCPU_ID={number}", *reads)


def test_the_raw_one_takes_over_while_exits_go_on(tmp_path: Path, reads: tuple[str, ...]) -> None:
    def act(player: Player) -> None:
        enter()
        player.step()
        exits(3000)
        player.step()
        exits(500)
        player.step()

    for _ in range(3):  # a classic program loses events while somebody else's map system call is on its CPU
        with (
            Player(act) as player,
            machine.machine(tmp_path, "notes", flags(0, reads), threads=16, pids=[player.pid]) as one,
        ):
            player.wait()
            assert one.read().counted_by == "classic kvm_exit: the raw one is being checked"
            player.go()
            while not (told := one.read().counted_by or "").startswith("raw"):
                assert "differed" not in told
            assert {"on_exit", "on_check", "on_exit_raw"} & one._probes.attached == {"on_exit_raw"}
            player.wait()
            player.next()
            counts = {int(row["reason"]): int(row["count"]) for row in cells(one, player.pid)}
            snapshot = one.read()
            assert snapshot.threads["vcpu"].tolist() == [VCPU_NUMBER] and snapshot.lost == 0
        if counts == {ONE: 3500, OTHER: 3500} and snapshot.overwritten == snapshot.unpaired == 0:
            break
    else:
        pytest.fail(f"{counts}, {snapshot.caveats}")


def test_while_both_are_attached_each_exit_counts_once(tmp_path: Path) -> None:
    def act(player: Player) -> None:
        enter()
        player.step()
        exits(600)
        player.step()

    for _ in range(3):
        with Player(act) as player, machine.machine(tmp_path, "notes", flags(0), threads=16, pids=[player.pid]) as one:
            player.wait()
            one._exits._end("both")
            one._probes.attach(Tracefs(), {"on_exit_raw"})
            player.next()
            counts = {int(row["reason"]): int(row["count"]) for row in cells(one, player.pid)}
            snapshot = one.read()
        if counts == {ONE: 600, OTHER: 600} and snapshot.overwritten == snapshot.unpaired == 0:
            break
    else:
        pytest.fail(f"{counts}, {snapshot.caveats}")


def test_a_number_read_at_a_wrong_place_is_found_out(tmp_path: Path, reads: tuple[str, ...]) -> None:
    def act(player: Player) -> None:
        enter()
        for _ in range(2):
            player.step()
            exits(600)
        player.step()

    for _ in range(3):
        with (
            Player(act) as player,
            machine.machine(tmp_path, "notes", flags(8, reads), threads=16, pids=[player.pid]) as one,
        ):
            player.wait()
            player.next()
            told = one.read().counted_by
            player.next()
            counts = {int(row["reason"]): int(row["count"]) for row in cells(one, player.pid)}
            snapshot = one.read()
            assert snapshot.counted_by == told and snapshot.threads["vcpu"].tolist() == [VCPU_NUMBER]
            assert {"on_exit", "on_check", "on_exit_raw"} & one._probes.attached == {"on_exit"}
        if (told, counts) == (
            "classic kvm_exit: the raw one differed in 1,200 of 1,200 exits",
            {ONE: 1200, OTHER: 1200},
        ):
            break
    else:
        pytest.fail(f"{told}, {counts}, {snapshot.caveats}")
