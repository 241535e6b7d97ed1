from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvmtop.bpf import loader
from kvmtop.bpf.loader import _install_hint, explanation
from kvmtop.errors import KvmtopError

from .files import Files


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    return Files(monkeypatch)


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=debian\n", "apt install python3-bpfcc"),
        ("ID=ubuntu\nID_LIKE=debian\n", "apt install python3-bpfcc"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install python3-bcc"),
        ("ID=arch\n", "pacman -S python-bcc"),
        ('ID="opensuse-tumbleweed"\n', "zypper install python3-bcc"),
        ("ID=other\n", "your distribution's bcc package"),
        (None, "your distribution's bcc package"),
    ],
)
def test_install_hint(files: Files, release: str | None, command: str) -> None:
    if release is not None:
        files.found["/etc/os-release"] = release
    assert command in _install_hint()


NOT_PERMITTED = "bpf: Failed to load program: Operation not permitted"
LOCKDOWN = "/sys/kernel/security/lockdown"


@pytest.mark.parametrize(
    ("uid", "lockdown", "given", "expected"),
    [
        (0, "none integrity [confidentiality]\n", NOT_PERMITTED, "locked down"),
        (1000, "none integrity [confidentiality]\n", NOT_PERMITTED, "locked down"),
        (0, "[none] integrity confidentiality\n", NOT_PERMITTED, "a container without CAP_BPF"),
        (0, None, NOT_PERMITTED, "a container without CAP_BPF"),
        (1000, None, NOT_PERMITTED, "needs root: sudo kvmtop"),
        (1000, None, "Need super-user privileges to run", "needs root: sudo kvmtop"),
        (1000, None, "open: Permission denied", "needs root: sudo kvmtop"),
        (0, None, "could not open bpf map: Cannot allocate memory", "raise the memory limit"),
        (0, "none integrity [confidentiality]\n", "Cannot allocate memory", "raise the memory limit"),
        (0, None, "Failed\n\n  a.c:1:2: error: no X\nmore", "could not be loaded: a.c:1:2: error: no X"),
        (0, None, "\n  Failed to attach\nmore", "could not be loaded: Failed to attach"),
        (0, None, "\n", "could not be loaded: no reason given"),
    ],
)
def testexplanation(
    monkeypatch: pytest.MonkeyPatch, files: Files, uid: int, lockdown: str | None, given: str, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    if lockdown:
        files.found[LOCKDOWN] = lockdown
    found = explanation(given)
    assert expected in found
    assert "\n" not in found


def test_an_explanation_is_short(files: Files) -> None:
    assert len(explanation("error " * 1000)) < 300


@pytest.mark.parametrize(
    ("child", "words"),
    [
        ("os.kill(os.getpid(), 9)", "the BPF compiler was killed: it needs 100 MB"),
        ("os.kill(os.getpid(), 11)", "the compiler ended with status -11"),
        ("os._exit(3)", "the compiler ended with status 3"),
        ("print('{')", "the compiler ended with status 0"),
    ],
)
def test_a_compiler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, child: str, words: str) -> None:
    monkeypatch.setattr(loader, "_CHILD", f"import os; {child}")
    with pytest.raises(KvmtopError, match=words):
        loader.load(Path("collector.bpf.c"), [], {"on_exit": ("classic", 0)}, ["threads"])
