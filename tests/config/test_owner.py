"""With whose rights files are read and written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.config.owner import Owner

USER = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")


@pytest.fixture
def sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", str(USER))


@pytest.fixture
def folder(for_all: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One that the user of sudo may write to."""
    found = for_all / "home"
    found.mkdir()
    os.chown(found, USER, USER)
    yield found
    for path in found.iterdir():
        path.unlink()
    found.rmdir()


@needs_root
def test_behind_sudo_files_are_the_users(sudo: None, folder: Path) -> None:
    owner = Owner.of_this_run()
    owner.does(lambda: (folder / "mine").write_text("x"))
    made = (folder / "mine").stat()
    assert (made.st_uid, made.st_gid) == (USER, USER)


@needs_root
def test_what_the_user_may_not_read_is_not_read(sudo: None, folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("x")
    secret.chmod(0o640)  # and root's group is none of the user's
    owner = Owner.of_this_run()
    with pytest.raises(PermissionError):
        owner.does(secret.read_text)
    assert secret.read_text() == "x"  # this thread is still root


@needs_root
def test_other_threads_keep_their_groups(sudo: None) -> None:
    before = os.getgroups()
    assert Owner.of_this_run().does(lambda: Path("/proc/thread-self/status").read_text()) != ""
    assert os.getgroups() == before


@needs_root
def test_a_user_whom_nobody_knows_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "4294967294")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert Owner.of_this_run().configuration is None


@pytest.mark.parametrize("uid", ["", "0", "x", "-1", "²", "9" * 40])
def test_without_a_user_behind_it_it_is_its_own(uid: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    owner = Owner.of_this_run()
    assert owner.uid is None and owner.configuration == tmp_path / ".config"
    (tmp_path / "x").touch()
    assert stat.S_ISREG(owner.does((tmp_path / "x").stat).st_mode)


def test_the_folder_is_where_xdg_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "there"))
    assert Owner.of_this_run().configuration == tmp_path / "there"
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")  # which counts as none
    assert Owner.of_this_run().configuration == tmp_path / ".config"


def test_what_fails_in_it_is_raised() -> None:
    with pytest.raises(FileNotFoundError):
        Owner(os.geteuid() or None).does(lambda: os.stat("/nonexistent"))
