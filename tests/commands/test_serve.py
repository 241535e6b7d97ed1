"""Metrics as a service, beside a screen or tables, and of a recording."""

from __future__ import annotations

import configparser
import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import kvmtop
from kvmtop import cli
from kvmtop.commands import live, serve
from kvmtop.output.prometheus import Exporter

from ..support.fake import Busy
from ..support.program import AMD, sentence, start, until
from ..support.scraped import Series, get, scraped, series

DATA = Path(kvmtop.__file__).parent / "data"


def test_a_replay_is_served_in_its_own_time() -> None:
    """Of 70 seconds some have been played, whoever scrapes how often; then it is stopped."""
    port = free_port()
    command = [sys.executable, "-m", "kvmtop", "demo", "--openmetrics", str(port)]
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
    [
        ("9960", ("127.0.0.1", 9960)),
        (":9960", ("127.0.0.1", 9960)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("localhost:9960", ("localhost", 9960)),
    ],
)
def test_where_to_serve(text: str, where: tuple[str, int]) -> None:
    assert live.parser().parse_args(["--openmetrics", text]).openmetrics == where
    assert serve.parser().parse_args([text]).address == where


@pytest.mark.parametrize("text", ["", "0", "65536", "x", "9960:", "127.0.0.1", "-1", "²", "1e3", "host:x"])
def test_nowhere_to_serve(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in ([f"--openmetrics={text}", "-T", "1"], ["serve", "-T", "1", "--", text]):
        assert cli.main(argv) == 2
        assert "[ADDR:]PORT" in sentence(capsys.readouterr().err)


def page_of(port: int) -> Series:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
        return series(response.read())


@pytest.mark.parametrize("command", ["serve {}", "--openmetrics={}"])
def test_as_a_service(command: str) -> None:
    port = free_port()
    with start(*command.format(port).split(), "-i", "0.2", stdin=subprocess.DEVNULL) as process:
        assert process.stderr
        assert process.stderr.readline() == f"kvmtop: serving http://127.0.0.1:{port}/metrics\n"
        first = page_of(port)
        process.send_signal(signal.SIGHUP)
        before = get(first, "kvmtop_exits_total")
        until(lambda: get(page_of(port), "kvmtop_exits_total") > before)  # it goes on
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith(AMD) and len(out.splitlines()) > 5  # the summary and nothing else


def test_beside_tables_a_hangup_ends_it() -> None:
    with start(f"--openmetrics={free_port()}", "--batch", "-i", "0.2", stdin=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline()  # it reads
        process.send_signal(signal.SIGHUP)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and AMD in out


def test_a_taken_port_is_told() -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, start(f"--openmetrics={taken.getsockname()[1]}") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "Address already in use" in sentence(err)


# ---- what is shipped


def test_the_unit_starts_what_there_is() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DATA / "kvmtop.service")
    program, *argv = unit["Service"]["ExecStart"].split()
    assert program.endswith("/bin/kvmtop") and argv.pop(0) == "serve"
    assert serve.parser().parse_args(argv).address[0] == "127.0.0.1"
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
