"""--vm, --reason, --sort, --top and --no-idle, on the demo and on a host that is made up: the same in every output."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest

from kvmtop import cli
from kvmtop.commands.demo import FOLDER

from .support.fake import Busy
from .support.program import AMD, RUN, start

DEMO = ["demo"]  # has the VMs web01 and db01


SAID: dict[tuple[str, ...], str] = {}  # by arguments: recordings say the same each time


def out(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    if argv not in SAID:
        assert cli.main(list(argv)) == 0
        SAID[argv] = capsys.readouterr().out
    return SAID[argv]


def objects(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in out(capsys, *DEMO, "--json", *argv).splitlines()]


def test_a_vm_by_pattern_in_every_output(capsys: pytest.CaptureFixture[str]) -> None:
    tables = out(capsys, *DEMO, "--batch", "--vm", "web*")
    assert re.search(r"^web01 ", tables, re.MULTILINE) and "db01" not in tables
    *intervals, summary = objects(capsys, "--vm", "web*")
    assert {vm["name"] for one in intervals for vm in one["vms"]} == {"web01"}  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(out(capsys, *DEMO, "--csv", "--vm", "web*"))))
    assert {row["vm"] for row in rows} == {"web01"}
    # The summary is of this VM, and both together are what it is of all.
    others = objects(capsys, "--vm", "db01")[-1]
    added: dict[object, int] = {}
    for part in (summary, others):
        for reason in part["reasons"]:  # type: ignore[attr-defined]
            added[reason["code"]] = added.get(reason["code"], 0) + reason["count"]
    assert added == {reason["code"]: reason["count"] for reason in objects(capsys)[-1]["reasons"]}  # type: ignore[attr-defined]


def test_reasons_are_chosen_and_ordered_but_the_summary_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    whole = out(capsys, *DEMO, "--batch")
    chosen = out(capsys, *DEMO, "--batch", "--no-idle", "--top", "2", "--sort", "rate")
    assert chosen[chosen.index(AMD) :] == whole[whole.index(AMD) :]
    assert not re.search(r"^hlt ", chosen, re.MULTILINE) and re.search(r"^hlt ", whole, re.MULTILINE)
    for found in re.findall(r"^REASON .*\n((?:\S.*\n)*)", chosen, re.MULTILINE):
        assert len(found.splitlines()) <= 3
        assert not found or found.splitlines()[-1].startswith("all")
    for one in objects(capsys, "--reason", "^(io|msr)$", "--sort", "reason")[:-1]:
        assert [reason["name"] for reason in one["reasons"]] in (["io", "msr"], ["io"], ["msr"], [])  # type: ignore[attr-defined]


def test_shares_of_programs_stay_of_all_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    def shares(*argv: str) -> list[dict[str, object]]:
        return [
            {r["name"]: (r["idle"], r["share"], r["time_share"]) for r in one["reasons"]}  # type: ignore[attr-defined]
            for one in objects(capsys, *argv)[:-1]
        ]

    left_out = set()
    for some, all_ in zip(shares("--no-idle"), shares(), strict=True):
        assert some == {name: what for name, what in all_.items() if not what[0]}  # type: ignore[index]
        left_out |= all_.keys() - some.keys()
    assert "hlt" in left_out


def test_a_comparison_of_some_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    demo = FOLDER / "amd.kvmtop"
    table = out(
        capsys, "compare", f"{demo}@0..30", f"{demo}@30..60", "--no-idle", "--reason", "io|msr|hlt", "--top", "1"
    )
    rows = table.partition("REASON ")[2].partition("\n\n")[0].splitlines()[1:]
    assert len(rows) == 1 and re.match(r"(io|msr) ", rows[0])
    table = out(capsys, "compare", f"{demo}@0..30", f"{demo}@30..60", "--sort", "reason")
    names = [row.split()[0] for row in table.partition("REASON ")[2].partition("\n\n")[0].splitlines()[1:]]
    assert len(names) > 3 and names == sorted(names)
    one = out(capsys, "compare", f"{demo}@0..30", f"{demo}@30..60", "--vm", "db01")
    assert one != out(capsys, "compare", f"{demo}@0..30", f"{demo}@30..60")


def test_a_vm_that_does_not_run_yet_is_waited_for(host: Busy, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*RUN, "--vm", "later"]) == 0
    out, err = capsys.readouterr()
    assert "no VM is called later" in err and "waiting for one" in err
    assert "0 VMs" in out


def test_live_vms_by_name() -> None:
    with start(*RUN, "--vm", "web01") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "web01" in out and "db02" not in out, err
