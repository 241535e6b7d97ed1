"""What is printed and told of a configuration."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kvmtop import cli
from kvmtop.config.preferences import SETTINGS


def test_the_defaults_are_a_file_to_begin_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["config", "--no-config"]) == 0
    defaults = capsys.readouterr().out
    assert all(setting.key in defaults for setting in SETTINGS)
    (tmp_path / "begin.toml").write_text(defaults)
    assert cli.main(["config", "--config", str(tmp_path / "begin.toml")]) == 0
    assert capsys.readouterr().out == f"# {tmp_path}/begin.toml\n{defaults}"


def test_each_bad_line_is_told_and_the_others_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text('sort = "p99"\ninterval = -1\nthem = "light"\n')
    assert cli.main(["config", "--config", str(path)]) == 1
    out, err = capsys.readouterr()
    assert 'sort = "p99"\n' in out and "interval = 1\n" in out
    assert err.splitlines() == [
        f"kvmtop: {path}: line 2: interval is not a number from 0.1 to 3600; 1 is taken",
        f"kvmtop: {path}: line 3: there is no setting 'them': did you mean theme?",
    ]


def test_where_the_file_would_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert cli.main(["config"]) == 0
    assert capsys.readouterr().out.startswith(f"# {tmp_path}/kvmtop/config.toml, which there is not\n")


def _leads_to_a_secret(path: Path) -> None:
    secret = path.with_name("secret")
    secret.write_text('sesame = "open"\n')
    secret.chmod(0o600)
    path.symlink_to(secret)


def _is_huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)  # which nobody has the memory for


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as somebody else")
@pytest.mark.parametrize(
    ("put", "why"),
    [(_leads_to_a_secret, "Permission denied"), (os.mkfifo, "it is no file"), (_is_huge, "it has more than 16 kB")],
)
def test_behind_sudo_whatever_a_user_puts_there_is_one_sentence(
    put: Callable[[Path], None],
    why: str,
    for_all: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["config", "--no-config"]) == 0
    defaults = capsys.readouterr().out
    monkeypatch.setenv("SUDO_UID", "65534")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(for_all / put.__name__))
    path = for_all / put.__name__ / "kvmtop" / "config.toml"
    path.parent.mkdir(parents=True)
    put(path)
    assert cli.main(["config"]) == 1
    out, err = capsys.readouterr()
    assert out == f"# {path}\n{defaults}"
    assert err == f"kvmtop: cannot read {path}: {why}; kvmtop's defaults are taken\n"
