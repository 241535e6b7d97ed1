from __future__ import annotations

import os
from dataclasses import replace

import jsonschema
import pytest

import kvmtop
from kvmtop import sanitize
from kvmtop.model.apic import NOT_RECORDED, Apic
from kvmtop.model.price import Price, Taken
from kvmtop.model.session import Session
from kvmtop.model.vocabulary import (
    HIT,
    NESTED,
    OUTSIDE,
    REFLECTED,
    STATES,
    SVM,
    UNKNOWN,
    UNPOLLED,
    VMX,
    WASTED,
    DetailRequest,
)
from kvmtop.output import summary
from kvmtop.output.csv_rows import TITLES, interval_rows
from kvmtop.output.json_lines import interval_line, summary_line
from kvmtop.reference.labels import Labels
from kvmtop.sanitize import clean

from ..support.exported import SCHEMA, VALIDATOR, Object, a_second, lines, rows
from ..support.fake import SECOND, Busy, Host
from ..support.hostile import HOSTILE
from ..support.others import Others


def interval(session: Session, host: Host) -> Object:
    (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
    return found


def test_the_schema_is_one_and_can_fail(host: Host) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    good = interval(Session(), host)
    bad: list[Object] = [
        {**good, "schema": 1},
        {**good, "isa": "AMD"},
        {**good, "length": -1.0},
        {**good, "surprise": 1},
        {**good, "type": "other"},
        {**good, "budget": {"guest": 2}},
        {k: v for k, v in good.items() if k != "honesty"},
        {**good, "vms": [{**good["vms"][0], "name": "a\nb"}]},
    ]
    for wrong in bad:
        assert not VALIDATOR.is_valid(wrong), wrong


def test_an_interval(host: Host) -> None:
    session = Session()
    session.add(host.read())
    a_second(host)
    host.counters.update(lost=4, unpaired=5, overwritten=6, ended_threads=7)
    host.counted_by = "classic kvm_exit: this kernel tells no types"
    found = interval(session, host)
    assert (found["schema"], found["type"], found["isa"], found["length"], found["elapsed"]) == (
        2,
        "interval",
        "SVM",
        1,
        1,
    )
    assert (found["kernel"], found["kvmtop"]) == (os.uname().release, kvmtop.__version__)
    assert found["totals"] == {"vms": 2, "vcpus": 3, "exits": 1503, "rate": 1503}
    assert found["budget"] == pytest.approx(
        dict.fromkeys(STATES, 0) | {"guest": 0.8279, "kernel": 0.0025, "user": 0.003, "idle": 0.1667}, abs=1e-4
    )
    assert sum(found["budget"].values()) == pytest.approx(1, abs=1e-5)
    assert found["honesty"] == {"lost": 4, "unpaired": 5, "overwritten": 6, "expired": 7}
    assert found["counted_by"] == "classic kvm_exit: this kernel tells no types"
    reasons = {reason["name"]: reason for reason in found["reasons"]}
    assert list(reasons) == ["0x009", "cpuid", "hlt", "io"]
    assert reasons["io"] == {
        "isa": "SVM",
        "code": 0x7B,
        "name": "io",
        "nested": None,
        "idle": False,
        "count": 300,
        "rate": 300,
        "share": 0.199601,
        "time_ns": 12_000_000,
        "time_share": 0.023238,
        "kernel_ns": 3_000_000,
        "user_ns": 9_000_000,
        "idle_ns": 0,
        "blocked_ns": 0,
        "wait_ns": 0,
        "throttled_ns": 0,
        "avg_ns": 40_000,
        "p50_ns": 40_000,
        "p99_ns": 40_000,
        "p99_9_ns": 40_000,
        "max_ns": 40_000,
        "min_ns": 40_000,
        "total": 300,
    }
    assert [name for name, reason in reasons.items() if reason["idle"]] == ["hlt"]
    db, web = found["vms"]
    assert (web["name"], web["pid"], web["alive"], web["rate"], web["top"]) == ("web01", 100, 2, 1501, "io")
    assert [(v["vcpu"], v["tid"], v["cpu"], v["top"], v["open"]) for v in web["vcpus"]] == [
        (0, 101, 1, "io", None),
        (1, 102, 2, None, None),
    ]
    assert web["vcpus"][1]["budget"] == dict.fromkeys(STATES, 0) | {"guest": 0.5, "idle": 0.5}
    assert (db["name"], db["rate"], len(db["vcpus"])) == ("db", 2, 1)

    host.now += 2 * SECOND
    host.exits(101, 0x72, *[2_000] * 5)
    found = interval(session, host)
    reasons = {reason["name"]: reason for reason in found["reasons"]}
    assert (reasons["cpuid"]["count"], reasons["cpuid"]["rate"], reasons["cpuid"]["total"]) == (5, 2.5, 1205)
    assert [reasons["io"][name] for name in ("count", "share", "time_share", "total")] == [0, 0, 0, 300]
    assert [reasons["io"][name] for name in ("avg_ns", "p99_ns", "max_ns")] == [None] * 3


def test_what_is_unknown_is_null() -> None:
    session, host = Session(), Host(isa=UNKNOWN)
    host.now += SECOND
    found = interval(session, host)
    assert (found["isa"], found["budget"], found["reasons"], found["vms"]) == (None, None, [], [])
    assert found["counted_by"] is None
    host = Host(isa=VMX)
    host.add(100, "a")
    host.now += SECOND
    host.exits(101, 10, 1000)
    host.leave(101, 12)
    host.now += SECOND
    host.told = tuple(state for state in STATES if state != "throttled")
    (found,) = lines(interval_line(session, session.add(replace(host.read(), cpus={})), Labels()))
    assert found["isa"] == "VMX"
    assert found["budget"]["throttled"] is None and found["budget"]["wait"] == 0
    (vcpu,) = found["vms"][0]["vcpus"]
    assert (vcpu["cpu"], vcpu["state"], vcpu["open"]["throttled_ns"], vcpu["open"]["idle_ns"]) == (
        *(None, "idle", None),
        SECOND,
    )
    assert {reason["throttled_ns"] for reason in found["reasons"]} == {None}

    host.now += SECOND
    host.told = ("guest",)  # as an old recording
    found = interval(session, host)
    assert {state for state, share in found["budget"].items() if share is not None} == {"guest"}
    (vcpu,) = found["vms"][0]["vcpus"]
    assert (vcpu["state"], vcpu["state_ns"]) == (None, None)
    assert (vcpu["open"]["ns"], vcpu["open"]["idle_ns"]) == (2 * SECOND, None)
    assert {reason["idle"] for reason in found["reasons"]} == {None}


def test_nesting(host: Host) -> None:
    session = Session()
    session.add(host.read())
    a_second(host)
    found = interval(session, host)
    assert {one["nesting_ns"] for vm in found["vms"] for one in vm["vcpus"]} == {None}
    host.exits(101, 0x72, 1000, 1000, isa=SVM | NESTED)
    host.exits(101, 0x72, 1000, isa=SVM | NESTED | REFLECTED)
    host.vcpus[101].nested = 7_000_000
    host.now += SECOND
    found = interval(session, host)
    VALIDATOR.validate(found)
    levels = {one["nested"]: (one["isa"], one["name"], one["count"]) for one in found["reasons"] if one["code"] == 0x72}
    assert levels["here"] == ("SVM", "cpuid (L2)", 2) and levels["reflected"] == ("SVM", "cpuid (L2→L1)", 1)
    costs = {one["tid"]: one["nesting_ns"] for vm in found["vms"] for one in vm["vcpus"]}
    assert costs.pop(101) == 7_000_000 and {*costs.values()} == {0}


def test_other_threads(host: Host) -> None:
    session, others = Session(), Others()
    assert [vm["threads"] for vm in interval(session, host)["vms"]] == [None, None]
    others.add(100, 100, "main", "qemu-system-x86", cpu=3)
    others.add(100, 104, "io", "IO \x1b[2Jio1", cpu=-1, throttled_ns=-1)
    for _ in range(2):
        host.now += SECOND
        host.others = others.rows(host.now)
        db, web = interval(session, host)["vms"]
        others.grow(100, cpu_ns=250_000_000, wait_ns=125_000_000, throttled_ns=25_000_000)
    assert db["threads"] is None
    assert web["threads"] == [
        {
            "tid": 100,
            "role": "main",
            "name": "qemu-system-x86",
            "cpu": 3,
            "busy": 0.25,
            "wait": 0.1,
            "throttled": 0.025,
        },
        {"tid": 104, "role": "io", "name": "IO  [2Jio1", "cpu": None, "busy": 0, "wait": 0, "throttled": None},
    ]
    host.end(100)
    host.others = host.others[:0]
    assert interval(session, host)["vms"][1]["threads"] is None


def test_a_stuck_vcpu(host: Host) -> None:
    session = Session()
    host.leave(101, 0x7B)
    host.now += SECOND
    host.to_user(101)
    session.add(host.read())
    host.now += 31 * SECOND
    web = interval(session, host)["vms"][1]
    assert (web["stuck"], web["stopped"], web["paused"]) == (True, False, False)
    first, second = web["vcpus"]
    nothing = {f"{state}_ns": 0 for state in OUTSIDE}
    assert first["open"] == nothing | {
        "reason": "io",
        "ns": 32 * SECOND,
        "kernel_ns": SECOND,
        "user_ns": 31 * SECOND,
    }
    assert (first["state"], first["state_ns"]) == ("user", 31 * SECOND)
    assert (first["stuck"], second["stuck"]) == (True, False)
    assert (second["state"], second["state_ns"]) == (None, None)  # nothing seen of it yet
    assert first["budget"]["user"] == 1


def test_a_vm_that_stands_still(host: Host) -> None:
    host.vms[100] = replace(host.vms[100], paused=True)
    host.vms[200] = replace(host.vms[200], stopped=True, quota="/a\x1b\nb: 20 ms of 100 ms")
    db, web = interval(Session(), host)["vms"]
    assert (db["stopped"], db["paused"], web["stopped"], web["paused"]) == (True, False, False, True)
    assert (db["quota"], web["quota"]) == (clean("/a\x1b\nb: 20 ms of 100 ms"), None)


def test_what_has_ended_is_told_once(host: Host) -> None:
    session = Session()
    for _ in range(2):
        host.now += SECOND
        host.exits(101, 0x72, 1000)
        session.add(host.read())
    host.vcpus[102].ended = host.now  # one vCPU of a VM
    host.now += SECOND
    assert len(interval(session, host)["vms"][1]["vcpus"]) == 1
    host.exits(101, 0x72, 1000)
    host.end(100)
    first, second = interval(session, host), interval(session, host)
    assert [(vm["name"], vm["ended"], vm["rate"] > 0) for vm in first["vms"]] == [
        ("db", False, False),
        ("web01", True, True),
    ]
    assert [vm["name"] for vm in second["vms"]] == ["db"]
    assert second["totals"]["vms"] == 1


def test_the_summary_says_the_same() -> None:
    host = Busy()
    for _ in range(3):
        host.read()
    host.leave(4001, 0x7B)  # still open: left out
    final = host.close()
    (found,) = lines(summary_line(final))
    assert found["type"] == "summary"
    text = summary.text(final).splitlines()[3:]
    assert text == [
        f"0x{r['code']:03x}: {r['count']} {r['sum_us']} {r['min_us']} {r['avg_us']} {r['max_us']}"
        for r in found["reasons"]
    ]
    assert len(text) == 6
    assert {r["name"] for r in found["reasons"]} >= {"hlt", "msr"}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(name: str) -> None:
    host, session = Host(), Session()
    host.add(100, name)
    host.exits(101, 0x72, 1000, 2000)
    host.now += SECOND
    done = session.add(host.read())
    (found,) = lines(interval_line(session, done, Labels()))
    expected = clean(name) or "pid 100"
    assert found["vms"][0]["name"] == expected
    assert len(expected) <= sanitize.NAME_LENGTH
    text = interval_rows(session, done)
    assert text.count("\n") == 1 and text.encode()
    (row,) = rows(",".join(TITLES) + "\n" + text)
    assert row["vm"].removeprefix("'" if expected[0] in "=+-@" else "") == expected
    assert row["vm"][0] not in "=+-@"
    assert (row["count"], row["lost"], row.get(None)) == ("2", "0", None)  # type: ignore[call-overload]


# ---- what was looked at


def test_details_are_null_while_nobody_looks(host: Host) -> None:
    session = Session()
    (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
    assert (found["touched"], found["slow"], found["polling"]) == (None, None, None)


def test_details() -> None:
    host, session = Host(), Session()
    host.add(100, "web\x1b[2J01", 2)
    host.look(DetailRequest(frozenset({"io", "poll", "window"}), slow_ns=1_000_000))
    session.add(host.read())
    host.now += SECOND
    host.exits(101, 0x7B, 2_000_000)
    host.touch(101, "io", 0x3F8, 0x101, 2_000_000, user=1_500_000)
    host.touch(102, "io", 0x3F8, 0x101, 1_000_000)
    host.touch(102, "poll", HIT, 0, 30_000)
    host.touch(102, "poll", WASTED, 0, 200_000, 200_000)
    host.touch(102, "poll", UNPOLLED, 0, 0)
    host.touch(102, "window", 0, 0, 200_000)
    host.linger(
        *(101, 0x7B, 2_000_000, 1_500_000, "io", 0x3F8, 0x101),
        rip=0xFFFFFFFF81000000,
        wait=300_000,
    )
    (found,) = lines(interval_line(session, session.add(host.read()), Labels()))
    keys = {(row["pid"], row["tid"]): row["count"] for row in found["touched"]}
    assert keys == {(None, None): 2, (100, None): 2, (100, 101): 1, (100, 102): 1}
    whole = found["touched"][0]
    assert whole["what"].startswith("port 0x3f8 COM1") and whole["rate"] == 2.0
    assert (whole["time_ns"], whole["max_ns"]) == (3_000_000, 2_000_000)
    assert (whole["kernel_ns"], whole["user_ns"], whole["idle_ns"]) == (1_500_000, 1_500_000, 0)
    (slow,) = found["slow"]["exits"]
    assert (slow["ns"], slow["kernel_ns"], slow["user_ns"], slow["wait_ns"]) == (2_000_000, 200_000, 1_500_000, 300_000)
    assert slow["what"] == whole["what"] and slow["rip"] == 0xFFFFFFFF81000000
    assert found["slow"]["threshold_ns"] == 1_000_000
    (polls,) = found["polling"]
    assert polls.pop("verdict").startswith("cheap: 33.3% of 3 polls hit")
    numbers = {"hits": 1, "wasted": 2, "other": 1, "success_ns": 30_000, "fail_ns": 400_000, "window_ns": 200_000}
    assert polls == {"pid": 100, "tid": 102, **numbers}


def test_whether_the_hardware_emulates_the_apics(host: Host) -> None:
    host.apic = Apic({pid: ("PIT_REINJ", "A\x1bB") if n else () for n, pid in enumerate(host.vms)})
    host.look(DetailRequest(frozenset({"apic"})))
    session = Session()
    session.add(host.read())
    host.touch(next(iter(host.vcpus)), "apic", 0xB0, 1, *[2_000] * 5)
    host.now += SECOND
    found = interval(session, host)
    assert VALIDATOR.is_valid(found)
    on, off = sorted((vm["apic"] for vm in found["vms"]), key=lambda apic: not apic["accelerated"])
    assert (on["accelerated"], on["inhibits"], on["text"], on["advice"]) == (True, [], "AVIC is on", None)
    assert sorted((on["exits"]["rate"], off["exits"]["rate"])) == [0, 5]
    assert (off["accelerated"], off["inhibits"]) == (False, ["PIT_REINJ", clean("A\x1bB")])
    assert off["text"].startswith("AVIC is off: PIT reinjection") and "\x1b" not in off["text"]
    assert "lost_tick_policy" in off["advice"]
    host.apic = NOT_RECORDED
    host.look(None)
    host.now += SECOND
    for vm in interval(session, host)["vms"]:
        assert vm["apic"] == {
            "accelerated": None,
            "inhibits": None,
            "text": "AVIC: – (not in recordings)",
            "advice": None,
            "exits": None,
        }


def test_what_the_probes_take(host: Host) -> None:
    session = Session()
    assert interval(session, host)["probes"] is None
    for price, told in (
        (Price(100, 10, Taken(40_000), {"details": Taken(160_000, 500)}, 3), (100, 10, 3, 400.0, 1600.0, 50.0, None)),
        (Price(why="it takes Linux 5.8"), (0, 0, 0, None, None, None, "it takes Linux 5.8")),
    ):
        host.now += SECOND
        host.exits(101, 0x7B, *[1_000] * 50)
        host.counters["price"] = price
        found = interval(session, host)
        VALIDATOR.validate(found)
        probes = found["probes"]
        share = probes.pop("share")
        assert tuple(probes.values()) == told
        assert (share is None) == (told[3] is None)
