"""Builds kvmtop_VERSION_ARCHITECTURE.deb from this checkout: .venv/bin/python -m tools.deb dist

Debian 12 has neither Textual 8 nor plotext 6 nor NumPy 1.26, so the package carries what pip installs, in a virtual
environment /usr/lib/kvmtop that sees the distribution's bcc. Some of that is compiled, so the package is for the
Python (3.11, say) and the architecture that it was built with.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path

from kvmtop import __version__

from . import manual

ROOT = Path(__file__).parents[1]
HOME = "/usr/lib/kvmtop"
PYTHON = f"python3.{sys.version_info.minor}"
SCRIPT = f"""\
#!{HOME}/bin/python3 -I
import sys

from kvmtop.__main__ import main

sys.exit(main())
"""
# The last line keeps Debian's python3 from moving to another version beneath the compiled parts.
CONTROL = """\
Package: kvmtop
Version: {version}
Architecture: {architecture}
Maintainer: the kvmtop authors
Section: admin
Priority: optional
Installed-Size: {kilobytes}
Depends: python3-bpfcc, libstdc++6, python3 (>= 3.{minor}), python3 (<< 3.{next})
Description: top for KVM exits
 What makes the vCPUs of this host's virtual machines leave the guest, how often, for how long and why. It is not
 the program of the same name that is written in Go and shows CPU and I/O figures of virtual machines.
"""


def licence(distribution: Distribution) -> str:
    """What a distribution says that its licence is, as an SPDX expression or in its own words."""
    about = distribution.metadata.json
    classified = [line.rpartition(" :: ")[2] for line in about.get("classifier", []) if "License ::" in line]
    return str(about.get("license_expression") or " AND ".join(classified) or about.get("license") or "unknown")


def copyright_text(site: Path) -> str:
    """The licences of all that is installed in a site-packages directory, with their texts."""
    parts = []
    for one in sorted(distributions(path=[str(site)]), key=lambda one: one.name.lower()):
        texts = [file for file in one.files or [] if re.match(r"(LICEN[CS]E|COPYING|NOTICE)", file.name)]
        parts.append(f"{one.name} {one.version}: {licence(one)}")
        parts += [Path(str(one.locate_file(file))).read_text(errors="replace").strip() for file in texts]
    return f"\n\n{'-' * 72}\n\n".join(parts) + "\n"


def stage(root: Path) -> None:
    """Put all files of the package below a directory."""
    home = root / HOME[1:]
    site = home / "lib" / PYTHON / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-warn-script-location"]
    subprocess.run([*pip, f"--target={site}", str(ROOT)], check=True)
    shutil.rmtree(site / "bin")
    for path in [*site.rglob("tests"), *site.rglob("direct_url.json")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    compiled = [sys.executable, "-m", "compileall", "-q", f"-s{root}", "-p/", "--invalidation-mode=unchecked-hash"]
    subprocess.run([*compiled, str(site)], check=True)
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(f"/usr/bin/{PYTHON}")
    _write(home / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = true\n")
    _write(root / "usr/bin/kvmtop", SCRIPT, 0o755)
    unit = (ROOT / "kvmtop/data/kvmtop.service").read_text().replace("/opt/kvmtop/bin/", "/usr/bin/")
    _write(root / "usr/lib/systemd/system/kvmtop.service", re.sub(r"\A(#.*\n)+", "", unit).lstrip())
    _write(root / "usr/share/man/man1/kvmtop.1", manual.page())
    _write(root / "usr/share/bash-completion/completions/kvmtop", manual.bash())
    _write(root / "usr/share/doc/kvmtop/copyright", copyright_text(site))
    for name in ("README.md", "CHANGELOG.md"):
        _write(root / "usr/share/doc/kvmtop" / name, (ROOT / name).read_text())


def build(directory: Path) -> Path:
    """The package, made in this directory."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "root"
        root.mkdir(mode=0o755)
        stage(root)
        architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
        size = sum(path.lstat().st_size for path in root.rglob("*")) // 1024
        minor = sys.version_info.minor
        control = CONTROL.format(
            version=__version__, architecture=architecture, kilobytes=size, minor=minor, next=minor + 1
        )
        _write(root / "DEBIAN/control", control)
        directory.mkdir(exist_ok=True)
        path = directory / f"kvmtop_{__version__}_{architecture}.deb"
        pack = [
            "dpkg-deb",
            "-Zzstd",
            "--root-owner-group",
            "--build",
            str(root),
            str(path),
        ]  # xz: a minute for 6 MB less
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
    return path


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
