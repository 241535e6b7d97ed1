"""The state machine of collector.bpf.c, in this machine's kernel, against the threads' own clocks."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from kvmtop.bpf import collector
from kvmtop.bpf.collector import Collector
from kvmtop.bpf.sched import Sched
from kvmtop.model.vocabulary import OUTSIDE, STATES, Sleeper

from . import machine
from .machine import (
    WAYS,
    Mark,
    Player,
    asleep,
    enter,
    halted,
    hog,
    leave,
    nap,
    needs_two,
    row,
    run,
    spin,
    states,
    to_user,
)

CPUID, HLT, IO = 0x72, 0x78, 0x7B
KVM_EXIT_HLT = 5
MS = 1_000_000


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def state(found: np.void) -> str:
    return STATES[found["state"]]


def spun(found: np.void, *names: str) -> int:
    """ns in these states, and waited: what a thread of them alone has spun is at least in that.

    Not in the states by themselves. The scheduler reads its clock before it switches and the event comes after: what a
    hypervisor takes from this machine between the two is CPU time to the thread's own clock, and to its states is wait.
    """
    return sum(states(found)[name] for name in (*names, "wait"))


def truth(told: str, asleep: str) -> dict[str, int]:
    """State → ns, from lines of ns, of CPU time and of run_delay; asleep: the state of those that say so."""
    wanted = dict.fromkeys(STATES, 0)
    for line in told.splitlines():
        now, cpu, delay, where, *sleeps = line.split()
        slept = int(now) - int(delay) - int(cpu) if sleeps else 0
        wanted["wait"] += int(delay)
        wanted[asleep] += slept
        # Not its CPU time: interrupts, and what a hypervisor takes, are not in that.
        wanted[where] += int(now) - int(delay) - slept
    return wanted


def test_each_state_is_what_the_threads_own_clocks_say(counting: Collector, way: str) -> None:
    """Waiting by its run_delay, asleep what it slept beside that, on a CPU the rest; to the reason and to the state."""

    def act(player: Player) -> None:
        schedstat, marks = os.open("/proc/self/schedstat", os.O_RDONLY), []

        def mark(name: str) -> None:
            marks.append((name, Mark.take(schedstat)))

        def sleep(name: str, ms: int) -> None:
            if ms:
                mark(f"{name} asleep")
                nap(ms)
                mark(name)

        for turn in range(24):
            mark("kernel")
            leave((CPUID, HLT, IO)[turn % 3])
            sleep("kernel", turn % 4)
            spin(3)
            if turn % 2:
                mark("user")
                to_user()
                spin(2)
                sleep("user", turn % 3)
                spin(1)
                mark("kernel")
                run()
                spin(1)
            mark("guest")
            enter()
            spin(2)
        mark("kernel")
        leave(IO)
        for (name, before), (_, after) in itertools.pairwise(marks):
            player.tell(f"{after.now - before.now} {after.cpu - before.cpu} {after.delay - before.delay} {name}")
        player.step()

    wanted: dict[str, int] = {}
    counted: dict[str, int] = {}
    for _ in range(3):  # a classic program loses events while somebody else's map system call is on its CPU
        with Player(act) as player:
            told = player.wait()
            found, _ = row(counting, player.pid)
            cells = machine.cells(counting, player.pid)
        wanted = truth(told, halted(way))
        # Without what comes after the last mark.
        last = dict(zip(OUTSIDE, found["open"].tolist(), strict=True))
        counted = {name: ns - last.get(name, 0) for name, ns in states(found).items()}
        if counted == {name: pytest.approx(ns, rel=0.05, abs=3 * MS) for name, ns in wanted.items()}:
            break
    else:
        pytest.fail(f"{counted} is not {wanted}")
    # To the nanosecond: what it did outside the guest is in the cells of its exits, but for waits in the guest.
    for name, ns in machine.parts(cells).items():
        assert ns == counted[name] or (name == "wait" and ns < counted[name]), name
    assert {int(cell["reason"]): int(cell["count"]) for cell in cells} == {CPUID: 8, HLT: 8, IO: 8}


def test_what_is_open_grows_to_the_nanosecond_and_nothing_else_does(counting: Collector) -> None:
    def act(player: Player) -> None:
        leave(IO, vcpu=3)
        player.step()
        to_user()
        player.step()
        to_user(KVM_EXIT_HLT)
        player.step()
        to_user(KVM_EXIT_HLT, error=-4)  # a signal: errno says so, and the reason is an old one
        player.step()
        enter()
        player.step()

    with Player(act) as player:
        for number, name in enumerate(("blocked", "blocked", "idle", "blocked", "blocked")):
            player.next() if number else player.wait()
            first, then = row(counting, player.pid)
            time.sleep(0.03)
            second, now = row(counting, player.pid)
            assert state(first) == state(second) == name
            assert states(second) == {**states(first), name: states(first)[name] + now - then}
            assert first["since_ns"] == second["since_ns"] < then
            assert first["vcpu"] == 3
            grown = dict(zip(OUTSIDE, (second["open"] - first["open"]).tolist(), strict=True))
            inside = not first["exit_ns"]
            assert grown == dict.fromkeys(OUTSIDE, 0) | ({name: 0} if inside else {name: now - then})
        assert inside  # the last: asleep in the guest, as far as events say


def test_entries_and_exits_that_do_not_pair(counting: Collector) -> None:
    def act(player: Player) -> None:
        start = time.monotonic_ns()
        enter()
        enter()  # its exit may have come before kvm_exit was attached
        leave(CPUID)
        enter()
        spin(5)
        enter()  # a failed VM-entry: what lies between is the guest's
        spin(5)
        leave(CPUID)
        spin(5)
        leave(IO)  # VMX's fast path: the guest ran since the exit before
        player.tell(f"{time.monotonic_ns() - start}")
        player.step()

    with Player(act) as player:
        told = player.wait()
        found, _ = row(counting, player.pid)
    assert (found["unpaired"], found["overwritten"], found["pairs"]) == (1, 1, 1)
    # What was switched out and in again between the two exits stays the kernel's.
    assert spun(found, "guest") >= 10 * MS and spun(found, "guest", "kernel") >= 15 * MS
    assert states(found)["guest"] <= int(told) and found["open"][0] < 5 * MS


def test_leaving_for_user_space_without_an_exit(counting: Collector) -> None:
    """As a signal before the first instruction of the guest has it."""

    def act(player: Player) -> None:
        leave(CPUID)
        enter()
        player.tell(f"{time.monotonic_ns()}")
        to_user(10, error=-4)
        spin(10)
        player.step()
        run()
        spin(5)
        enter()
        player.step()

    with Player(act) as player:
        start = int(player.wait())
        found, _ = row(counting, player.pid)
        assert states(found)["user"] <= time.monotonic_ns() - start and spun(found, "user") >= 10 * MS
        assert found["exit_ns"] == 0 and not found["open"].any() and states(found)["kernel"] < 10 * MS
        player.next()
        after, _ = row(counting, player.pid)
        assert (after["unpaired"], after["pairs"]) == (0, 1)
        assert states(after)["kernel"] > states(found)["kernel"]
        assert spun(after, "kernel") - spun(found, "kernel") >= 5 * MS


def test_a_switch_back_that_was_lost_is_seen_at_the_next_event(tmp_path: Path) -> None:
    """Others' map system calls keep classic programs of their CPU from running."""

    def act(player: Player) -> None:
        player.step()
        leave(CPUID)
        enter()
        player.step()  # asleep in the guest, as far as events say
        leave(IO)
        spin(5)
        player.step()

    # The player first: it must not hold the collector's descriptors.
    with Player(act) as player, machine.machine(tmp_path, "notes", threads=64) as one:
        player.wait()
        player.next()
        before, then = row(one, player.pid)
        one._probes.detach({"on_switch"})
        time.sleep(1)  # it takes the kernel a moment
        player.next()
        found, now = row(one, player.pid)
        assert state(found) == "kernel" and now - int(found["exit_ns"]) > 5 * MS
        lost = int(found["exit_ns"]) - then
        counted = {name: ns - states(before)[name] for name, ns in states(found).items() if ns != states(before)[name]}
        asleep_then = counted.pop("blocked") + counted.pop("wait", 0)
        assert asleep_then == lost and counted == {"kernel": now - int(found["exit_ns"])}


def test_without_room_each_exit_is_lost_once(tmp_path: Path) -> None:
    def act(player: Player) -> None:
        player.step()
        for _ in range(5):
            leave(CPUID)
            to_user()
            run()
            enter()
        player.step()

    # Of these two alone: other tests, which run beside this one, have players, too.
    with Player(act) as first, Player(act) as second:
        first.wait()
        second.wait()
        with machine.machine(tmp_path, "notes", threads=1, pids=(first.pid, second.pid)) as one:
            first.next()
            second.next()
            snapshot = one.read()
    assert snapshot.lost == 5 and snapshot.threads["id"].tolist() == [first.pid << 32 | first.pid]
    assert snapshot.cells["count"].tolist() == [5] and snapshot.userspace >= 10


def test_without_scheduler_events_the_rest_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No types, and no address of kvm_vcpu_block."""

    def act(player: Player) -> None:
        leave(CPUID)
        enter()
        spin(5)
        leave(IO)
        player.step()

    monkeypatch.setattr("kvmtop.bpf.collector.sched", lambda *_: Sched((), (), ("guest",), "none"))
    with machine.machine(tmp_path, "classic", threads=64) as one, Player(act) as player:
        player.wait()
        found, _ = row(one, player.pid)
        assert one.told == ("guest",) and found["pairs"] == 1 and spun(found, "guest") >= 5 * MS


def test_bystanders_have_no_row(counting: Collector) -> None:
    with Player(lambda player: player.step()) as player:
        player.wait()
        assert player.pid not in (counting.read().threads["id"] & np.uint64(0xFFFFFFFF)).tolist()


def test_stopped_by_a_signal_is_blocked_wherever_it_was(counting: Collector) -> None:
    def act(player: Player) -> None:
        leave(CPUID)
        enter()
        player.step()
        spin(10_000)

    with Player(act) as player:
        player.wait()
        player.go()
        time.sleep(0.05)
        os.kill(player.pid, signal.SIGSTOP)
        asleep(player.pid, "T")
        first, then = row(counting, player.pid)
        while state(first) == "wait":  # /proc has said T: it was preempted on its way to sleep
            first, then = row(counting, player.pid)
        time.sleep(0.1)
        second, now = row(counting, player.pid)
        assert state(first) == state(second) == "blocked"
        assert states(second) == {**states(first), "blocked": states(first)["blocked"] + now - then}
        os.kill(player.pid, signal.SIGCONT)
        for _ in range(500):
            if (after := states(row(counting, player.pid)[0])["guest"] - states(second)["guest"]) > 5 * MS:
                break
            time.sleep(0.01)
        assert after > 5 * MS


@needs_two
@pytest.mark.parametrize("sleeps", [False, True], ids=["preempted", "woken"])
def test_who_could_run_and_does_not_waits_while_he_waits(counting: Collector, way: str, sleeps: bool) -> None:
    before = os.sched_getaffinity(0)
    mine, his = min(before), max(before)

    def act(player: Player) -> None:
        os.sched_setaffinity(0, {his})
        leave(CPUID)
        player.step()
        enter()
        leave(IO)
        if sleeps:
            nap(100)
        else:
            spin(10_000)
        player.step()

    def watched() -> bool:
        """Whether the test saw it wait before the hog's time was over: a busy machine may hold the test up, too."""
        with Player(act) as player:
            player.wait()
            player.go()
            time.sleep(0.05)
            until = time.monotonic() + 0.75
            with hog(his, 0.8):
                first, then = row(counting, player.pid)
                while state(first) != "wait" and time.monotonic() < until:  # the hog gives it no other chance
                    time.sleep(0.01)
                    first, then = row(counting, player.pid)
                time.sleep(0.05)
                second, now = row(counting, player.pid)
                if time.monotonic() > until:
                    return False
            assert state(first) == state(second) == "wait"
            assert now - int(first["since_ns"]) > 50 * MS
            assert states(second) == {**states(first), "wait": states(first)["wait"] + now - then}
            assert second["open"][OUTSIDE.index("wait")] > 50 * MS
            if sleeps:
                player.wait()
                found, _ = row(counting, player.pid)
                assert found["open"][OUTSIDE.index(halted(way))] >= 50 * MS
            return True

    os.sched_setaffinity(0, {mine})
    try:
        assert any(watched() for _ in range(5))
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def group(quota_us: int, period_us: int) -> Iterator[Path]:
    """A cgroup whose threads may use so much of a CPU: little, for a busy machine gives no more. Skips where none can be had."""
    name = f"kvmtop-test-{os.getpid()}"
    for root, files in (
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": f"{period_us}", "cpu.cfs_quota_us": f"{quota_us}"}),
        (Path("/sys/fs/cgroup"), {"cpu.max": f"{quota_us} {period_us}"}),
    ):
        made = root / name
        try:
            if "cpu.max" in files:
                (root / "cgroup.subtree_control").write_text("+cpu")
            made.mkdir()
        except OSError:
            continue
        try:
            if all((made / file).exists() for file in files):
                for file, value in files.items():
                    (made / file).write_text(value)
                yield made
                return
        finally:
            made.rmdir()
    pytest.skip("no cgroup with a CPU quota can be made here")


def withheld(made: Path) -> int:
    """ns, by the cgroup's own account; what is still open is not in it."""
    stat = dict(line.split() for line in (made / "cpu.stat").read_text().splitlines())
    return int(stat["throttled_time"] if "throttled_time" in stat else 1000 * int(stat["throttled_usec"]))


def delay(pid: int) -> int:
    """ns that a thread, which is asleep now, has waited for a CPU."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1])


def test_what_a_quota_withholds_is_throttled(counting: Collector) -> None:
    if "throttled" not in counting.told:
        pytest.skip("throttled is not told in this way")

    def act(player: Player) -> None:
        leave(CPUID)
        player.step()
        enter()
        spin(40)
        leave(IO)
        player.step()

    with group(5_000, 100_000) as made, Player(act) as player:
        player.wait()
        start, _ = row(counting, player.pid)
        before = delay(player.pid)
        (made / "cgroup.procs").write_text(f"{player.pid}")
        player.go()
        shown, last = 0, start
        for _ in range(50):
            time.sleep(0.01)
            found, _ = row(counting, player.pid)
            shown += state(found) == "throttled"
            assert (found["states"] >= last["states"]).all(), (states(last), states(found))
            last = found
        player.wait()
        found, _ = row(counting, player.pid)
        waited = delay(player.pid) - before
        counted, theirs = states(found), withheld(made)
        player.kill()
    print(shown, counted, theirs, waited)
    assert shown > 5  # on_peek sees it while it lasts
    assert counted["throttled"] == pytest.approx(theirs, rel=0.1, abs=10 * MS) and theirs > 200 * MS
    assert counted["wait"] + counted["throttled"] - states(start)["wait"] == pytest.approx(
        waited, rel=0.05, abs=10 * MS
    )


def test_what_a_quota_has_withheld_stays_so_in_another_group(counting: Collector) -> None:
    if "throttled" not in counting.told:
        pytest.skip("throttled is not told in this way")

    def act(player: Player) -> None:
        leave(CPUID)
        player.step()
        enter()
        spin(10_000)

    with group(2_000, 100_000) as made, Player(act) as player:
        player.wait()
        (made / "cgroup.procs").write_text(f"{player.pid}")
        player.go()
        last, _ = row(counting, player.pid)
        for _ in range(400):
            if state(last) == "throttled":
                break
            time.sleep(0.005)
            last, _ = row(counting, player.pid)
        assert state(last) == "throttled"
        (made.parent / "cgroup.procs").write_text(f"{player.pid}")
        for _ in range(30):
            time.sleep(0.005)
            found, _ = row(counting, player.pid)
            assert (found["states"] >= last["states"]).all(), (states(last), states(found))
            last = found
        player.kill()


@pytest.mark.parametrize("where", ["guest", "kernel", "user", "blocked", "stopped"])
def test_a_thread_that_ends_keeps_what_it_had(counting: Collector, where: str) -> None:
    def act(player: Player) -> None:
        leave(CPUID)
        if where == "guest":
            enter()
        if where in ("user", "blocked"):
            to_user()
        player.step()
        spin(10_000)

    with Player(act) as player:
        player.wait()
        if where in ("guest", "kernel", "user"):
            player.go()
            time.sleep(0.05)
        if where == "stopped":
            os.kill(player.pid, signal.SIGSTOP)
            asleep(player.pid, "T")
        before, then = row(counting, player.pid)
        player.kill()
        found, end = row(counting, player.pid)
        assert then < end == found["end_ns"]
        assert (found["states"] >= before["states"]).all()
        assert state(found) == ("kernel" if where == "stopped" else "user" if where == "blocked" else where)
        # It stays as it was, and its slot is another's.
        for _ in range(2):
            snapshot = counting.read()
            kept = snapshot.threads[snapshot.threads["id"] == player.pid << 32 | player.pid]
            assert len(kept) == 1 and kept[0] == found
        with pytest.raises(AssertionError, match="0 rows"):
            row(counting, player.pid)


def play(seed: int) -> Callable[[Player], None]:
    """Anything a vCPU may do, in any order, for ever."""

    def act(player: Player) -> None:
        chance = random.Random(seed)
        outside: list[Callable[[], None]] = [
            *[lambda: to_user(chance.choice((2, KVM_EXIT_HLT)), chance.choice((0, 0, -4)))] * 3,
            *[run] * 3,
            *[lambda: nap(chance.random())] * 2,
            lambda: spin(chance.random()),
            os.sched_yield,
        ]
        player.step()
        while True:
            leave(chance.choice((CPUID, HLT, IO)))
            for _ in range(chance.choice((0, 0, 1, 2, 5))):
                chance.choice(outside)()
            enter()
            spin(chance.choice((0, 0, 0.1)))

    return act


def test_no_state_ever_goes_backwards(counting: Collector) -> None:
    before: dict[int, np.void] = {}
    late = 0
    with contextlib.ExitStack() as all:
        players = [all.enter_context(Player(play(seed))) for seed in range(3)]
        for player in players:
            player.wait()
            player.go()
        for turn in range(300):
            time.sleep(0.003)
            if turn % 3:
                threads = counting.read().threads
                found: dict[int, np.void] = {int(one["id"]) >> 32: one for one in threads}
            else:
                found = {}
                for player in players:
                    with contextlib.suppress(AssertionError):
                        found[player.pid] = row(counting, player.pid)[0]
            for player in players:
                now, last = found.get(player.pid), before.get(player.pid)
                if now is None:
                    continue
                before[player.pid] = now
                if last is None:
                    continue
                # An event has its time before it is written: what is read between the two says what was. The state that
                # was open then is all that may be less later, and hardly ever by much: the machine may take the CPU
                # away there, and so may whoever runs the machine.
                ahead = last["states"].astype("i8") - now["states"].astype("i8")
                open_ns = int(last["first_ns"]) + int(last["states"].sum()) - int(last["since_ns"])
                may = np.where(np.arange(len(STATES)) == last["state"], open_ns, 0)
                assert (ahead <= may).all(), (turn, states(last), states(now))
                late += int(ahead.max() > MS)
                assert now["first_ns"] == last["first_ns"]
    assert len(before) == 3 and late <= 9  # of 900
    for one in before.values():
        assert {name for name, ns in states(one).items() if ns} >= {"guest", "kernel", "user", "idle", "wait"}


def test_a_sleeper_is_seeded_and_goes_on_as_any_other(counting: Collector) -> None:
    def act(player: Player) -> None:
        player.step()
        enter()
        spin(20)
        leave(HLT, vcpu=5)
        player.step()

    for halts in (True, False):
        with Player(act) as player:
            player.wait()
            start = time.monotonic_ns()
            counting.seed([Sleeper(player.pid, player.pid, 4, halts)])
            name = "idle" if halts else "blocked"
            first, then = row(counting, player.pid)
            time.sleep(0.02)
            second, now = row(counting, player.pid)
            assert state(second) == name and second["vcpu"] == 4
            assert start <= first["first_ns"] == first["since_ns"] < then
            assert states(second) == {**dict.fromkeys(STATES, 0), name: now - int(first["first_ns"])}
            assert second["exit_ns"] == 0 and not second["open"].any()
            counting.seed([Sleeper(player.pid, player.pid, 9, halts)])  # known already
            assert row(counting, player.pid)[0]["vcpu"] == 4
            before = time.monotonic_ns()
            player.next()
            third, _ = row(counting, player.pid)
            assert states(third)["guest"] <= time.monotonic_ns() - before and spun(third, "guest") >= 20 * MS
            assert (third["unpaired"], third["overwritten"], third["vcpu"]) == (0, 0, 5)
            assert states(third)[name] >= states(second)[name]


def test_a_sleeper_that_wakes_just_then(counting: Collector) -> None:
    """It runs when it is seeded: what it does until its next exit is lost to it, and not a nanosecond more."""

    def act(player: Player) -> None:
        player.step()
        spin(100)
        leave(CPUID)
        player.step()

    with Player(act) as player:
        player.wait()
        player.go()
        time.sleep(0.02)
        counting.seed([Sleeper(player.pid, player.pid, 0, True)])
        player.wait()
        found, end = row(counting, player.pid)
        assert state(found) == "blocked"
        assert states(found)["guest"] == states(found)["user"] == 0
        outside = dict(zip(OUTSIDE, found["open"].tolist(), strict=True))
        lost = {name: ns - outside.get(name, 0) for name, ns in states(found).items()}
        assert lost["idle"] > 0 and lost["blocked"] == 0 and sum(lost.values()) == found["exit_ns"] - found["first_ns"]
        assert found["exit_ns"] > found["first_ns"] and sum(outside.values()) == end - int(found["exit_ns"])


def test_who_ends_while_it_is_read_leaves_nothing_to_the_slots_next_thread(
    counting: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cells have been read by then, without that of its last reason."""

    def first(player: Player) -> None:
        enter()
        leave(CPUID)
        enter()
        player.step()
        leave(IO)
        enter()

    def second(player: Player) -> None:
        enter()
        leave(CPUID)
        enter()
        player.step()

    monkeypatch.setattr(collector, "TRIES", 1)  # as if it came out whole in none
    counting.read()
    counting.read()  # whoever ended before is out of the maps
    with Player(first) as player:
        player.wait()
        counting.read()

        def end(slots: int) -> None:
            player.go()
            os.waitid(os.P_PID, player.pid, os.WEXITED | os.WNOWAIT)

        counting.read(end)
        counting.read()
        with Player(second) as other:
            other.wait()
            assert [int(one["reason"]) for one in machine.cells(counting, other.pid)] == [CPUID]
        found = {int(one["reason"]): int(one["count"]) for one in machine.cells(counting, player.pid)}
        assert found == {CPUID: 1, IO: 1}
