"""Live runs, recorded and replayed where KVM is real."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.host.live import Live
from kvmtop.model.snapshot import Snapshot
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder

from ..hosts import qemu
from ..support.recordings import equal
from . import scenarios, truth

KVMTOP = [sys.executable, "-m", "kvmtop"]


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    with scenarios.busy("--vcpus", "2") as process:
        yield process


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KVMTOP, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)


def without_dates(text: str) -> str:
    """The tables but for when they were printed, that one is of a recording, and what the live one could look at."""
    text = text.replace(" (--event sched tells who)", "")
    return re.sub(r"^(RECORDING of .*  )?\d{4}-\S+  ", "", text, flags=re.MULTILINE)


def test_a_replay_prints_what_the_live_run_printed(busy: subprocess.Popen[bytes], tmp_path: Path) -> None:
    file = tmp_path / "run.kvmtop"
    live = run("-T", "6", "--record", str(file))
    assert (live.returncode, live.stderr) == (0, "")
    replayed = run("replay", str(file))
    assert (replayed.returncode, replayed.stderr) == (0, "")
    summary = live.stdout[live.stdout.rindex("\n\n# ") + 1 :]
    print(summary)
    assert re.search(r"^(0x072|10): \d{4,} ", summary, re.MULTILINE)
    assert replayed.stdout.endswith(summary)
    assert 1 < len(re.findall(r"^REASON ", live.stdout, re.MULTILINE)) <= 6  # a slow host misses some, never counts
    assert without_dates(replayed.stdout) == without_dates(live.stdout)
    one = run("replay", str(file), "--pid", str(busy.pid))
    assert one.stdout.endswith(summary)


@pytest.fixture
def sleepy() -> Iterator[None]:
    """A guest whose VMM sleeps 20 ms on each `out`: all looks at once are much for an emulated host."""
    argv = [sys.executable, "-m", "kvmtop.host.selftest_guest", "--io-sleep", "0.02", "out:0"]
    with subprocess.Popen(argv) as process:
        yield
        process.kill()


def test_a_replay_tells_all_that_was_looked_at(sleepy: None, tmp_path: Path) -> None:
    """Object by object, findings too, and the stacks: of every kind of look."""
    file, live, replayed = (tmp_path / name for name in ("run.kvmtop", "live.json", "replayed.json"))
    looks = ("--event", "all", "--event", "sched", "--slow", "10ms", "--stacks")
    done = run("-T", "4", "--record", str(file), f"--json={live}", *looks)
    assert (done.returncode, done.stderr) == (0, "")
    again = run("replay", str(file), f"--json={replayed}", "--stacks")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == done.stdout and "# Where in the kernel" in done.stdout
    told, found = ([json.loads(line) for line in path.read_text().splitlines()] for path in (live, replayed))
    print(f"{len(told)} objects, {len(live.read_bytes())} bytes of JSON, {file.stat().st_size} of recording")
    assert {one.pop("recording") for one in told} == {None} and None not in {one.pop("recording") for one in found}
    for one in told:  # what the probes took is of that host at that moment: no recording has it
        one.pop("probes", None)
    assert {one.pop("probes", None) for one in found} == {None}
    for one, other in zip(told, found, strict=True):
        assert other == one, [name for name in one if other[name] != one[name]]
    *intervals, _ = told
    for section in ("touched", "slow", "polling", "profile", "scheduling"):
        assert all(one[section] is not None for one in intervals)
        print(section, [len(one[section]["exits"] if section == "slow" else one[section]) for one in intervals])
    assert any(row["kind"] == "io" and row["value"] == 0x10 for one in intervals for row in one["touched"])
    assert any(one["slow"]["exits"] for one in intervals) and any(one["scheduling"] for one in intervals)
    assert intervals[-1]["counted_by"]


def test_every_snapshot_of_real_guests_comes_back(tmp_path: Path) -> None:
    recorder = Recorder(Live(), tmp_path / "run")
    snapshots: list[Snapshot] = []
    with qemu.guest("web01", 2) as web:
        while len(snapshots) < 40:
            time.sleep(0.3)
            snapshots.append(recorder.read())
            if len(snapshots) == 10:
                truth.run_guest("cpuid:1000", "out:50")
            if len(snapshots) == 35:
                web.kill()
                web.wait()
    final = recorder.close()
    assert recorder.trouble is None
    found = Recording(tmp_path / "run")
    assert all(equal(a, b) for a, b in zip(found, snapshots, strict=True))
    assert equal(found.close(), final)
    assert {(vm.name, vm.ended) for vm in final.vms.values()} >= {("web01", True)}
    assert sum(int(c) for c in final.cells["count"]) > 5000
    size = (tmp_path / "run").stat().st_size
    print(f"{len(snapshots)} samples of {len(final.cells)} counters: {size} bytes")


@pytest.mark.long  # tests/recording/test_writer.py does it every day, on a host that is made up
def test_killed_at_random_moments(busy: subprocess.Popen[bytes], tmp_path: Path) -> None:
    for turn in range(10):
        file = tmp_path / f"run{turn}"
        kvmtop = subprocess.Popen(
            [*KVMTOP, "--batch", "-i", "0.1", "--record", str(file)], stdout=subprocess.PIPE, text=True
        )
        assert kvmtop.stdout
        printed = 0
        while printed < 2:
            printed += kvmtop.stdout.readline().startswith("REASON")
        time.sleep(random.Random(turn).random() * 0.4)
        kvmtop.kill()
        rest, _ = kvmtop.communicate()
        printed += len(re.findall(r"^REASON", rest, re.MULTILINE))
        found = Recording(file)
        print(f"killed after {printed} tables: {len(found)} samples")
        assert len(found) in (printed, printed + 1)
        assert sum(int(snapshot.cells["count"].sum() > 0) for snapshot in found) > 0
