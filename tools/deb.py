"""Builds kvmtop_VERSION_ARCHITECTURE.deb from this checkout: .venv/bin/python -m tools.deb dist

Debian 12 has neither Textual 8 nor plotext 6 nor NumPy 1.26, so the package carries what pip installs, in a virtual
environment /usr/lib/kvmtop that sees the distribution's bcc. Some of that is compiled, so the package is for the
Python (3.11, say) and the architecture that it was built with. Its maintainer is who builds it: DEBFULLNAME, DEBEMAIL.

Not with debhelper: it needs sixty packages more, a C compiler among them, where dpkg-dev alone needs fourteen.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from email.utils import formataddr
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
# "<<" keeps Debian's python3 from moving to another version beneath the compiled parts.
CONTROL = """\
Package: kvmtop
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Section: admin
Priority: optional
Installed-Size: {kilobytes}
Depends: python3-bpfcc, python3 (>= 3.{minor}), python3 (<< 3.{next}), {libraries}
Description: top for KVM exits
 What makes the vCPUs of this host's virtual machines leave the guest, how
 often, for how long and why. It is not the program of the same name that is
 written in Go and shows CPU and I/O figures of virtual machines.
"""
# As dh-python and debhelper write them: bytecode is made where it is used, and a service that runs is stopped first.
SCRIPTS = {
    "postinst": """\
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    py3compile -p kvmtop /usr/lib/kvmtop -V 3.{minor}
    deb-systemd-helper update-state kvmtop.service kvmtop-record.service
fi
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
""",
    "prerm": """\
#!/bin/sh
set -e
if [ -d /run/systemd/system ] && [ "$1" = remove ]; then
    deb-systemd-invoke stop kvmtop.service kvmtop-record.service >/dev/null || true
fi
py3clean -p kvmtop
""",
    "postrm": """\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || true
fi
if [ "$1" = purge ]; then
    deb-systemd-helper purge kvmtop.service kvmtop-record.service
fi
""",
}
# lintian's tags that stay, and why.
OVERRIDES = """\
# The virtual environment's Python, which finds what Debian lacks and the distribution's bcc, too.
kvmtop: wrong-path-for-interpreter /usr/lib/kvmtop/bin/python3 != /usr/bin/python3 [usr/bin/kvmtop]
# Made for the machines of who builds it; the project has no address for mail. DEBEMAIL gives another.
kvmtop: bogus-mail-host Maintainer root@localhost
kvmtop: bogus-mail-host-in-debian-changelog root@localhost *
kvmtop: root-in-contact Maintainer *
# NumPy and plotext come as their makers compiled them, for any Linux; strip makes what auditwheel has patched unusable.
kvmtop: unstripped-binary-or-object *
kvmtop: library-not-linked-against-libc *
kvmtop: shared-library-lacks-prerequisites *
kvmtop: hardening-no-bindnow *
kvmtop: hardening-no-fortify-functions *
"""
LICENCE = re.compile(r"LICEN[CS]E|COPYING|NOTICE")
FULL = re.compile(  # a text that Debian has in /usr/share/common-licenses
    r"^ *(Apache License|GNU GENERAL PUBLIC LICENSE)\s+Version (\d).*?END OF TERMS AND CONDITIONS", re.M | re.S
)
COMMON = {"Apache License": "Apache-2.0", "GNU GENERAL PUBLIC LICENSE": "GPL-3"}


def licence(distribution: Distribution) -> str:
    """What a distribution says that its licence is, as an SPDX expression or in its own words."""
    about = distribution.metadata.json
    classified = [line.rpartition(" :: ")[2] for line in about.get("classifier", []) if "License ::" in line]
    return str(about.get("license_expression") or " AND ".join(classified) or about.get("license") or "unknown")


def copyright_text(site: Path) -> str:
    """The licences of all that is installed in a site-packages directory, with their texts."""
    parts = []
    for one in sorted(distributions(path=[str(site)]), key=lambda one: one.name.lower()):
        texts = [file for file in one.files or [] if LICENCE.search(file.name)]
        parts.append(f"{one.name} {one.version}: {licence(one)}")
        parts += [Path(str(one.locate_file(file))).read_text(errors="replace").strip() for file in texts]
    return FULL.sub(_common, f"\n\n{'-' * 72}\n\n".join(parts) + "\n")


def _common(found: re.Match[str]) -> str:
    return f"{found[1]}, version {found[2]}: /usr/share/common-licenses/{COMMON[found[1]]}"


def maintainer() -> str:
    """Who builds the package, as Debian's tools ask for it; without that, who reads this machine's mail."""
    return formataddr((os.environ.get("DEBFULLNAME", "kvmtop authors"), os.environ.get("DEBEMAIL", "root@localhost")))


def changelog() -> str:
    """Debian's changelog, of one entry: what has changed is told in CHANGELOG.md."""
    now = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    day = time.strftime("%a, %d %b %Y %H:%M:%S +0000", now)
    return f"kvmtop ({__version__}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- {maintainer()}  {day}\n"


def stage(root: Path) -> None:
    """Put all files of the package below a directory."""
    home = root / HOME[1:]
    site = home / "lib" / PYTHON / "site-packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-warn-script-location"]
    subprocess.run([*pip, f"--target={site}", str(ROOT)], check=True)
    shutil.rmtree(site / "bin")
    _write(root / "usr/share/doc/kvmtop/copyright", copyright_text(site))
    trim(site)
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(f"../../../bin/{PYTHON}")
    _write(home / "pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = true\n")
    _write(root / "usr/bin/kvmtop", SCRIPT, 0o755)
    units(root / "usr/lib/systemd/system")
    _pack(root / "usr/share/man/man1/kvmtop.1.gz", manual.page())
    _write(root / "usr/share/bash-completion/completions/kvmtop", manual.bash())
    _write(root / "usr/share/lintian/overrides/kvmtop", OVERRIDES)
    documents(root / "usr/share/doc/kvmtop")
    _pack(root / "usr/share/doc/kvmtop/CHANGELOG.md.gz", (ROOT / "CHANGELOG.md").read_text())
    _pack(root / "usr/share/doc/kvmtop/changelog.gz", changelog())


def units(folder: Path) -> None:
    """systemd's, which start nothing by themselves; without how to install them by hand."""
    for path in (ROOT / "kvmtop/data").glob("*.service"):
        unit = path.read_text().replace("/opt/kvmtop/bin/", "/usr/bin/")
        _write(folder / path.name, re.sub(r"\A(#.*\n)+", "", unit).lstrip())


def documents(folder: Path) -> None:
    """README and what it tells to read on, at the same places to each other as here."""
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        _write(folder / path.relative_to(ROOT), path.read_text())


def trim(site: Path) -> None:
    """Take from a site-packages directory what a Debian package has elsewhere or must not have."""
    for path in [path for name in ("tests", "direct_url.json", "__pycache__") for path in site.rglob(name)]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in filter(Path.is_file, site.rglob("*")):
        if LICENCE.search(path.name):
            path.unlink()  # its text is in the file copyright
        elif ".so" in path.suffixes:
            path.chmod(0o644)
        elif path.suffix == ".py" and (text := path.read_bytes()).startswith(b"#!"):
            path.write_bytes(b"#" + text[2:])  # a module, not a program
            path.chmod(0o644)
    for path in sorted(filter(Path.is_dir, site.rglob("*")), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()


def libraries(root: Path) -> str:
    """The dependencies of what is compiled, by dpkg-shlibdeps; root must have its DEBIAN for $ORIGIN to be followed."""
    objects = [path for path in root.rglob("*") if ".so" in path.suffixes]
    with tempfile.TemporaryDirectory() as temporary:
        _write(Path(temporary) / "debian/control", "Source: kvmtop\n")
        told = subprocess.check_output(["dpkg-shlibdeps", "--warnings=0", "-O", *objects], text=True, cwd=temporary)
    return told.strip().removeprefix("shlibs:Depends=")


def build(directory: Path) -> Path:
    """The package, made in this directory."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "root"
        root.mkdir(mode=0o755)
        stage(root)
        architecture = subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()
        files = [path for path in sorted(root.rglob("*")) if path.is_file() and not path.is_symlink()]
        size = sum(path.stat().st_size for path in files) // 1024
        sums = [f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(root)}\n" for path in files]
        _write(root / "DEBIAN/md5sums", "".join(sums))
        minor = sys.version_info.minor
        for name, script in SCRIPTS.items():
            _write(root / "DEBIAN" / name, script.replace("{minor}", str(minor)), 0o755)
        control = CONTROL.format(
            version=__version__,
            architecture=architecture,
            maintainer=maintainer(),
            kilobytes=size,
            minor=minor,
            next=minor + 1,
            libraries=libraries(root),
        )
        _write(root / "DEBIAN/control", control)
        directory.mkdir(exist_ok=True)
        path = directory / f"kvmtop_{__version__}_{architecture}.deb"
        # Debian 12's lintian knows no zstd; without -z1, xz takes five times as long for a fifth less.
        pack = ["dpkg-deb", "-Zxz", "-z1", "--root-owner-group", "--build", str(root), str(path)]
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
    return path


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _pack(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
