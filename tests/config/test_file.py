"""The file: how it is read, and that what somebody wrote into it stays."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kvmtop.config.file import MOST, Config
from kvmtop.errors import KvmtopError

USER = 65534

MINE = """\
# mine
sort = "p99"   # as always

[columns]
# the few that I need
reasons = [
    "rate",  # how often
    "p99",
]
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("SUDO_UID", raising=False)
    return tmp_path / "kvmtop" / "config.toml"


@pytest.fixture
def mine(path: Path) -> Path:
    path.parent.mkdir()
    path.write_text(MINE)
    return path


def test_without_one_all_is_as_it_comes(path: Path) -> None:
    found = Config.load()
    assert (found.path, found.preferences.values, found.complaints, found.there) == (path, {}, [], False)


def test_it_is_read(mine: Path) -> None:
    found = Config.load()
    assert found.preferences.word("sort") == "p99" and found.preferences.words("columns.reasons") == (
        "reason",
        "rate",
        "p99",
    )
    assert found.there and not found.complaints


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"sort = ", "Invalid value (at end of document)"),
        (b"sort\n", "line 1"),
        (b"\xff", "it is not UTF-8 (byte 0)"),
        (b"#" * (MOST + 1), "it has more than 16 kB"),
        (b"a = " + b"[" * 9000, "it is nested too deeply"),
        (b"a = " + b"9" * 9000, "digits"),
    ],
)
def test_what_is_no_toml_is_one_sentence(content: bytes, why: str, mine: Path) -> None:
    mine.write_bytes(content)
    found = Config.load()
    (sentence,) = found.complaints
    assert sentence.startswith(f"cannot read {mine}: ") and why in sentence and sentence.endswith("defaults are taken")
    assert found.preferences.values == {}
    with pytest.raises(KvmtopError, match=f"cannot change {mine}"):
        found.keep({"sort": "avg"})
    assert mine.read_bytes() == content


def test_a_pipe_and_a_folder_are_none(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    assert "it is no file" in Config.load().complaints[0]
    path.unlink()
    path.mkdir()
    assert "Is a directory" in Config.load().complaints[0] or "no file" in Config.load().complaints[0]


def test_a_file_that_somebody_names_must_be_there(tmp_path: Path, mine: Path) -> None:
    with pytest.raises(KvmtopError, match=r"cannot read .*none: No such file"):
        Config.load(tmp_path / "none")
    with pytest.raises(KvmtopError, match="no file"):
        Config.load(Path("/dev/zero"))
    assert Config.load(mine).preferences.word("sort") == "p99"


def test_what_is_kept_leaves_the_rest_as_it_is(mine: Path) -> None:
    mine.chmod(0o600)
    Config.load().keep(
        {"sort": "avg", "interval": 2.0, "columns.vms": ("name", "rate"), "columns.reasons": ("reason", "max")}
    )
    assert mine.read_text() == (
        '# mine\nsort = "avg"   # as always\ninterval = 2\n\n[columns]\n# the few that I need\nreasons = ["reason", "max"]\n'
        'vms = ["name", "rate"]\n'
    )
    assert stat.S_IMODE(mine.stat().st_mode) == 0o600 and os.listdir(mine.parent) == ["config.toml"]
    assert Config.load().complaints == []


def test_the_first_thing_that_is_kept_makes_the_file(path: Path) -> None:
    Config.load().keep({"theme": "light"})
    assert path.read_text().startswith("# How kvmtop's dashboard looks") and path.read_text().endswith(
        'theme = "light"\n'
    )
    assert Config.load().preferences.word("theme") == "light"


def test_what_was_written_meanwhile_stays(mine: Path) -> None:
    found = Config.load()
    mine.write_text('theme = "light"\n')
    found.keep({"sort": "avg"})
    assert mine.read_text() == 'theme = "light"\nsort = "avg"\n'


def test_behind_a_link_the_file_is_changed(mine: Path, tmp_path: Path) -> None:
    mine.rename(tmp_path / "dotfile")
    mine.symlink_to("../dotfile")
    Config.load().keep({"sort": "avg"})
    assert mine.is_symlink() and '"avg"' in (tmp_path / "dotfile").read_text()


@pytest.mark.parametrize(
    "text", ["columns.reasons = []\n", "columns = { reasons = [] }\n", "[columns]\n", "columns = 1\n"]
)
def test_any_way_of_writing_a_table(text: str, mine: Path) -> None:
    mine.write_text(text)
    if "= 1" in text:
        with pytest.raises(KvmtopError, match="cannot change"):
            Config.load().keep({"columns.vms": ("name",)})
        assert mine.read_text() == text
    else:
        Config.load().keep({"columns.vms": ("name",), "sort": "avg"})
        found = Config.load()
        assert found.preferences.words("columns.vms") == ("name",) and found.preferences.word("sort") == "avg", text


def test_a_folder_that_is_not_ones_own_is_told(path: Path) -> None:
    path.parent.symlink_to("/proc/self")
    with pytest.raises(KvmtopError, match="cannot change"):
        Config.load().keep({"sort": "avg"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
def test_behind_sudo_it_is_the_users(for_all: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = for_all / "config-home"
    home.mkdir()
    os.chown(home, USER, USER)
    monkeypatch.setenv("SUDO_UID", str(USER))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    Config.load().keep({"sort": "avg"})
    made = home / "kvmtop" / "config.toml"
    assert [(one.stat().st_uid, one.stat().st_gid) for one in (made, made.parent)] == [(USER, USER)] * 2
    assert Config.load().preferences.word("sort") == "avg"
    os.chown(made, 0, 0)
    made.chmod(0o600)
    assert "Permission denied" in Config.load().complaints[0]
