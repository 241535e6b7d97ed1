"""Debian's Prometheus scrapes kvmtop while guests run: its rates and sums are kvmtop's own."""

from __future__ import annotations

import configparser
import contextlib
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kvmtop

from ..support.exported import lines
from . import scenarios

KVMTOP = [sys.executable, "-m", "kvmtop"]
GUEST = [sys.executable, "-m", "kvmtop.host.selftest_guest"]
DATA = Path(kvmtop.__file__).parent / "data"
SCRAPE, WINDOW = 2, 30  # seconds
CONFIG = """\
global: {scrape_interval: %ds, scrape_timeout: %ds}
scrape_configs:
  - job_name: kvmtop
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""

needs_prometheus = pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed (Debian's)")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(*argv: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(argv, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def get(url: str, server: subprocess.Popen[str] | None = None, seconds: float = 60) -> bytes:
    """What is there, once it is; not if its server has ended."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20) as response:
                return bytes(response.read())
        except OSError:
            assert server is None or server.poll() is None, server.communicate()
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


class Prometheus:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        get(f"{self.url}/-/ready")

    def ask(self, query: str, at: float | None = None) -> list[dict[str, Any]]:
        parameters = {"query": query, **({"time": str(at)} if at else {})}
        found = json.loads(get(f"{self.url}/api/v1/query?{urllib.parse.urlencode(parameters)}"))
        assert found["status"] == "success", found
        result: list[dict[str, Any]] = found["data"]["result"]
        return result

    def by(self, label: str, query: str, at: float | None = None) -> dict[str, float]:
        return {row["metric"].get(label, ""): float(row["value"][1]) for row in self.ask(query, at)}


@needs_prometheus
def test_prometheus_says_what_kvmtop_says(tmp_path: Path) -> None:
    port, theirs, log = free_port(), free_port(), tmp_path / "intervals"
    (tmp_path / "prometheus.yml").write_text(CONFIG % (SCRAPE, SCRAPE, port))
    with (
        scenarios.busy() as first,
        running(*GUEST, "--io-sleep", "0.02", "out:0") as second,
        running(
            *KVMTOP,
            f"--openmetrics={port}",
            f"--json={log}",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as ours,
        running(
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address=127.0.0.1:{theirs}",
            "--log.level=error",
        ),
    ):
        page = get(f"http://127.0.0.1:{port}/metrics")
        checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
        prometheus = Prometheus(theirs)
        time.sleep(WINDOW + 5 * SCRAPE)
        # A sample bears the time at which its scrape began: those before `now` have all ended, so that two queries
        # see the same ones.
        now = time.time() - 2 * SCRAPE

        # Each sample is, to the exit, what kvmtop had counted at the end of one of its intervals.
        intervals = [json.loads(line) for line in log.read_text().splitlines()]
        counted = Counter[str]()
        own: list[dict[str, int]] = []
        for interval in intervals:
            counted.update({reason["name"]: reason["count"] for reason in interval["reasons"]})
            own.append(dict(counted))
        samples: dict[float, Counter[str]] = {}
        for series in prometheus.ask(f"kvmtop_exits_total[{WINDOW}s]", now):
            for at, value in series["values"]:
                samples.setdefault(at, Counter()).update({series["metric"]["reason"]: int(value)})
        assert len(samples) > WINDOW / SCRAPE * 0.8
        for at, sample in samples.items():
            assert {name: count for name, count in sample.items() if count} in own, (at, sample)

        # Rates, over the time between the first and the last sample that Prometheus has in its window.
        start, end = min(samples), max(samples)
        rates = prometheus.by("reason", f"sum by (reason) (rate(kvmtop_exits_total[{WINDOW}s]))", now)
        expected = {name: (count - samples[start][name]) / (end - start) for name, count in samples[end].items()}
        busy = {name: rate for name, rate in expected.items() if rate > 20}
        print(f"{'reason':<20} {'kvmtop/s':>10} {'Prometheus/s':>12}, {len(samples)} samples, {end - start:.1f} s")
        for name, rate in busy.items():
            print(f"{name:<20} {rate:>10.1f} {rates[name]:>12.1f}")
        assert len(busy) >= 2
        assert {name: rates[name] for name in busy} == pytest.approx(busy, rel=0.02)

        # Where the time went: the second guest's VMM sleeps 20 ms on each of its exits, the last 4 of them awake.
        of = f'pid="{second.pid}"'
        share = f"sum by (state) (rate(kvmtop_vcpu_seconds_total{{{of}}}[{WINDOW}s]))"
        parts = prometheus.by("state", share, now)
        print(parts)
        # A sample is as old as the interval that ended before it.
        stale = max(interval["length"] for interval in intervals) / (end - start)
        assert sum(parts.values()) == pytest.approx(1, abs=0.01 + stale)
        assert parts["blocked"] == max(parts.values()) > 0.4
        quantile = "histogram_quantile(0.5, sum by (le) (rate(kvmtop_exit_duration_seconds_bucket{%s,reason=~'io|IO.*'}[%ds])))"
        assert 0.01 < prometheus.by("", quantile % (of, WINDOW), now)[""] < 0.1

        # Every panel of the dashboard has something to show, but for states that this kernel does not tell.
        for panel in json.loads((DATA / "grafana.json").read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", f"{WINDOW}s")
                for variable in ("$instance", "$vm", "$reason"):
                    query = query.replace(variable, ".*")
                if set(re.findall(r'state="(\w+)"', query)) <= set(parts):
                    assert prometheus.ask(query, now), panel["title"]

        # Sums, after the guests have ended.
        for guest in (first, second):
            guest.kill()
            guest.wait()
        time.sleep(3 * SCRAPE)
        sums = prometheus.by("reason", "sum by (reason) (kvmtop_exits_total)")
        assert prometheus.by("", "sum(kvmtop_vcpus)")[""] == 0
        lost = prometheus.by("", "kvmtop_lost_exits_total")[""]
        ours.send_signal(signal.SIGHUP)  # a service goes on
        time.sleep(0.5)
        assert ours.poll() is None
        ours.send_signal(signal.SIGTERM)
        out, err = ours.communicate(timeout=60)
    assert ours.returncode == 0 and err.startswith("kvmtop: serving ") and err.count("\n") == 1, err
    *intervals, summary = lines(log.read_text())  # as the schema wants them
    counts = {reason["name"]: reason["count"] for reason in summary["reasons"]}
    added = Counter[str]()
    for interval in intervals:
        added.update({reason["name"]: reason["count"] for reason in interval["reasons"] if reason["count"]})
    assert added == counts
    print(out, sums)
    assert {name: count for name, count in sums.items() if count} == counts
    assert lost == summary["honesty"]["lost"] == 0
    table = dict(line.split()[:2] for line in out.splitlines() if line[:1].isdigit())
    assert list(map(int, table.values())) == [reason["count"] for reason in summary["reasons"]]


def test_with_no_more_rights_than_the_units() -> None:
    """As another user than root, with the capabilities of kvmtop.service and no others."""
    unit = configparser.RawConfigParser(strict=False)
    unit.read(DATA / "kvmtop.service")
    names = unit["Service"]["CapabilityBoundingSet"].lower().replace("cap_", "+").split()
    capabilities = ",".join(["-all", *names])
    setpriv = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
        f"--inh-caps={capabilities}",
        f"--ambient-caps={capabilities}",
        f"--bounding-set={capabilities}",
    ]
    port = free_port()
    with (
        scenarios.busy() as guest,
        running(
            *setpriv,
            *KVMTOP,
            "serve",
            str(port),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as ours,
    ):
        get(f"http://127.0.0.1:{port}/metrics", ours)
        time.sleep(3)
        page = get(f"http://127.0.0.1:{port}/metrics").decode()
        mine = [line for line in page.splitlines() if f'pid="{guest.pid}"' in line]
        (count,) = [
            float(line.split()[-1])
            for line in mine
            if line.startswith("kvmtop_exits_total") and "cpuid" in line.lower()
        ]
        assert count > 100
        assert any('state="wait"' in line for line in mine)
        ours.terminate()
        out, err = ours.communicate(timeout=60)
    print(out)
    assert ours.returncode == 0 and err.count("\n") == 1, err
