"""A directory that is recorded to, and replayed from, while its disk fails: the system's own errors, at its own calls.

strace lets calls of a process fail as a disk, a quota or a server that is gone makes them; what is full or read-only is
a mount of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kvmtop.recording import segments
from kvmtop.recording.reader import Empty, Recording

from ..support.program import KVMTOP, ROOT, STUB, sentence

# Reads so many seconds, tries again at once after a failure, and tells each reading that it says is there. The file
# that it is told of goes after a while.
WRITER = """
import sys
from pathlib import Path
from kvmtop.recording.folder import Folder
from kvmtop.recording.store_recorder import StoreRecorder
from kvmtop.recording.writing import Limits
from tests.recording.test_store_recorder import Host
one = StoreRecorder(Host(8), Folder(Path(sys.argv[1]), Limits()))
for n in range(int(sys.argv[2])):
    if n == 60 and len(sys.argv) > 3:
        Path(sys.argv[3]).unlink()
    one._next = 0.0
    snapshot = one.read()
    print(snapshot.time_ns if one.trouble is None else one.trouble, flush=True)
one.close()
"""


def strace(inject: str, *command: str, paths: Sequence[Path] = ()) -> subprocess.CompletedProcess[str]:
    """A command, one kind of whose calls fails: CALL:error=NAME:when=FIRST..LAST. paths: those on these alone."""
    if not shutil.which("strace"):
        pytest.skip("strace is not there")
    call = inject.partition(":")[0]
    options = ["-f", "--seccomp-bpf", "-qqq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={inject}"]
    options += [f"-P{path}" for path in paths]
    return subprocess.run(["strace", *options, *command], capture_output=True, text=True, cwd=ROOT, timeout=120)


def mounted(mount: str, *command: str) -> subprocess.CompletedProcess[str]:
    """A command after something was mounted, where nobody else sees it."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    line = ["sh", "-c", f'{mount} && exec "$@"', "sh", *command]
    return subprocess.run([*unshare, *line], capture_output=True, text=True, cwd=ROOT, timeout=120)


def there(folder: Path) -> list[int]:
    found: list[int] = []
    for one in segments.segments(folder):
        with contextlib.suppress(Empty):  # it failed before its first reading, and when it was taken away
            found += [snapshot.time_ns for snapshot in Recording(one.path)]
    return found


def check(done: subprocess.CompletedProcess[str], words: str, found: list[int] | None) -> None:
    """It told once why it paused, and once that it went on; all that it said is there, is."""
    assert done.returncode == 0, done.stderr
    told = [int(line) for line in done.stdout.splitlines() if line.isdigit()]
    pauses, goes_on = done.stderr.splitlines()
    assert re.search(rf" pauses \((\S+\.kvmtop: )?{words}\): what is there stays, and it goes on when it can$", pauses)
    assert "goes on; " in goes_on and "readings are not in it" in goes_on
    assert 10 < len(told) < len(done.stdout.splitlines())
    assert found is None or set(told) <= set(found)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("pwrite64", "EDQUOT", "disk I/O error"),
        ("fdatasync", "EIO", "disk I/O error"),
        ("ftruncate", "EROFS", "disk I/O error"),
    ],
)
def test_what_fails_for_a_while(tmp_path: Path, call: str, error: str, words: str) -> None:
    folder = tmp_path / "store"
    first = {"pwrite64": 400, "fdatasync": 60, "ftruncate": 30}[call]
    done = strace(f"{call}:error={error}:when={first}..{first + 9}", sys.executable, "-c", WRITER, str(folder), "60")
    check(done, words, there(folder))


def test_a_disk_that_is_full_until_something_goes(tmp_path: Path) -> None:
    """A tmpfs of 1 MB, of which a ballast takes most."""
    folder, ballast = tmp_path / "disk" / "store", tmp_path / "disk" / "ballast"
    folder.parent.mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {folder.parent} && head -c 950000 /dev/zero > {ballast}"
    script = f"{WRITER}\nfrom tests.recording.test_failing_disk import there\nprint(*there(Path(sys.argv[1])), file=sys.stderr)"
    done = mounted(mount, sys.executable, "-c", script, str(folder), "90", str(ballast))
    *_, last = done.stderr.splitlines()
    done.stderr = done.stderr.removesuffix(f"{last}\n")
    check(done, "(database or disk is full|No space left on device)", [*map(int, last.split())])


RECORD = [sys.executable, "-c", STUB, "record"]


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir(mode=0o700)
    bind = f"mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path}"
    for name in ("store", "new"):
        done = mounted(bind, *RECORD, str(tmp_path / name), "--keep", "1d", "-i", "0.1", "-T", "0.3")
        assert done.returncode == 1 and "Read-only file system" in sentence(done.stderr), done.stderr
    for call, error, words in (("mkdir", "EDQUOT", "Disk quota exceeded"), ("flock", "ENOLCK", "No locks available")):
        done = strace(f"{call}:error={error}", *RECORD, str(tmp_path / call), "--keep", "1d", "-i", "0.1", "-T", "0.3")
        assert done.returncode == 1 and words in sentence(done.stderr), done.stderr


@pytest.mark.parametrize(
    ("inject", "words"),
    [
        ("pread64:error=EIO:when=12+", "Input/output error"),
        ("pread64:error=ESTALE:when=40+", "Stale file handle"),
        ("getdents64:error=EIO", "Input/output error"),
    ],
)
def test_a_store_that_cannot_be_read(tmp_path: Path, inject: str, words: str) -> None:
    folder = tmp_path / "store"
    subprocess.run([sys.executable, "-c", WRITER, str(folder), "30"], check=True, cwd=ROOT, capture_output=True)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    paths = [] if inject.startswith("pread64") else [folder]
    done = strace(inject, *KVMTOP, "replay", "--batch", str(folder), paths=paths)
    assert done.returncode in (1, 2) and f": {words}" in sentence(done.stderr), done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
