"""The program as a user runs it, where KVM is real."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmtop.model.vocabulary import SVM

from . import scenarios, truth

KVMTOP = [sys.executable, "-m", "kvmtop"]
HEADERS = {
    SVM: "# AMD reasons are SVM_EXIT_* in linux/arch/x86/include/asm/svm.h\n# reason(hex): count sum(us) min(us) avg(us) max(us)\n",
    1: "# Intel exit reasons are EXIT_REASON_* in linux/arch/x86/include/asm/vmx.h\n# reason: count sum(us) min(us) avg(us) max(us)\n",
}


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    with scenarios.busy() as process:
        yield process


def test_ten_seconds_without_a_terminal(busy: subprocess.Popen[bytes], tmp_path: Path) -> None:
    file = tmp_path / "summary.txt"
    done = subprocess.run(
        [*KVMTOP, "--duration", "10", "--dump", str(file)], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    print(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    text = file.read_text()
    isa = SVM if "AMD" in text else 1
    rows = text.removeprefix("\n" + HEADERS[isa])
    assert rows != text and re.fullmatch(r"((0x[0-9a-f]{3,8}|\d+): \d+ \d+ \d+ \d+ \d+\n)+", rows)
    assert done.stdout.endswith("\n" + text)
    tables = re.findall(r"^REASON .*$", done.stdout, re.MULTILINE)
    assert 8 <= len(tables) <= 10  # one a second; a slow host misses some, and each says how long it was
    code = 0x72 if isa == SVM else 10
    (count,) = re.findall(rf"^{'0x072' if isa == SVM else '10'}: (\d+)", rows, re.MULTILINE)
    assert int(count) > 1000, code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_with_the_summary(number: int) -> None:
    kvmtop = subprocess.Popen(
        [*KVMTOP, "--batch", "-i", "0.5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert kvmtop.stdout
    kvmtop.stdout.readline()  # it counts
    pid = truth.run_guest("cpuid:500")
    kvmtop.send_signal(number)
    out, err = kvmtop.communicate(timeout=30)
    assert kvmtop.returncode == 0, err
    assert re.search(r"^(0x072|10): 500 \d+ \d+ \d+ \d+$", out, re.MULTILINE), (pid, out)


def test_pid_of_a_vm_and_of_none(busy: subprocess.Popen[bytes]) -> None:
    time.sleep(2)
    listed = subprocess.run([*KVMTOP, "list"], capture_output=True, text=True)
    assert re.search(rf"^ *{busy.pid} +1 ", listed.stdout, re.MULTILINE), listed
    done = subprocess.run([*KVMTOP, "--pid", str(busy.pid), "-T", "1"], capture_output=True, text=True)
    assert done.returncode == 0 and re.search(r"^(0x072|10): ", done.stdout, re.MULTILINE)
    for pid, words in ((os.getpid(), "has no vCPUs"), (4_000_000, "there is no process 4000000")):
        done = subprocess.run([*KVMTOP, "--pid", str(pid), "-T", "1"], capture_output=True, text=True)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1


def test_doctor_counts_its_own_guest() -> None:
    done = subprocess.run([*KVMTOP, "doctor", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    print(done.stdout, done.stderr)
    report = json.loads(done.stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert done.returncode == 0 and report["ok"] and all(check["state"] == "ok" for check in report["checks"])
    assert "CPUID 10,000 of 10,000, I/O 100 of 100, lost 0" in checks["self-test"]["detail"]
    assert re.search(r"probes add.* \(95%: -?[\d,]+ to -?[\d,]+\)", checks["cost"]["detail"])
