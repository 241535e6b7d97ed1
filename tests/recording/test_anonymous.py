"""Recordings that strangers may read."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.insight.slow_exits import read
from kvmtop.model.interval import diff
from kvmtop.model.provenance import Origin
from kvmtop.model.vocabulary import KINDS
from kvmtop.recording.anonymous import ADDRESSES, Anonymous
from kvmtop.recording.reader import Recording
from kvmtop.recording.writer import Recorder

from ..support.program import start
from ..support.watched import EVERYTHING, Watched


def record(path: Path, anonymous: bool) -> Watched:
    host = Watched()
    host.origin = Origin("kvm07.example.org", "6.1.0")
    host.vms = {pid: replace(vm, aliases=("uuid-of-it",), comm="qemu:secret") for pid, vm in host.vms.items()}
    recorder = Recorder(Anonymous(host) if anonymous else host, path)
    host.look_at()
    for _ in range(5):
        recorder.read()
    recorder.close()
    assert recorder.trouble is None
    return host


def everything(path: Path) -> bytes:
    """All that is in the file, with its frames unpacked."""
    found = [path.read_bytes()]
    with closing(sqlite3.connect(path)) as database:
        for table in ("frames", "bases"):
            found += [zlib.decompress(frame) for (frame,) in database.execute(f"SELECT frame FROM {table}")]
    return b"\0".join(found)


SECRETS = (b"web01", b"db01", b"uuid-of-it", b"secret", b"kvm07", b"backup.service", b"disk.img", b"far01")


def test_no_name_is_left(tmp_path: Path) -> None:
    record(tmp_path / "plain", False)
    assert all(secret in everything(tmp_path / "plain") for secret in SECRETS)
    record(tmp_path / "anonymous", True)
    assert not [secret for secret in SECRETS if secret in everything(tmp_path / "anonymous")]


def test_no_guest_address_is_left(tmp_path: Path) -> None:
    record(tmp_path / "run", True)
    recording = Recording(tmp_path / "run")
    for n in range(5):
        snapshot = recording.at(n)
        assert snapshot.details and len(snapshot.details.slow) and len(snapshot.details.touched)
        assert not {KINDS[kind] for kind in snapshot.details.touched["kind"].tolist()} & ADDRESSES
        for one in read(snapshot.details.slow, snapshot):
            assert one.rip == 0 and one.info is None and one.kind not in ADDRESSES


def test_the_figures_are_the_same(tmp_path: Path) -> None:
    for name in ("plain", "anonymous"):
        record(tmp_path / name, name == "anonymous")
    plain, anonymous = (Recording(tmp_path / name).at(4) for name in ("plain", "anonymous"))
    assert (diff(None, plain).rows == diff(None, anonymous).rows).all()
    assert plain.vms.keys() == anonymous.vms.keys()
    assert sorted(vm.name for vm in anonymous.vms.values()) == ["VM 1", "VM 2"]
    assert plain.scheduling and anonymous.scheduling
    assert (plain.scheduling.charges["ns"] == anonymous.scheduling.charges["ns"]).all()
    assert set(anonymous.scheduling.charges["comm"].tolist()) == set(anonymous.others["comm"].tolist()) == {b""}
    quotas = {vm.quota for vm in anonymous.vms.values()} - {""}
    assert all(quota.startswith("its cgroup: ") for quota in quotas)


def test_what_is_asked_for_has_no_addresses() -> None:
    host = Watched()
    Anonymous(host).look(EVERYTHING)
    assert host.wish and host.wish.kinds == EVERYTHING.kinds - ADDRESSES
    Anonymous(host).look(None)
    assert host.wish is None


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run"
    with start("record", str(file), "--anonymous", "-i", "0.1", "-T", "0.3") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "recording to" in err
    assert b"web" not in everything(file)
    assert cli.main(["replay", str(file), "--json"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert all(vm["name"].startswith("VM ") for vm in line["vms"]) and line["vms"]
