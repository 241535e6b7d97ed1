from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

import kvmtop
from kvmtop.model.apic import Apic
from kvmtop.model.histogram import bucket_bounds
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import OUTSIDE, STATES
from kvmtop.output import prometheus, summary
from kvmtop.output.prometheus import BOUNDS, MOST_REASONS, MOST_VMS, Exporter
from kvmtop.output.thread_times import MOST_SERIES, OTHERS
from kvmtop.sanitize import clean

from ..support.fake import SECOND, Busy, Host
from ..support.hostile import HOSTILE
from ..support.others import Others
from ..support.program import ROOT
from ..support.scraped import Series, get, scraped, series, values

# ---- values


def test_counters(host: Host) -> None:
    exporter = Exporter(host)
    exporter.read()
    host.now += SECOND
    host.exits(101, 0x72, *[2_000] * 1200)
    host.exits(102, 0x7B, *[40_000] * 300, user=30_000)
    host.exits(201, 0x78, SECOND // 2)
    host.counters.update(lost=4, unpaired=5, overwritten=6, ended_threads=7)
    found = scraped(exporter)
    assert get(found, "kvmtop_exits_total", vm="web01", pid="100", reason="cpuid") == 1200
    assert get(found, "kvmtop_exits_total") == 1501
    for reason, parts in (("io", {"kernel": 0.003, "user": 0.009}), ("hlt", {"idle": 0.5})):
        seconds = {w: get(found, "kvmtop_exit_seconds_total", reason=reason, where=w) for w in OUTSIDE}
        assert seconds == pytest.approx(dict.fromkeys(OUTSIDE, 0) | parts)
    assert get(found, "kvmtop_exit_duration_seconds_count", reason="io") == 300
    assert get(found, "kvmtop_exit_duration_seconds_sum", reason="io") == pytest.approx(0.012)
    budget = {state: get(found, "kvmtop_vcpu_seconds_total", vm="web01", state=state) for state in STATES}
    spent = {"guest": 2 - 0.0144, "kernel": 0.0054, "user": 0.009}
    assert budget == pytest.approx(dict.fromkeys(STATES, 0) | spent)
    assert get(found, "kvmtop_vcpus", vm="web01") == 2 and get(found, "kvmtop_vms") == 2
    names = ("lost_exits", "unpaired_entries", "overwritten_exits", "ended_threads")
    assert [get(found, f"kvmtop_{name}_total") for name in names] == [4, 5, 6, 7]
    assert get(found, "kvmtop_build_info", version=kvmtop.__version__, isa="SVM") == 1


def test_an_open_exit_and_a_stuck_vcpu(host: Host) -> None:
    exporter = Exporter(host)
    host.leave(101, 0x7B)
    host.to_user(101)
    host.leave(201, 0x78)
    exporter.read()
    for seconds in (2, 4):
        host.now += 2 * SECOND
        found = scraped(exporter)
        assert get(found, "kvmtop_exit_seconds_total", reason="io", where="user") == seconds
        assert get(found, "kvmtop_exit_seconds_total", reason="hlt", where="idle") == seconds
        assert get(found, "kvmtop_exits_total") == 0  # none has ended
        assert get(found, "kvmtop_stuck_vcpus") == (seconds > 3)
    assert get(found, "kvmtop_stuck_vcpus", vm="web01") == 1


def test_what_turns_out_to_be_throttled_takes_nothing_back(host: Host) -> None:
    exporter = Exporter(host)
    host.leave(201, 0x7B, "wait")
    exporter.read()
    host.now += 4 * SECOND
    scraped(exporter)
    for sums in (host.vcpus[201].states, host.vcpus[201].parts):
        sums.update(wait=SECOND, throttled=3 * SECOND)  # of the same four seconds
    for wait, throttled in ((4, 1), (4, 2), (4, 3), (5, 3)):
        host.now += SECOND
        found = scraped(exporter)
        for name, label in (("kvmtop_vcpu_seconds_total", "state"), ("kvmtop_exit_seconds_total", "where")):
            assert get(found, name, vm="db", **{label: "wait"}) == wait
            assert get(found, name, vm="db", **{label: "throttled"}) == throttled


def test_a_vm_that_stands_still(host: Host) -> None:
    exporter = Exporter(host)
    assert get(scraped(exporter), "kvmtop_paused_vms") == 0
    host.vms[100] = replace(host.vms[100], paused=True)
    host.vms[200] = replace(host.vms[200], stopped=True)
    found = scraped(exporter)
    assert (get(found, "kvmtop_paused_vms", vm="web01"), get(found, "kvmtop_paused_vms", vm="db")) == (1, 1)


def test_the_states_add_up_to_the_time_watched(host: Host) -> None:
    """Through changes of state, open exits and an end, at every reading; none of them ever goes back."""
    exporter, randomly, before = Exporter(host), random.Random(1), dict[str, float]()
    for tid in host.vcpus:
        host.turn(tid, "guest")
    watched = 0
    for step in range(300):
        tid, state = randomly.choice(list(host.vcpus)), randomly.choice(STATES)
        vcpu = host.vcpus[tid]
        if not vcpu.ended and state == "guest":
            host.enter(tid)
        elif not vcpu.ended:
            host.leave(tid, 0x7B, state) if vcpu.state == "guest" else host.turn(tid, state)
        ns = randomly.randrange(SECOND)
        host.now += ns
        watched += ns * sum(not vcpu.ended for vcpu in host.vcpus.values())
        if step == 200:
            host.end(200)
        if step % 3 == 0:
            found = scraped(exporter)
            now = {state: get(found, "kvmtop_vcpu_seconds_total", state=state) for state in STATES}
            assert sum(now.values()) == pytest.approx(watched / 1e9, abs=1e-9 * len(now))
            assert all(now[state] >= before.get(state, 0) for state in STATES)
            before = now
    outside = {where: get(found, "kvmtop_exit_seconds_total", where=where) for where in OUTSIDE}
    assert outside == pytest.approx({state: now[state] for state in OUTSIDE}) and min(now.values()) > 0


def test_histogram_is_consistent() -> None:
    host = Busy()
    exporter = Exporter(host)
    for _ in range(5):
        found = scraped(exporter)
    for pid, vm in ((4000, "web01"), (4100, "db01")):
        for reason in ("msr", "hlt", "io"):
            labels = {"pid": str(pid), "vm": vm, "reason": reason}
            buckets = [
                (float(dict(had)["le"]), value)
                for (name, had), value in found.items()
                if name == "kvmtop_exit_duration_seconds_bucket" and labels.items() <= dict(had).items()
            ]
            buckets.sort()
            assert len(buckets) == len(BOUNDS) + 1 == 19
            assert [value for _, value in buckets] == sorted(value for _, value in buckets)
            count = get(found, "kvmtop_exit_duration_seconds_count", **labels)
            assert buckets[-1][1] == count == get(found, "kvmtop_exits_total", **labels) > 0
            total = get(found, "kvmtop_exit_duration_seconds_sum", **labels)
            assert total == pytest.approx(get(found, "kvmtop_exit_seconds_total", **labels))
            # Between the least and the most that the buckets allow.
            least = most = below = edge = 0.0
            for le, value in buckets:
                least, most = least + (value - below) * edge, most + (value - below) * le if value > below else most
                below, edge = value, le
            assert least <= total <= most


@pytest.mark.parametrize("power", BOUNDS)
def test_no_exit_is_on_a_wrong_side_of_a_bound(power: int) -> None:
    host = Host()
    host.add(100, "a")
    for ns in ((1 << power) - 1, 1 << power):
        host.exits(101, 0x72, ns)
    found = scraped(Exporter(host))
    assert get(found, "kvmtop_exit_duration_seconds_bucket", le=str((1 << power) / 1e9)) == 1
    assert any(bucket_bounds(index)[0] == 1 << power for index in range(128))


def test_only_what_is_known_is_served(host: Host) -> None:
    host.exits(101, 0x72, 1000)
    host.told = STATES[:-1]
    found = scraped(Exporter(host))
    assert values(found, "kvmtop_vcpu_seconds_total", "state") == set(STATES[:-1])
    assert values(found, "kvmtop_exit_seconds_total", "where") == set(OUTSIDE[:-1])


def test_before_the_first_exit() -> None:
    found = scraped(Exporter(Host()))
    assert get(found, "kvmtop_vms") == 0
    assert (
        "kvmtop_build_info",
        frozenset({"version": kvmtop.__version__, "kernel": os.uname().release, "isa": ""}.items()),
    ) in found


# ---- counters only grow, and are bounded


def test_counters_never_go_back_and_lose_nothing() -> None:
    """VMs come and go, threads that ended leave the Snapshots, and a pid comes back as another VM."""
    host = Busy(3, 2)
    ended: set[int] = set()

    def read() -> Snapshot:
        snapshot = Busy.read(host)  # all threads of `ended` are folded: their cells belong to nobody
        ids = [host.vcpus[int(t)].tid for t in snapshot.threads["id"].astype("u4")]
        old = np.array([ids[row] in ended for row in snapshot.cells["thread"]])
        return replace(snapshot, cell_ids=np.where(old, 0, snapshot.cell_ids).astype("u8"))

    host_read = read
    source = Host()
    source.read = host_read  # type: ignore[method-assign]
    exporter = Exporter(source)
    before: Series = {}
    for step in range(12):
        if step == 4:
            host.end(4000)
        if step == 6:
            ended.update({4001, 4002})
        if step == 8:  # the pid is another VM's; its thread ids, too, in new rows
            host.vms[4000] = replace(host.vms[4000], name="new", ended=False)
            for tid in (4001, 4002):
                host.vcpus[tid + 50] = replace(host.vcpus[tid], tid=tid + 50, ended=0, cells={}, born=host.now)
        found = scraped(exporter)
        for key, value in before.items():
            if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
                assert found.get(key, value) >= value, key
        before = found
    last = exporter.scrape()[0]
    counted: dict[str, float] = {}
    for row in summary.rows(exporter._interval.after):  # type: ignore[union-attr]
        counted[row.name] = counted.get(row.name, 0) + row.count
    assert {name: get(series(last), "kvmtop_exits_total", reason=name) for name in counted} == counted
    assert values(found, "kvmtop_exits_total", "vm") == {"web01", "new", "db01", "cache01"}


def test_other_threads(host: Host) -> None:
    others, exporter = Others(), Exporter(host)
    assert values(scraped(exporter), "kvmtop_thread_cpu_seconds_total", "role") == set()
    others.add(100, 100, "main", "qemu")
    others.grow(100, cpu_ns=9 * SECOND)  # before kvmtop saw it
    others.add(200, 204, "io", 'IO "a"\n', throttled_ns=-1)
    for _ in range(3):
        host.now += SECOND
        host.others = others.rows(host.now)
        found = scraped(exporter)
        others.grow(100, cpu_ns=SECOND // 2, wait_ns=SECOND // 4, throttled_ns=SECOND // 8)
        others.grow(204, cpu_ns=SECOND // 8, wait_ns=SECOND // 8)
    main = {"vm": "web01", "pid": "100", "role": "main", "name": "qemu", "tid": "100"}
    assert get(found, "kvmtop_thread_cpu_seconds_total", **main) == 1
    assert get(found, "kvmtop_thread_wait_seconds_total", **main) == 0.25
    assert get(found, "kvmtop_thread_throttled_seconds_total", **main) == 0.25
    io = {"vm": "db", "pid": "200", "role": "io", "name": 'IO "a"', "tid": "204"}
    assert get(found, "kvmtop_thread_cpu_seconds_total", **io) == 0.25
    assert get(found, "kvmtop_thread_wait_seconds_total", **io) == 0.25
    assert values(found, "kvmtop_thread_throttled_seconds_total", "role") == {"main"}
    page, _ = exporter.scrape("application/openmetrics-text;version=1.0.0")
    assert len(list(parse_openmetrics(page.decode()))) > 3  # type: ignore[no-untyped-call]


def test_an_ended_vm_is_dropped_after_a_while(host: Host) -> None:
    exporter = Exporter(host)
    host.exits(101, 0x72, 1000)
    scraped(exporter)
    host.exits(101, 0x72, 1000)
    host.end(100)
    host.now += SECOND
    found = scraped(exporter)
    assert get(found, "kvmtop_exits_total", vm="web01") == 2
    assert get(found, "kvmtop_vcpus", vm="web01") == 0
    host.now += int(prometheus.KEEP_ENDED) * SECOND
    assert get(scraped(exporter), "kvmtop_exits_total", vm="web01") == 2
    host.now += SECOND
    for _ in range(2):  # it does not come back
        found = scraped(exporter)
        assert values(found, "kvmtop_vcpus", "vm") == {"db"}
        assert "web01" not in values(found, "kvmtop_vcpu_seconds_total", "vm")


def test_a_vm_that_lived_between_two_readings(host: Host) -> None:
    exporter = Exporter(host)
    scraped(exporter)
    host.add(300, "brief")
    host.exits(301, 0x72, 1000, 1000)
    host.end(300)
    host.now += SECOND
    assert get(scraped(exporter), "kvmtop_exits_total", vm="brief") == 2


def test_whether_apics_are_accelerated_and_why_not(host: Host) -> None:
    def told(name: str, label: str) -> dict[str, float]:
        return {
            dict(at)[label]: value for (one, at), value in scraped(exporter).items() if one == f"kvmtop_vm_apic_{name}"
        }

    host.add(300, "db02")
    host.apic = Apic({100: (), 300: ("PIT_REINJ", "bit\n40"), 999: ("IRQWIN",)}, "the others are not known")
    exporter = Exporter(host)
    assert told("accelerated", "vm") == {"web01": 1, "db02": 0}
    assert told("inhibited", "reason") == {"PIT_REINJ": 1, clean("bit\n40"): 1}
    assert told("inhibited", "vm").keys() == {"db02"}
    host.end(300)
    host.apic = Apic({100: ("SEV",), 300: ()})
    host.now += SECOND
    exporter.read()
    assert told("accelerated", "vm") == {"web01": 0} and told("inhibited", "reason") == {"SEV": 1}


def test_series_are_bounded() -> None:
    host, exits = Host(), 0
    for number in range(MOST_VMS + 40):
        pid = 1000 + 10 * number
        host.add(pid, f"vm{number}")
    for tid in host.vcpus:
        host.exits(tid, 0x72, 1000)
        exits += 1
    for code in range(MOST_REASONS + 20):
        host.exits(1001, 0x1000 + code, 1000)
        exits += 1
    exporter = Exporter(host)
    found = scraped(exporter)
    assert len(values(found, "kvmtop_exits_total", "vm")) == MOST_VMS + 1
    assert get(found, "kvmtop_exits_total", vm=OTHERS) == 40
    assert get(found, "kvmtop_exits_total", vm="vm0", reason=OTHERS) == 21
    assert get(found, "kvmtop_exits_total") == exits  # nothing is lost
    assert get(found, "kvmtop_vcpus", vm=OTHERS) == 40
    per_reason = sum(dict(labels).get("vm") == "vm1" for name, labels in found if "exit" in name)
    assert per_reason == 28
    mine = [dict(labels) for name, labels in found if dict(labels).get("vm") == "vm1" and name != "kvmtop_finding"]
    assert sum("reason" not in labels for labels in mine) == 10
    each = (MOST_REASONS + 1) * 28 + 10 + (1 + 64) + (MOST_SERIES + 1) * 3
    assert len(found) <= 142_000 == (MOST_VMS + 1) * each // 1000 * 1000 + 1000
    host.end(1000)  # makes room
    host.now += SECOND
    scraped(exporter)
    host.add(9000, "late")
    host.exits(9001, 0x72, 1000)
    host.now += SECOND
    found = scraped(exporter)
    assert get(found, "kvmtop_exits_total", vm="late") == 1
    assert len(values(found, "kvmtop_exits_total", "vm")) == MOST_VMS + 1


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names(name: str) -> None:
    host = Host()
    host.add(100, name)
    host.exits(101, 0x72, 1000, 2000)
    exporter = Exporter(host)
    found = scraped(exporter)
    assert values(found, "kvmtop_exits_total", "vm") == {clean(name) or "pid 100"}
    page, content_type = exporter.scrape("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    families = list[Metric](parse_openmetrics(page.decode()))  # type: ignore[no-untyped-call]
    (sample,) = next(family for family in families if family.name == "kvmtop_exits").samples
    assert (sample.labels["vm"], sample.value) == (clean(name) or "pid 100", 2)
    assert page.count(b"\n") == len(page.split(b"\n")) - 1 and b"\x1b" not in page and b"\0" not in page


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian's prometheus)")
def test_promtool_has_nothing_to_say() -> None:
    exporter = Exporter(Busy())
    exporter.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=exporter.scrape()[0], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian's prometheus)")
def test_the_rules_that_are_shown_can_be_loaded(tmp_path: Path) -> None:
    text = (ROOT / "docs/prometheus.md").read_text()
    (rules,) = re.findall(r"^    groups:\n(?: {4}.*\n)+", text, re.MULTILINE)
    (tmp_path / "rules.yml").write_text(textwrap.dedent(rules))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0 and "4 rules found" in done.stdout, done
    host, others = Busy(), Others()
    others.add(4000, 4000, "main", "qemu")
    host.others = others.rows(host.now)
    host.apic = Apic({4000: ("SEV",)})
    exporter = Exporter(host)
    served = {name for name, _ in scraped(exporter)} | {one.name for one in exporter.collect()}  # some have none here
    assert {name for name in re.findall(r"\bkvmtop_\w+", text) if name not in served} == set()
    assert set(re.findall(r'state="(\w+)"', text)) < set(STATES)


# ---- reading


def test_scrapes_in_quick_succession_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Busy()
    exporter = Exporter(host)
    monkeypatch.setattr(prometheus, "FRESH", 60)
    first = exporter.scrape()
    assert exporter.scrape() == first
    monkeypatch.setattr(prometheus, "FRESH", 0.05)
    time.sleep(0.1)
    assert exporter.scrape() != first


def test_a_scrape_leaves_reading_to_whoever_shows_it() -> None:
    host = Busy()
    exporter = Exporter(host, fresh=False)
    assert scraped(exporter) == {}  # nobody has read yet
    exporter.read()
    first = scraped(exporter)
    assert scraped(exporter) == first
    exporter.read()
    assert get(scraped(exporter), "kvmtop_exits_total") > get(first, "kvmtop_exits_total")


def test_the_dashboard_and_scrapes_read_at_the_same_time() -> None:
    host, inside = Busy(), threading.Lock()
    read = host.read

    def alone() -> Snapshot:
        assert inside.acquire(blocking=False)
        time.sleep(0.002)
        snapshot = read()
        inside.release()
        return snapshot

    host.read = alone  # type: ignore[method-assign]
    exporter, failures = Exporter(host), list[BaseException]()

    def work(what: Callable[[], object]) -> None:
        try:
            for _ in range(30):
                what()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(w,)) for w in (exporter.read, lambda: scraped(exporter)) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    found = series(exporter.scrape()[0])
    after = exporter._interval.after  # type: ignore[union-attr]
    counted = {row.name: row.count for row in summary.rows(after)}
    assert {name: get(found, "kvmtop_exits_total", reason=name) for name in counted} == counted


# ---- the page


OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;"
            "version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),  # Prometheus 2
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;"
            "escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            OPENMETRICS,
        ),  # Prometheus 3
        ("application/openmetrics-text;q=0", TEXT),
        ("Application/OpenMetrics-Text ; Q=0.000, */*", TEXT),
        ("application/openmetrics-text;q=0;version=1.0.0,text/plain", TEXT),
        ("application/openmetrics-text;q=0.001", OPENMETRICS),
        ("application/openmetrics-textual", TEXT),
        ("application/openmetrics-text;version=x", OPENMETRICS),
        ("application/openmetrics-text;version=9.9", OPENMETRICS),
        ("text/plain;version=1.0.0;escaping=values", TEXT),
        (",;=,q=0;", TEXT),
    ],
)
def test_which_format(accept: str, kind: str) -> None:
    page, found = Exporter(Busy()).scrape(accept)
    assert found == kind
    assert page.endswith(b"# EOF\n") == (kind == OPENMETRICS)


def test_prometheus_client_has_one_home() -> None:
    root = Path(kvmtop.__file__).parent
    users = {
        path.name
        for path in root.rglob("*.py")
        if re.search(r"^\s*(import|from) prometheus_client", path.read_text(), re.M)
    }
    assert users == {"prometheus.py"}


def test_findings_are_of_each_vm_and_go_when_they_are_over() -> None:
    host = Host()
    for pid, name in ((100, "web"), (200, "db"), (300, "mail")):
        host.add(pid, name)
    exporter = Exporter(host)
    scraped(exporter)

    def second(**shares: int) -> dict[tuple[str, str], float]:
        host.now += SECOND
        for tid, name in ((101, "web"), (201, "db"), (301, "mail")):
            host.vcpus[tid].states["wait"] += shares.get(name, 0) * SECOND // 100
            host.vcpus[tid].states["idle"] += (100 - shares.get(name, 0)) * SECOND // 100
        found = scraped(exporter)
        return {
            (dict(labels)["vm"], dict(labels)["rule"]): value
            for (name, labels), value in found.items()
            if name == "kvmtop_finding"
        }

    assert second() == {}
    assert second(web=50, db=30, mail=19) == {("web", "waits"): 0.5, ("db", "waits"): 0.3}
    assert second() == {}
