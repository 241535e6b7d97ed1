"""Compiles and loads BPF programs in a process of its own, which hands over their descriptors and ends.

libbcc brings all of LLVM, about 100 MB: a process that runs for days need not keep it. What libbcc and
clang write goes to the child's standard error, not to the terminal. The only module that knows bcc.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import bounded
from ..errors import KvmtopError
from . import privileges, syscalls

HERE = Path(__file__).parent
MOST_DESCRIPTORS = 100
_CALL, _LD_IMM64, _MAP_FD, _MAP_VALUE = 0x85, 0x18, 1, 2  # include/uapi/linux/bpf.h
KERNEL_FUNCTION = 1 << 30  # plus its BTF id, as an address: how a C file calls a function of the kernel
INSTALL = {  # by ID or ID_LIKE of /etc/os-release
    "debian": "apt install python3-bpfcc",
    "fedora": "dnf install python3-bcc",
    "arch": "pacman -S python-bcc",
    "suse": "zypper install python3-bcc",
}

# -I: neither the environment nor the current directory decides what root imports; the path is this process's own.
_CHILD = """\
import json, sys
request = json.load(sys.stdin)
sys.path[:] = request["path"]
from kvmtop.bpf import loader
loader.child(request)
"""


@dataclass(frozen=True)
class Loaded:
    """Descriptors by name; whoever has them closes them."""

    maps: Mapping[str, int]
    programs: Mapping[str, int]


def load(
    source: Path,
    flags: Sequence[str],
    programs: Mapping[str, tuple[str, int]],
    maps: Sequence[str],
    shared: Mapping[str, int] | None = None,
) -> Loaded:
    """Compile a C file and load its programs: name → kind and type, as syscalls.load has them.

    shared: descriptors of another's maps, used for those of the same names. Raises KvmtopError.
    """
    shared = dict(shared or {})
    ours, theirs = socket.socketpair()
    with ours, theirs:
        request = {"source": str(source), "flags": list(flags), "programs": dict(programs), "maps": list(maps)}
        _ask({**request, "shared": shared, "socket": theirs.fileno()}, theirs.fileno(), *shared.values())
        _, descriptors, _, _ = socket.recv_fds(ours, 16, MOST_DESCRIPTORS)
    for fd in descriptors:
        os.set_inheritable(fd, False)
    split = len(maps)
    return Loaded(dict(zip(maps, descriptors, strict=False)), dict(zip(programs, descriptors[split:], strict=True)))


def bcc_version() -> str:
    """Of the bcc that would be used. Raises KvmtopError."""
    return str(_ask({}))


def _ask(request: dict[str, Any], *descriptors: int) -> Any:
    """Run the child to its end; what it answers. Raises KvmtopError."""
    with subprocess.Popen(
        [sys.executable, "-I", "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        start_new_session=True,
        text=True,
        errors="replace",
        env={},  # clang would include files from CPATH, and libbcc take the kernel's sources from BCC_*
    ) as process:
        out, log = process.communicate(json.dumps({**request, "path": sys.path}))
    try:
        answer = json.loads(out.splitlines()[-1])
    except (ValueError, IndexError):
        if process.returncode == -signal.SIGKILL:
            raise KvmtopError(
                "the BPF compiler was killed: it needs 100 MB for half a second, more than this machine or cgroup has"
            ) from None
        answer = {"failure": f"the compiler ended with status {process.returncode}"}
    if "sentence" in answer:
        raise KvmtopError(answer["sentence"])
    if "failure" in answer:
        raise KvmtopError(explanation(f"{answer['failure']}\n{log}"))
    return answer["done"]


def child(request: dict[str, Any]) -> None:
    """The child: do what is asked, and answer with one line of JSON on standard output."""
    try:
        bcc = _import_bcc()
        if "source" in request:
            _load(bcc, request)
        answer = {"done": str(bcc.__version__)}
    except KvmtopError as error:
        answer = {"sentence": str(error)}
    except Exception as error:  # bcc raises bare Exception
        answer = {"failure": str(error)}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # the kernel frees faster than LLVM does


def _load(bcc: Any, request: dict[str, Any]) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # bcc 0.26 hands itself str where it wants bytes
    bpf = bcc.BPF(text=_whole(Path(request["source"])).encode(), cflags=request["flags"])

    def fd(name: str) -> int:
        return int(bcc.lib.bpf_table_fd(bpf.module, name.encode()))

    maps = [fd(name) for name in request["maps"]]
    instead = {fd(name): theirs for name, theirs in request["shared"].items()}
    programs = []
    for name, (kind, type_id) in request["programs"].items():
        # By ourselves: libbcc loads no typed ones, and knows nothing of another's maps.
        instructions = _linked(bpf.dump_func(name.encode()), instead, request["shared"].get("bits", 0))
        programs.append(syscalls.load(instructions, kind, type_id))
    with socket.socket(fileno=request["socket"]) as theirs:
        socket.send_fds(theirs, [b"descriptors"], maps + programs)


def _whole(source: Path) -> str:
    """A C file with its own headers in it: bcc rewrites what is done with maps in the file itself only."""
    include = re.compile(r'^#include "(\w+\.h)"$', re.MULTILINE)
    return include.sub(lambda found: bounded.text(source.parent / found[1]), bounded.text(source))


def _linked(instructions: bytes, instead: Mapping[int, int], bits: int) -> bytes:
    """A program with other maps; those read directly (BPF_PSEUDO_MAP_VALUE) become `bits`. libbcc links no functions
    of the kernel: those are calls beyond KERNEL_FUNCTION."""
    code = bytearray(instructions)
    for at in range(0, len(code), 8):
        pseudo = code[at + 1] >> 4
        if code[at] == _LD_IMM64 and pseudo in (_MAP_FD, _MAP_VALUE):
            fd = int.from_bytes(code[at + 4 : at + 8], "little")
            code[at + 4 : at + 8] = (bits if pseudo == _MAP_VALUE else instead.get(fd, fd)).to_bytes(4, "little")
        elif code[at] == _CALL and (function := int.from_bytes(code[at + 4 : at + 8], "little")) > KERNEL_FUNCTION:
            code[at + 1] = syscalls.CALL_KERNEL << 4
            code[at + 4 : at + 8] = (function - KERNEL_FUNCTION).to_bytes(4, "little")
    return bytes(code)


def _import_bcc() -> Any:
    # Set before libbcc looks for the kernel's headers: the programs need none but the stubs beside them.
    os.environ["BCC_KERNEL_SOURCE"] = str(HERE)
    try:
        import bcc
    except ImportError as error:
        raise KvmtopError(f"Python's bcc is missing for {sys.executable} ({error}): {_install_hint()}") from None
    if not hasattr(bcc, "BPF"):
        raise KvmtopError(
            f"the bcc that Python finds ({bcc.__file__}) is PyPI's namesake, not the BPF compiler collection:"
            f" pip uninstall bcc, then {_install_hint()}"
        )
    bcc.lib = bcc.libbcc.lib
    return bcc


def _install_hint() -> str:
    with contextlib.suppress(OSError):
        release = bounded.text("/etc/os-release")
        ids = re.findall(r"^ID(?:_LIKE)?=(.*)", release, re.MULTILINE)
        for word, command in INSTALL.items():
            if any(word in like for like in ids):
                return f"{command}, and run kvmtop with the distribution's Python (/usr/bin/python3)"
    return "install your distribution's bcc package for Python (python3-bpfcc or python3-bcc)"


def _paranoid() -> int:
    """Above 2 it is Debian's and Ubuntu's own level."""
    try:
        return int(bounded.head("/proc/sys/kernel/perf_event_paranoid"))
    except (OSError, ValueError):
        return 0


def explanation(text: str) -> str:
    """One sentence for what libbcc, clang or the kernel said."""
    refused = "not permitted" in text or "ermission denied" in text
    if refused and (why := syscalls.locked_down()):
        return why
    if refused and not privileges.capable(privileges.SYS_ADMIN) and (level := _paranoid()) > 2:
        return (
            f"kernel.perf_event_paranoid is {level}: without CAP_SYS_ADMIN, nobody may attach to tracepoints;"
            " sysctl kernel.perf_event_paranoid=2, or run kvmtop as root"
        )
    if os.geteuid() != 0 and (refused or "super-user" in text):
        return "loading BPF programs needs root: sudo kvmtop"
    if "not permitted" in text:
        return "the kernel does not let this process load BPF programs (a container without CAP_BPF and CAP_PERFMON?)"
    if "Cannot allocate memory" in text:
        return "the kernel has no memory for the BPF maps: raise the memory limit of this cgroup"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    detail = next((line for line in lines if "error" in line), lines[0] if lines else "no reason given")
    printable = "".join(character for character in detail[:200] if character.isprintable())
    return f"the BPF program could not be loaded: {printable}"
