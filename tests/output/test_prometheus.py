from __future__ import annotations

import configparser
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

import kvmtop
from kvmtop import cli
from kvmtop.errors import KvmtopError
from kvmtop.model.histogram import bucket_bounds
from kvmtop.model.snapshot import Snapshot
from kvmtop.model.vocabulary import PARTS
from kvmtop.output import http_server, summary
from kvmtop.output import prometheus as openmetrics
from kvmtop.output.http_server import MOST_CLIENTS, Server
from kvmtop.output.prometheus import BOUNDS, MOST_REASONS, MOST_VMS, OTHERS, Exporter
from kvmtop.sanitize import clean

from ..support.fake import SECOND, Busy, Host
from ..support.hostile import HOSTILE
from ..support.program import AMD, sentence, start
from ..support.scraped import Series, scraped, series

DATA = Path(kvmtop.__file__).parent / "data"


def get(found: Series, name: str, **labels: str) -> float:
    """The sum of the series that have these labels."""
    values = [value for (n, had), value in found.items() if n == name and labels.items() <= dict(had).items()]
    assert values, (name, labels)
    return sum(values)


def values(found: Series, name: str, label: str) -> set[str]:
    return {dict(labels)[label] for (n, labels) in found if n == name}


@pytest.fixture
def host() -> Host:
    host = Host()
    host.add(100, "web01", 2)
    host.add(200, "db")
    return host


# ---- values


def test_counters(host: Host) -> None:
    exporter = Exporter(host)
    exporter.read()
    host.now += SECOND
    host.exits(101, 0x72, *[2_000] * 1200)
    host.exits(102, 0x7B, *[40_000] * 300, user=30_000)
    host.exits(201, 0x78, SECOND // 2)
    host.vcpus[101].guest = SECOND - 2_400_000
    host.counters.update(lost=4, unpaired=5, overwritten=6)
    found = scraped(exporter)
    assert get(found, "kvmtop_exits_total", vm="web01", pid="100", reason="cpuid") == 1200
    assert get(found, "kvmtop_exits_total") == 1501
    seconds = {w: get(found, "kvmtop_exit_seconds_total", reason="io", where=w) for w in ("kernel", "user")}
    assert seconds == pytest.approx({"kernel": 0.003, "user": 0.009})
    assert get(found, "kvmtop_exit_seconds_total", reason="hlt", where="idle") == 0.5
    assert get(found, "kvmtop_exit_seconds_total", reason="hlt", where="kernel") == 0
    assert get(found, "kvmtop_exit_duration_seconds_count", reason="io") == 300
    assert get(found, "kvmtop_exit_duration_seconds_sum", reason="io") == pytest.approx(0.012)
    budget = {part: get(found, "kvmtop_vcpu_seconds_total", vm="web01", state=part) for part in PARTS}
    assert budget == pytest.approx({"guest": 0.9976, "kernel": 0.0054, "user": 0.009, "idle": 0, "wait": 0})
    assert get(found, "kvmtop_vcpus", vm="web01") == 2 and get(found, "kvmtop_vms") == 2
    names = ("lost_exits", "unpaired_entries", "overwritten_exits", "ended_threads")
    assert [get(found, f"kvmtop_{name}_total") for name in names] == [4, 5, 6, 0]
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
            assert total == pytest.approx(
                sum(get(found, "kvmtop_exit_seconds_total", **labels, where=w) for w in ("user", "idle" if reason == "hlt" else "kernel"))
            )  # fmt: skip
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
    snapshot = replace(host.read(), run_delay={})
    host.read = lambda: snapshot  # type: ignore[method-assign]
    found = scraped(Exporter(host))
    assert values(found, "kvmtop_vcpu_seconds_total", "state") == {"guest", "kernel", "user", "idle"}


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
    gone: set[int] = set()

    def read() -> Snapshot:
        snapshot = Busy.read(host)  # all threads of `gone` are folded: their cells belong to nobody
        ids = [host.vcpus[int(t)].tid for t in snapshot.threads["id"].astype("u4")]
        old = np.array([ids[row] in gone for row in snapshot.cells["thread"]])
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
            gone.update({4001, 4002})
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
    host.now += int(openmetrics.KEEP_ENDED) * SECOND
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
    assert per_reason - 1 <= 25  # without kvmtop_stuck_vcpus
    for name in ("kvmtop_vcpu_seconds_total", "kvmtop_vcpus", "kvmtop_stuck_vcpus"):
        assert sum(n == name for n, _ in found) <= (MOST_VMS + 1) * 5
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


# ---- reading


def test_scrapes_in_quick_succession_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Busy()
    exporter = Exporter(host)
    monkeypatch.setattr(openmetrics, "FRESH", 60)
    first = exporter.scrape()
    assert exporter.scrape() == first
    monkeypatch.setattr(openmetrics, "FRESH", 0.05)
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


def test_waiting_stays_known_when_nobody_lives(host: Host) -> None:
    exporter = Exporter(host)
    scraped(exporter)
    snapshot = replace(host.read(), run_delay={})
    host.read = lambda: snapshot  # type: ignore[method-assign]
    assert get(scraped(exporter), "kvmtop_vcpu_seconds_total", state="wait") == 0


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


# ---- HTTP


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server("127.0.0.1", 0)
    exporter = Exporter(Busy())
    server.start(exporter.scrape)
    yield server
    server.stop()


def ask(server: Server, method: str, path: str) -> tuple[int, bytes, http.client.HTTPResponse]:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    client.request(method, path, headers={"Accept": "text/plain"})
    response = client.getresponse()
    return response.status, response.read(), response


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def send(server: Server, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/metrics", 200), ("GET", "/metrics?x=1", 200), ("GET", "/", 404), ("GET", "/metrics/", 404),
     ("GET", "/../etc/passwd", 404), ("POST", "/metrics", 405), ("HEAD", "/metrics", 200), ("HEAD", "/", 404), ("BREW", "/metrics", 405), ("DELETE", "/", 404),
     ("GET", "http://127.0.0.1/metrics", 404)],
)  # fmt: skip
def test_one_page(server: Server, method: str, path: str, status: int) -> None:
    found, content, response = ask(server, method, path)
    assert found == status
    assert response.headers["Connection"] == "close"
    assert method != "HEAD" or content == b""
    if status == 200:
        assert method == "HEAD" or get(series(content), "kvmtop_vms") == 2
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    if status == 405:
        assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("request_", "status"),
    [(b"GET /metrics\r\n\r\n", b"400"), (b"\r\n\r\n", b"400"), (b"\xff\x00\xfe\r\n\r\n", b"400"),
     (b"GET /metrics HTTP/1.0\r\n\r\n", b"200"), (b"GET /metrics HTTP/2\r\n\r\n", b"400"),
     (b"GET /metrics HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", b"431"),
     (b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1\nSet-Cookie: a\r\n\r\n", b"200")],
    ids=range(7),
)  # fmt: skip
def test_odd_requests(server: Server, request_: bytes, status: bytes) -> None:
    try:
        answer = send(server, request_)
    except ConnectionResetError:  # it was not read to its end
        assert status == b"431"
        return
    assert answer.split(b" ")[1] == status
    assert b"Set-Cookie" not in answer


def test_what_is_sent_to_the_byte(server: Server) -> None:
    server._page = lambda accept: (b"page " + accept.encode(), "text/fancy")
    request = b"GET /metrics HTTP/1.1\r\nAccept: a, b\r\nHost: localhost\r\naccept: c\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/fancy\r\nContent-Length: 11\r\nConnection: close\r\n\r\n"
    assert send(server, request) == head + b"page a, b,c"
    assert send(server, request.replace(b"GET", b"HEAD")) == head
    plain = b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%sConnection: close\r\n\r\n"
    found = send(server, b"GET / HTTP/1.1\r\n\r\n")
    assert found == b"HTTP/1.1 404 Not Found\r\n" + plain % (24, b"") + b"metrics are at /metrics\n"
    found = send(server, b"PUT /metrics HTTP/1.1\r\n\r\n")
    assert found == b"HTTP/1.1 405 Method Not Allowed\r\n" + plain % (0, b"Allow: GET, HEAD\r\n")
    assert send(server, b"<script>\r\n\r\n") == b"HTTP/1.1 400 Bad Request\r\n" + plain % (0, b"")


@pytest.mark.parametrize(("part", "times"), [("X: %s\r\n", 90), ("X: %s\r\n", 1), ("%s", 1)])
def test_a_request_is_bounded_as_a_whole(server: Server, part: str, times: int) -> None:
    for length, status in ((7000, b"200"), (http_server.LONGEST_REQUEST, b"431")):
        more = part % ("x" * (length // times)) * times
        path, headers = ("", more) if part.endswith("\n") else (more, "")
        request = f"GET /metrics?{path} HTTP/1.1\r\n{headers}\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            try:
                client.sendall(request.encode())
                assert client.recv(100).split()[1] == status
            except ConnectionResetError:  # it was not read to its end
                assert status == b"431"


LOCAL = ["localhost", "LOCALHOST:9960", "127.0.0.1", "127.0.0.1:1", "127.255.0.9:80", "[::1]", "[::1]:9960"]
FOREIGN = ["evil.example", "evil.example:9960", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "[::2]",
           "0.0.0.0", "", ":9960", "[", "[::1", "evil.example\\@x", "localhost/@evil.example:1x", "\xff"]  # fmt: skip


@pytest.mark.parametrize("host", [*LOCAL, *FOREIGN])
def test_whose_name_a_web_page_lends_it(server: Server, host: str) -> None:
    """DNS rebinding: the browser is at 127.0.0.1, and asks for evil.example."""
    answer = send(server, f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
    if host in LOCAL:
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and b"web01" in answer
    else:
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
        assert content.count(b"\n") == 1 and server.url.encode() in content


def test_two_hosts_are_one_too_many(server: Server) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert send(server, request).split()[1] == b"421"


def test_a_public_server_is_asked_by_any_name() -> None:
    server = Server("0.0.0.0", 0)
    server.start(Exporter(Busy()).scrape)
    for host in LOCAL + FOREIGN:
        request = f"GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")
        assert send(server, request).split()[1] == b"200", host
    server.stop()


def test_the_name_that_it_was_started_with_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian's /etc/hosts gives a host's own name to 127.0.1.1."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.1.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    server = Server("Kvm7", 0)
    assert server.knows(f"kvm7:{server.port}") and server.knows("localhost") and not server.knows("kvm8")
    server.stop()


OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("", TEXT), ("*/*", TEXT), ("text/plain", TEXT), ("application/openmetrics-text", OPENMETRICS),
     ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;"
      "version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),  # Prometheus 2
     ("application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=1.0.0;"
      "escaping=allow-utf-8;q=0.4,*/*;q=0.2", OPENMETRICS),  # Prometheus 3
     ("application/openmetrics-text;q=0", TEXT), ("Application/OpenMetrics-Text ; Q=0.000, */*", TEXT),
     ("application/openmetrics-text;q=0;version=1.0.0,text/plain", TEXT),
     ("application/openmetrics-text;q=0.001", OPENMETRICS), ("application/openmetrics-textual", TEXT),
     ("application/openmetrics-text;version=x", OPENMETRICS), ("application/openmetrics-text;version=9.9", OPENMETRICS),
     ("text/plain;version=1.0.0;escaping=values", TEXT), (",;=,q=0;", TEXT)],
)  # fmt: skip
def test_which_format(accept: str, kind: str) -> None:
    page, found = Exporter(Busy()).scrape(accept)
    assert found == kind
    assert page.endswith(b"# EOF\n") == (kind == OPENMETRICS)


def test_slow_clients_are_cut_off_and_in_nobodys_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 2.0)
    began, slow = (
        time.monotonic(),
        [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(10)],
    )
    for client in slow:
        client.sendall(b"GET /metr")
    assert ask(server, "GET", "/metrics")[0] == 200
    assert time.monotonic() - began < 2
    while time.monotonic() - began < 1.5:  # a byte now and then does not help
        slow[0].sendall(b"i")
        time.sleep(0.1)
    for client in slow:
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""
        client.close()
    assert 1.9 < time.monotonic() - began < 10


def test_hundreds_of_clients_that_are_idle_or_slow_lock_nobody_out(server: Server) -> None:
    """Idle ones, ones in the middle of a request, and ones that do not read: the oldest have to go."""
    page = server._page
    server._page = lambda accept: (b"x" * 5_000_000, "text/plain") if accept == "all" else page(accept)
    before, clients = len(os.listdir("/proc/self/fd")), list[socket.socket]()
    threads = threading.active_count()
    for request in (b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nAccept: all\r\n\r\n") * 100:
        clients.append(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        clients[-1].sendall(request)
        assert len(server._clients) <= MOST_CLIENTS
        assert threading.active_count() - threads <= MOST_CLIENTS + 3  # the server's, and those that are ending
    for _ in range(5):
        began = time.monotonic()
        assert ask(server, "GET", "/metrics")[0] == 200
        assert time.monotonic() - began < http_server.PATIENCE / 2
    assert len(os.listdir("/proc/self/fd")) - before <= len(clients) + MOST_CLIENTS + 1
    with contextlib.suppress(ConnectionResetError):
        assert clients[0].recv(10) == b""  # it was let go
    for client in clients:
        client.close()


def test_many_at_once(server: Server) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(ask(server, "GET", "/metrics")[0])) for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [200] * 25


def test_a_client_that_does_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 1.0)
    server._page = lambda accept: (b"x" * 50_000_000, "text/plain")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        until(lambda: len(server._clients) == 1)
        until(lambda: not server._clients)


def test_a_source_that_fails() -> None:
    def page(accept: str) -> tuple[bytes, str]:
        raise KvmtopError("the map has gone")

    server = Server("127.0.0.1", 0)
    server.start(page)
    status, content, _ = ask(server, "GET", "/metrics")
    assert (status, content) == (503, b"the map has gone\n")
    server.stop()


def test_it_ends_at_once_whoever_is_connected() -> None:
    server = Server("127.0.0.1", 0)
    server.start(Exporter(Busy()).scrape)
    with socket.create_connection(("127.0.0.1", server.port)):
        until(lambda: len(server._clients) == 1)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < http_server.PATIENCE / 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


@pytest.mark.skipif(not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_ipv6() -> None:
    server = Server("::1", 0)
    server.start(Exporter(Busy()).scrape)
    assert server.url == f"http://[::1]:{server.port}/metrics"
    with urllib.request.urlopen(server.url, timeout=10) as response:
        assert response.status == 200
    server.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1", "no.such.host.invalid"])
def test_a_port_that_cannot_be_had(address: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(KvmtopError, match="cannot serve metrics on") as told,
    ):
        Server(address, taken.getsockname()[1])
    assert "None" not in str(told.value)


# ---- the command


def test_a_replay_is_served_in_its_own_time() -> None:
    """Of 70 seconds some have been played, whoever scrapes how often; then it is stopped."""
    port = free_port()
    command = [sys.executable, "-m", "kvmtop", "--demo", "--openmetrics", str(port)]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as kvmtop:
        assert kvmtop.stderr and "serving" in kvmtop.stderr.readline()
        end, page = time.monotonic() + 30, ""
        while "kvmtop_exits_total{" not in page and time.monotonic() < end:
            time.sleep(0.1)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                page = response.read().decode()
        assert 'kernel="6.1.0' in page and 'vm="web01"' in page and 'vm="db01"' not in page
        kvmtop.terminate()
        assert kvmtop.wait(10) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@pytest.mark.parametrize(
    ("text", "where"),
    [("9960", ("127.0.0.1", 9960)), (":9960", ("127.0.0.1", 9960)), ("0.0.0.0:1", ("0.0.0.0", 1)),
     ("[::1]:65535", ("::1", 65535)), ("localhost:9960", ("localhost", 9960))],
)  # fmt: skip
def test_where_to_serve(text: str, where: tuple[str, int]) -> None:
    assert cli.parser().parse_args(["--openmetrics", text]).openmetrics == where


@pytest.mark.parametrize("text", ["", "0", "65536", "x", "9960:", "127.0.0.1", "-1", "²", "1e3", "host:x"])
def test_nowhere_to_serve(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([f"--openmetrics={text}", "-T", "1"]) == 2
    assert "[ADDR:]PORT" in sentence(capsys.readouterr().err)


def page_of(port: int) -> Series:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        return series(response.read())


def test_as_a_service() -> None:
    port = free_port()
    with start(f"--openmetrics={port}", "-i", "0.2", stdin=subprocess.DEVNULL) as process:
        assert process.stderr
        assert process.stderr.readline() == f"kvmtop: serving http://127.0.0.1:{port}/metrics\n"
        first = page_of(port)
        process.send_signal(signal.SIGHUP)
        before = get(first, "kvmtop_exits_total")
        until(lambda: get(page_of(port), "kvmtop_exits_total") > before)  # it goes on
        process.terminate()
        out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(AMD) and len(out.splitlines()) > 5  # the summary and nothing else


def test_beside_tables_a_hangup_ends_it() -> None:
    with start(f"--openmetrics={free_port()}", "--batch", "-i", "0.2", stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline()  # it reads
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and AMD in out


def test_a_taken_port_is_told() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, start(f"--openmetrics={taken.getsockname()[1]}") as process:
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert "Address already in use" in sentence(err)


def test_prometheus_client_has_one_home() -> None:
    root = Path(kvmtop.__file__).parent
    users = {
        path.name
        for path in root.rglob("*.py")
        if re.search(r"^\s*(import|from) prometheus_client", path.read_text(), re.M)
    }
    assert users == {"prometheus.py"}


# ---- what is shipped


def test_the_unit_starts_what_there_is() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DATA / "kvmtop.service")
    program, *argv = unit["Service"]["ExecStart"].split()
    options = cli.parser().parse_args(argv)
    assert program.endswith("/bin/kvmtop") and options.openmetrics[0] == "127.0.0.1"
    assert unit["Service"]["AmbientCapabilities"] == unit["Service"]["CapabilityBoundingSet"]
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", DATA / "kvmtop.service"], capture_output=True, text=True)
        assert [line for line in done.stderr.splitlines() if "is not executable" not in line] == []


def test_the_dashboard_asks_for_what_there_is() -> None:
    host = Busy()
    exporter = Exporter(host)
    exporter.read()
    names = {name for name, _ in scraped(exporter)}
    board = json.loads((DATA / "grafana.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    asked += [variable["definition"] for variable in board["templating"]["list"] if "definition" in variable]
    assert len(asked) > 10
    for query in asked:
        used = set(re.findall(r"kvmtop_\w+", query))
        assert used and used <= names, query
    known = {"instance", "vm", "reason", "state", "where", "le", "pid"}
    assert set(re.findall(r'(\w+)(?:=~|=|!=)"', " ".join(asked))) <= known
