"""What kvmtop does with fewer rights than root's, and in a container's PID namespace, where KVM is real."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

KVMTOP = [sys.executable, "-m", "kvmtop"]
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")
COUNT = re.compile(r"^\w+: [1-9]\d* ", re.MULTILINE)  # in the summary
ENOUGH = "bpf,perfmon,dac_read_search,sys_ptrace"
HOSTILE = b"guest=web\x1b[2J\xff\n[red]\xe2\x80\xaeb\xc2\x9b01"


@pytest.fixture
def guest() -> Iterator[subprocess.Popen[bytes]]:
    code = "from kvmtop.host.selftest_guest import Guest, Step; Guest([Step('cpuid', 0)]).run()"
    with subprocess.Popen([sys.executable, "-c", code, "-name", HOSTILE]) as process:
        time.sleep(3)
        yield process
        process.kill()


@pytest.fixture
def paranoid() -> Iterator[None]:
    """As Linux has it; Debian and Ubuntu have more."""
    before = PARANOID.read_text()
    PARANOID.write_text("2")
    yield
    PARANOID.write_text(before)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    print(done.returncode, done.stdout[-600:], done.stderr)
    return done


def as_nobody(capabilities: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as an ordinary user who has these capabilities and can get no others."""
    held = ",".join(["-all", *(f"+{name}" for name in filter(None, capabilities.split(",")))])
    user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
    return run("setpriv", *user, f"--inh-caps={held}", f"--ambient-caps={held}", f"--bounding-set={held}", *command)


def counts(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether it counted the guest's exits and named it, and had nothing to complain of."""
    return (done.returncode, done.stderr) == (0, "") and bool(COUNT.search(done.stdout)) and "[2J" in done.stdout


def refused(done: subprocess.CompletedProcess[str], words: str) -> bool:
    return (done.returncode, done.stdout) == (1, "") and words in done.stderr and done.stderr.count("\n") == 1


def test_an_ordinary_user_with_four_capabilities(guest: subprocess.Popen[bytes], paranoid: None) -> None:
    done = as_nobody(ENOUGH, *KVMTOP, "-b", "-T", "1.5", "--pid", str(guest.pid))
    assert counts(done)
    assert all(character.isprintable() for character in done.stdout.replace("\n", ""))  # the name is a hostile one
    code = "from kvmtop.bpf import kernel; print(kernel.raw_tracepoints(), kernel.mmapable())"
    assert as_nobody(ENOUGH, sys.executable, "-c", code).stdout == "True True\n"  # and no slower for it


def test_tracefs_may_be_read_by_a_group(guest: subprocess.Popen[bytes], paranoid: None) -> None:
    remount = "mount -o remount,mode={},gid={} /sys/kernel/tracing"
    run(*remount.format(750, 65534).split())
    try:
        done = as_nobody("bpf,perfmon,sys_ptrace", *KVMTOP, "-b", "-T", "1.5", "--event", "io")
    finally:
        run(*remount.format(700, 0).split())
    assert counts(done) and "I/O port" in done.stdout


def test_sys_admin_stands_for_both_of_bpf_and_perfmon(guest: subprocess.Popen[bytes]) -> None:
    assert counts(as_nobody("sys_admin,dac_read_search,sys_ptrace", *KVMTOP, "-b", "-T", "1.5"))


@pytest.mark.parametrize(
    ("capabilities", "words"),
    [
        ("", "needs root"),
        ("bpf,dac_read_search,sys_ptrace", "needs root"),
        ("perfmon,dac_read_search,sys_ptrace", "needs root"),
        ("bpf,perfmon,sys_ptrace", "CAP_DAC_READ_SEARCH"),
    ],
)
def test_fewer_are_refused_in_a_sentence(capabilities: str, words: str, paranoid: None) -> None:
    assert refused(as_nobody(capabilities, *KVMTOP, "--live", "-T", "1", "--event", "all"), words)


def test_without_sys_ptrace_the_exits_count_and_a_pid_is_not_denied(
    guest: subprocess.Popen[bytes], paranoid: None
) -> None:
    assert counts(as_nobody("bpf,perfmon,dac_read_search", *KVMTOP, "-b", "-T", "1.5"))
    done = as_nobody("bpf,perfmon,dac_read_search", *KVMTOP, "-T", "1", "--pid", str(guest.pid))
    assert refused(done, "CAP_SYS_PTRACE")


def test_a_kernel_that_asks_for_more_is_named() -> None:
    before = PARANOID.read_text()
    PARANOID.write_text("3")
    try:
        done = as_nobody(ENOUGH, *KVMTOP, "--live", "-T", "1")
    finally:
        PARANOID.write_text(before)
    if done.returncode == 0:
        pytest.skip("this kernel knows no such level: it is Debian's and Ubuntu's")
    assert refused(done, "kernel.perf_event_paranoid is 3")


def test_in_a_container(guest: subprocess.Popen[bytes]) -> None:
    """Its process ids are others than the exits': no name would be right, and no --pid."""
    inside = ["unshare", "--pid", "--fork", "--mount-proc"]
    for argv in (["-T", "1"], ["-T", "1", "--pid", str(guest.pid)], ["-T", "1", "--pid", "1"], ["list"]):
        assert refused(run(*inside, *KVMTOP, *argv), "hostPID: true")
    done = run(*inside, *KVMTOP, "doctor")
    assert done.returncode == 1 and "missing  namespace" in done.stdout and "hostPID: true" in done.stdout
    assert counts(run("unshare", "--mount", "--uts", "--net", *KVMTOP, "-b", "-T", "1.5"))  # with hostPID
