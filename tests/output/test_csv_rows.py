from __future__ import annotations

import io

import pytest

from kvmtop.model.session import Session
from kvmtop.model.vocabulary import NESTED, OUTSIDE, REFLECTED, SVM
from kvmtop.output import csv_rows
from kvmtop.output.csv_rows import TITLES, interval_rows
from kvmtop.output.json_lines import interval_line
from kvmtop.reference.labels import Labels

from ..support.exported import lines, rows
from ..support.fake import SECOND, Busy, Host


def test_csv_adds_up_over_the_vms() -> None:
    host, session = Busy(3, 2), Session()
    out = csv_rows.output(io.StringIO())
    text = out.start
    wholes = []
    for _ in range(3):
        done = session.add(host.read())
        text += interval_rows(session, done)
        wholes += lines(interval_line(session, done, Labels()))
    table = rows(text)
    assert list(table[0]) == list(TITLES)
    for whole in wholes:
        mine = [row for row in table if float(row["elapsed"]) == whole["elapsed"]]
        for reason in whole["reasons"]:
            of_it = [row for row in mine if int(row["code"]) == reason["code"]]
            assert sum(int(row["count"]) for row in of_it) == reason["count"] > 0
            assert sum(int(row["time_ns"]) for row in of_it) == reason["time_ns"]
            for state in OUTSIDE:
                assert sum(int(row[f"{state}_ns"]) for row in of_it) == reason[f"{state}_ns"]
            assert sum(int(row["total"]) for row in of_it) == reason["total"]
        for vm in whole["vms"]:
            of_it = [row for row in mine if int(row["pid"]) == vm["pid"]]
            assert sum(float(row["rate"]) for row in of_it) == pytest.approx(vm["rate"])
            assert sum(float(row["share"]) for row in of_it) == pytest.approx(1, abs=1e-4)
    assert {row["vm"] for row in table} == {"web01", "db01", "cache01"}


def test_csv_of_an_open_exit_and_of_none(host: Host) -> None:
    session = Session()
    session.add(host.read())
    host.leave(101, 0x78)
    host.now += SECOND
    host.turn(101, "wait")
    host.now += SECOND
    (row,) = rows(",".join(TITLES) + "\n" + interval_rows(session, session.add(host.read())))
    assert (row["name"], row["count"], row["avg_ns"], row["share"]) == ("hlt", "0", "", "")
    assert int(row["time_ns"]) == 2 * SECOND
    parts = {state: int(row[f"{state}_ns"]) for state in OUTSIDE}
    assert parts == dict.fromkeys(OUTSIDE, 0) | {"idle": SECOND, "wait": SECOND}
    host.enter(101)
    session.add(host.read())
    host.now += SECOND
    assert interval_rows(session, session.add(host.read())) == ""


def test_csv_of_what_is_unknown(host: Host) -> None:
    host.told = ("guest",)
    host.exits(101, 0x7B, 1000, user=400)
    (row,) = rows(",".join(TITLES) + "\n" + interval_rows(Session(), Session().add(host.read())))
    assert (row["time_ns"], {row[f"{state}_ns"] for state in OUTSIDE}) == ("1000", {""})


def test_a_nested_guests_exits_have_rows_of_their_own(host: Host) -> None:
    for isa in (SVM, SVM | NESTED, SVM | NESTED | REFLECTED):
        host.exits(101, 0x7B, 1000, isa=isa)
    found = rows(",".join(TITLES) + "\n" + interval_rows(Session(), Session().add(host.read())))
    assert [(row["isa"], row["name"], row["nested"]) for row in found] == [
        ("SVM", "io", ""),
        ("SVM", "io (L2)", "here"),
        ("SVM", "io (L2→L1)", "reflected"),
    ]
