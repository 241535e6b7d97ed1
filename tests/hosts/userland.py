"""What a job needs of this machine's file system, as a squashfs: for a host that cannot share all of it."""

from __future__ import annotations

import compileall
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .kernels import HostUnavailable

PROJECT = Path(__file__).resolve().parents[2]
VENV = Path(sys.prefix) if sys.prefix != sys.base_prefix else PROJECT / ".venv"
# Installed packages whose files go in whole; the libraries that they are linked with follow them.
PYTHON = Path("/usr/bin/python3").resolve().name  # "python3.11"
NEEDED = (f"{PYTHON}-minimal", "python3-minimal", f"lib{PYTHON}-minimal", f"lib{PYTHON}-stdlib", "python3-bpfcc")
WANTED = [
    "libbpfcc",
    "linux-perf",
    "dash",
    "bash",
    "coreutils",
    "findutils",
    "grep",
    "sed",
    "mawk",
    "util-linux",
    "procps",
    "ncurses-base",
]
EXTRA = (
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/alternatives/awk",
    "/usr/bin/awk",
    "/lib/x86_64-linux-gnu/librt.so.1",  # bcc opens it by name
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",  # symbolic links
)
UNUSED = re.compile(r"^/usr/share/(?!terminfo|perf)|^/usr/lib/python3\.\d+/(test|idlelib|lib2to3|turtledemo)/")
# Development tools in the virtual environment that no job in a host calls.
TOOLS = re.compile(r"(mypy|ruff|pip|setuptools|pkg_resources|_?distutils|.*__mypyc|PIL|pillow|ast_serialize)")


def stamp() -> str:
    """A digest that changes when the image would: with the packages, the virtual environment or this recipe."""
    packages = subprocess.run(["dpkg-query", "-W"], capture_output=True, check=True).stdout
    libraries = sorted(f"{p} {p.stat().st_mtime_ns}" for p in VENV.glob("lib/python3*/site-packages/*"))
    recipe = Path(__file__).read_bytes()
    return hashlib.sha256(b"\0".join([packages, "\n".join(libraries).encode(), str(VENV).encode(), recipe])).hexdigest()


def build(path: Path) -> None:
    """Write the squashfs of the system's part and the virtual environment. Raises HostUnavailable."""
    squashfs(path, ((name, name) for name in sorted(_with_links(_files()))))


def build_project(path: Path, work: Path, files: Mapping[str, str]) -> None:
    """Write the squashfs of the project as it is now, with compiled bytecode, and of further files by content."""
    copy = work / "project"
    for name in ("kvmtop", "tests", "tools"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(copy, quiet=2, stripdir=str(copy), prependdir=str(PROJECT))
    shutil.copy2(PROJECT / "pyproject.toml", copy)
    content = {str(file): str(PROJECT / file.relative_to(copy)) for file in copy.rglob("*")}
    for number, (name, text) in enumerate(files.items()):
        (work / f"file{number}").write_text(text)
        content[str(work / f"file{number}")] = name
    squashfs(path, content.items())


def squashfs(path: Path, files: Iterable[tuple[str, str]]) -> None:
    """Write a squashfs of the given (file, name in it). Raises HostUnavailable."""
    # Uncompressed: unpacking costs the emulated processor more than reading costs the emulated disk.
    options = ["-tar", "-noappend", "-noI", "-noD", "-noF", "-noX", "-no-xattrs", "-no-progress", "-quiet"]
    with subprocess.Popen(["mksquashfs", "-", path, *options], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as made:
        assert made.stdin and made.stderr
        with contextlib.suppress(BrokenPipeError), tarfile.open(fileobj=made.stdin, mode="w|") as archive:
            for file, name in files:
                archive.add(file, name, recursive=False)
        made.stdin.close()
        error = made.stderr.read().decode(errors="replace").strip()
    if made.returncode:
        raise HostUnavailable(f"mksquashfs failed: {error}")


def _files() -> set[str]:
    installed = set(subprocess.check_output(["dpkg-query", "-W", "-f", "${Package}\n"], text=True).split())
    missing = set(NEEDED) - installed
    if missing:
        raise HostUnavailable(f"the emulated Intel host needs Debian's packages {' '.join(sorted(missing))}")
    packages = [*NEEDED, *(p for p in WANTED if p in installed)]
    listed = subprocess.run(["dpkg-query", "-L", *packages], capture_output=True, text=True, check=True).stdout
    paths = {p for p in listed.splitlines() if p.startswith("/") and not UNUSED.match(p) and not _is_folder(p)}
    # Bytecode is compiled when a package is installed, so dpkg does not list it.
    caches = {os.path.join(os.path.dirname(p), "__pycache__") for p in paths if p.endswith(".py")}
    paths |= {entry.path for cache in caches if os.path.isdir(cache) for entry in os.scandir(cache)}
    paths |= {*EXTRA, *_virtual_environment()}
    return paths | set(_libraries(paths))


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _virtual_environment() -> Iterator[str]:
    for folder, folders, files in os.walk(VENV):
        if os.path.basename(folder) in ("site-packages", "bin"):
            folders[:] = [name for name in folders if not TOOLS.match(name)]
            files = [name for name in files if not TOOLS.match(name)]
        yield from (os.path.join(folder, name) for name in files)
        yield from (path for name in folders if os.path.islink(path := os.path.join(folder, name)))


def _libraries(paths: Iterable[str]) -> Iterator[str]:
    """The shared libraries that the given programs and libraries are linked with."""
    linked = []
    for path in paths:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                if file.read(4) == b"\x7fELF":
                    linked.append(path)
    found = subprocess.run(["ldd", *linked], capture_output=True, text=True).stdout
    yield from set(re.findall(r"(?:=> |^\t)(/\S+) \(0x", found, re.MULTILINE))


def _with_links(paths: Iterable[str]) -> set[str]:
    """The paths, none of them through a symbolic link to a folder, and what the links among them lead to."""
    result = set()
    for path in paths:
        while os.path.lexists(path):
            path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
            result.add(path)
            if not os.path.islink(path) or os.path.isdir(path):
                break
            path = os.path.join(os.path.dirname(path), os.readlink(path))
    return result
