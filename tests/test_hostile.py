"""Names that whoever starts a VM chooses, from a real process in /proc to every output: none breaks one."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from kvmtop import cli, sanitize
from kvmtop.bpf import privileges
from kvmtop.host import live, processes
from kvmtop.model.vocabulary import SVM, DetailRequest, Names, Vm
from kvmtop.output.prometheus import Exporter

from .support.dashboard import driving
from .support.exported import lines, rows
from .support.fake import NAMES, SECOND, Host
from .support.mtree import MTREE

NAME = b"\x1b[2J\x1b]0;t\x07[red][/]\xff\xfe\xc2\x9b31m\xe2\x80\xae\xe2\x81\xa6\r\n,,\"';=$(id)\t\xf3\xa0\x81\x81\xe2\x80\xa8end"
COMM = b"\x1b[5m\n[b]\xff\xc2\x9b,"
PR_SET_NAME = 15
# As a VMM would be started, and calls itself; -name as bytes, which are no UTF-8.
CODE = f"import ctypes, sys; ctypes.CDLL(None).prctl({PR_SET_NAME}, {COMM!r}); print(flush=True); sys.stdin.read()"


def of_a_process(*arguments: bytes) -> Vm:
    """What vms makes of a process with these arguments."""
    argv = [os.fsencode(sys.executable), b"-c", CODE.encode(), *arguments]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline()
        found = processes.vm(process.pid)
        process.communicate()
    return found


def harmless(text: str) -> bool:
    """Whether a terminal shows it, and obeys nothing of it."""
    return all(character.isprintable() or character == "\n" for character in text)


def test_of_a_process() -> None:
    assert ctypes.CDLL(None).prctl  # so that CODE can have set the comm
    for argument in (b"guest=" + NAME, NAME.replace(b",", b""), b"guest=" + b"\x1b\n" * 32_000 + b"x" * 65_000):
        found = of_a_process(b"-name", argument)
        assert harmless(found.name) and harmless(found.comm) and "\n" not in found.name + found.comm
        assert 0 < len(found.name) <= sanitize.NAME_LENGTH and "[b]" in found.comm
    assert "[red][/]" in of_a_process(b"-name", b"guest=" + NAME).name  # as it is, and no markup
    assert of_a_process(b"-name", b"\x1b\n\xe2\x80\xae").name == found.comm  # nothing is left of it


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    """With the names as they would be without vms, which is not the only guard; a reason's name is hostile, too."""
    host = Host(Names({SVM: {**NAMES.reasons[SVM], 0x72: NAME.decode(errors="replace")}}))
    for number, name in enumerate((of_a_process(b"-name", b"guest=" + NAME).name, "[bold]x[/]", "=cmd|'/C calc'!A0")):
        host.add(4000 + 10 * number, name)
    read = host.read

    def reading() -> object:
        host.now += SECOND
        for tid in host.vcpus:
            host.exits(tid, 0x7B, 9_000_000)
            host.touch(tid, "io", 0x3F8, 1, 1000)
            host.linger(tid, 0x7B, 9_000_000, kind="io", value=0x3F8, rip=0x1000)
        return read()

    def source(pids: object = (), flags: object = (), look: DetailRequest | None = None) -> Host:
        host.look(look)
        return host

    monkeypatch.setattr(host, "read", reading)
    monkeypatch.setattr(privileges, "may_load_bpf", lambda: True)
    monkeypatch.setattr(live, "Live", source)
    monkeypatch.chdir(tmp_path)
    Path("syms").write_bytes(b"0000000000001000 T " + NAME[:20].translate(None, b" ") + b"\n")
    Path("map").write_bytes(MTREE.encode())
    yield host


def test_in_every_output(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--json=json", "--csv=csv", "--record", "rec", "-o", "summary"]
    look = ["--event", "all", "--slow", "1ms", "--guest-kallsyms", "syms", "--memory-map", "map"]
    assert cli.main(["-b", "-i", "0.1", "-T", "0.3", *look, *files]) == 0
    shown = {"batch": "".join(capsys.readouterr())}
    assert cli.main(["replay", "rec"]) == 0
    shown["replay"] = "".join(capsys.readouterr())
    assert cli.main(["compare", "rec", "rec@0..2"]) == 0
    shown["compare"] = "".join(capsys.readouterr())
    exporter = Exporter(host)
    shown["metrics"] = exporter.scrape()[0].decode()
    shown |= {name: Path(name).read_text() for name in ("json", "csv", "summary")}
    assert not [name for name, text in shown.items() if not text or not harmless(text)]
    assert all("[red][/]" in shown[name] for name in ("batch", "replay", "json", "csv", "metrics"))  # it is there
    assert {vm["name"] for vm in lines(shown["json"])[0]["vms"]} == {vm.name for vm in host.vms.values()}
    assert len({row["vm"] for row in rows(shown["csv"])}) == 3 and "\n'=cmd" not in shown["csv"]
    assert "'=cmd" in shown["csv"]  # for a spreadsheet, a text
    assert {s.labels["vm"] for f in parse(shown["metrics"]) for s in f.samples if "vm" in s.labels} == {
        vm.name for vm in host.vms.values()
    }
    assert json.loads(shown["json"].splitlines()[-1])["type"] == "summary"


async def test_on_the_screen_and_in_its_picture(host: Host) -> None:
    seen = list[str]()
    async with driving(host, (120, 50)) as d:
        for keys in (["2", "home", "enter"], ["escape"], ["1", "home", "enter"], ["escape"], ["x"], ["escape"], ["f"]):
            await d.press(*keys)
            await d.tick()
            assert harmless(d.text()), keys
            seen.append(d.text())
        assert any("[bold]x[/]" in text for text in seen)  # as it is, and no markup
        picture = d.app.export_screenshot()
        assert "\x1b" not in picture and "\x9b" not in picture
