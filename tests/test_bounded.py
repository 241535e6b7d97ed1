"""What is in a file, and how much, is for others to say: nothing is read without a bound."""

from __future__ import annotations

import ast
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvmtop import bounded
from kvmtop.errors import KvmtopError

from .support.sources import FILES, ROOT

PR_SET_MM, PR_SET_MM_MAP = 35, 14  # include/uapi/linux/prctl.h
MAP_NORESERVE = 0x4000
# A VMM that makes its command line as long as its memory, for which it needs no capability: prctl(2).
LONG = f"""\
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
size, words = 8 << 30, b"qemu\\0-name\\0guest=endless\\0"
start = libc.mmap(None, size, 3, {mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE}, -1, 0)
ctypes.memmove(start, words, len(words))
stat = [0, 0, 0, *open("/proc/self/stat").read().rpartition(")")[2].split()]  # numbered as in proc(5)
# struct prctl_mm_map: code, data, heap, stack, arguments and environment as they are; no auxv and no other executable
heap = [*stat[26:28], *stat[45:48], libc.sbrk(0), stat[28]]
fields = [*map(int, heap), start, start + size, *map(int, stat[50:52]), 0, 0xffffffff << 32]
given = (ctypes.c_uint64 * 13)(*fields)
if libc.prctl({PR_SET_MM}, {PR_SET_MM_MAP}, ctypes.byref(given), ctypes.sizeof(given), 0):
    print(os.strerror(ctypes.get_errno()), end="")
print(flush=True)
sys.stdin.read()
"""


def test_a_command_line_of_8_gb() -> None:
    with subprocess.Popen([sys.executable, "-c", LONG], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as vmm:
        assert vmm.stdout
        if refused := vmm.stdout.readline().strip():
            vmm.communicate()
            pytest.skip(f"this kernel does not set a command line (CONFIG_CHECKPOINT_RESTORE): {refused.decode()}")
        with open(f"/proc/{vmm.pid}/cmdline", "rb", buffering=0) as file:
            assert len(file.read(16 << 20)) > bounded.MOST  # so that the test tests something
        look = (
            "import resource, sys; from kvmtop.host import processes as vms;"
            "resource.setrlimit(resource.RLIMIT_AS, (1 << 30,) * 2); print(vms.vm(int(sys.argv[1])).name)"
        )
        done = subprocess.run([sys.executable, "-c", look, str(vmm.pid)], capture_output=True, text=True, timeout=60)
        vmm.communicate()
    assert (done.stdout, done.stderr) == ("endless\n", "")


def test_head(tmp_path: Path) -> None:
    assert len(bounded.head("/dev/zero")) == bounded.MOST
    (tmp_path / "file").write_bytes(b"\xffab")
    assert bounded.head(tmp_path / "file", 2) == b"\xffa" and bounded.text(tmp_path / "file") == "\ufffdab"


def test_whole(tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    sparse.touch()
    for path, size in ((sparse, 200 << 30), (sparse, (4 << 20) + 1), (Path("/dev/zero"), 0)):
        if size:
            os.truncate(path, size)
        with pytest.raises(KvmtopError, match=f"^{path} has more than 4 MB: it is no tree$") as caught:
            bounded.whole(path, 4 << 20, "it is no tree")
        assert caught.value.status == 2
    os.truncate(sparse, 4 << 20)
    assert len(bounded.whole(sparse, 4 << 20, "it is no tree")) == 4 << 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_read_without_a_bound(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            unbounded = node.func.attr == "readline" and not node.args
            assert not unbounded, node.lineno
            assert node.func.attr not in ("read_text", "read_bytes", "readlines", "readall"), node.lineno
            assert ast.unparse(node) != "file.read()", node.lineno
