"""What is packed, under which licences; and that each kind of package can be installed and runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import kvmtop
from tools import deb
from tools.deb import licence

from .support.program import ROOT

REQUIRED = os.environ.get("KVMTOP_REQUIRE_HOSTS") == "1"
ALLOWED = {
    "MIT",
    "MIT License",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSD License",
    "0BSD",
    "Zlib",
    "CC0-1.0",
    "PSF-2.0",
    "Apache-2.0",
    "Apache Software License",
}


def needed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """What kvmtop needs to run, and what that needs."""
    one = distribution(name)
    yield one
    for requirement in map(Requirement, one.requires or []):
        wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if wanted and requirement.name.lower() not in seen:
            seen.add(requirement.name.lower())
            yield from needed(requirement.name, seen)


def test_licences() -> None:
    found = {one.name.lower(): licence(one) for one in needed("kvmtop", set())}
    assert {"kvmtop", "numpy", "textual", "plotext", "prometheus_client", "rich"} <= {
        n.replace("-", "_") for n in found
    }
    for name, said in found.items():
        assert set(re.split(r" AND | OR |[()]", said)) - {""} <= ALLOWED, f"{name}: {said}"


def test_dependencies_are_few_and_bounded() -> None:
    """What a new major version changes shall not reach a program that runs as root unseen."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(wanted) <= 5
    for one in map(Requirement, wanted):
        assert {bound.operator for bound in one.specifier} == {">=", "<"}, one
        assert one.specifier.contains(distribution(one.name).version), one


def test_the_debian_package_has_no_bytecode_programs_or_licences_of_its_own(tmp_path: Path) -> None:
    """Debian makes the bytecode, and has the licences in one file."""
    files = {
        "a/b.py": "#!/usr/bin/python\nx = 1\n",
        "a/c.cpython-311-x86_64-linux-gnu.so": "",
        "a/lib.so.5.0": "",
        "a/__pycache__/b.cpython-311.pyc": "",
        "a/tests/t.py": "",
        "a-1.dist-info/licenses/x_LICENSE.txt": "",
        "a-1.dist-info/METADATA": "",
        "a-1.dist-info/direct_url.json": "",
    }
    for name, text in files.items():
        deb._write(tmp_path / name, text, 0o755)
    deb.trim(tmp_path)
    left = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert left == {
        "a": 0o755,
        "a/b.py": 0o644,
        "a/c.cpython-311-x86_64-linux-gnu.so": 0o644,
        "a/lib.so.5.0": 0o644,
        "a-1.dist-info": 0o755,
        "a-1.dist-info/METADATA": 0o755,
    }
    assert (tmp_path / "a/b.py").read_text() == "#/usr/bin/python\nx = 1\n"


def test_the_debian_package_has_what_readme_tells_to_read(tmp_path: Path) -> None:
    deb.documents(tmp_path)
    links = re.findall(r"\]\((docs/[^)#]+)", (tmp_path / "README.md").read_text())
    assert len(links) > 8
    assert [link for link in links if not (tmp_path / link).is_file()] == []


def test_the_debian_package_has_the_units(tmp_path: Path) -> None:
    """Each is known to the scripts that install and remove it, and is started by nobody."""
    deb.units(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"kvmtop.service", "kvmtop-record.service"}
    for path in tmp_path.iterdir():
        assert "\nExecStart=/usr/bin/kvmtop " in path.read_text() and "/opt/" not in path.read_text()
    for script in deb.SCRIPTS.values():
        assert all(name in script for name in names) and not re.search(r"\b(start|enable)\b", script)


def test_the_debian_package_points_to_common_licences(tmp_path: Path) -> None:
    about = "Name: a\nVersion: 1\nLicense-Expression: Apache-2.0 AND MIT\n"
    apache = (ROOT / "LICENSE").read_text()
    deb._write(tmp_path / "a-1.dist-info/METADATA", about)
    deb._write(tmp_path / "a-1.dist-info/licenses/LICENSE", f"{apache}\nPermission is hereby granted\n")
    deb._write(tmp_path / "a-1.dist-info/RECORD", "a-1.dist-info/METADATA,,\na-1.dist-info/licenses/LICENSE,,\n")
    text = deb.copyright_text(tmp_path)
    assert "a 1: Apache-2.0 AND MIT" in text and "Permission is hereby granted" in text
    assert "Apache License, version 2: /usr/share/common-licenses/Apache-2.0" in text
    assert "TERMS AND CONDITIONS" not in text


def test_the_debian_package_names_who_built_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEBFULLNAME", raising=False)
    monkeypatch.delenv("DEBEMAIL", raising=False)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    assert deb.maintainer() == "kvmtop authors <root@localhost>"
    monkeypatch.setenv("DEBFULLNAME", "Ada Lovelace")
    monkeypatch.setenv("DEBEMAIL", "ada@debian.org")
    entry = deb.changelog()
    assert entry.startswith(f"kvmtop ({kvmtop.__version__}) ")
    assert entry.endswith("\n -- Ada Lovelace <ada@debian.org>  Thu, 01 Jan 1970 00:00:00 +0000\n")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wheel and sdist, built by hatchling in an environment of its own."""
    if not REQUIRED:
        pytest.skip("installs kvmtop twice from packages: set KVMTOP_REQUIRE_HOSTS=1")
    folder = tmp_path_factory.mktemp("packages")
    builder = environment(folder / "builder", "hatchling")
    for kind in ("wheel", "sdist"):
        subprocess.run([builder / "hatchling", "build", "-t", kind, "-d", folder], cwd=ROOT, check=True)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


def environment(folder: Path, package: str) -> Path:
    """The programs of a new virtual environment with a package in it."""
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", package], check=True)
    return folder / "bin"


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_installs_and_runs(packages: dict[str, Path], kind: str, tmp_path: Path) -> None:
    programs = environment(tmp_path / "environment", str(packages[kind]))
    elsewhere = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}

    def run(*argv: str | Path) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=elsewhere)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    where = run(programs / "python", "-c", "import bcc, kvmtop; print(kvmtop.__file__)")
    assert Path(where.strip()).is_relative_to(tmp_path)
    assert run(programs / "kvmtop", "--version") == f"kvmtop {kvmtop.__version__}\n"
    assert "--openmetrics" in run(programs / "kvmtop", "help", "live")
    assert "# reason(hex): count sum(us) min(us) avg(us) max(us)" in run(programs / "kvmtop", "demo", "--batch")
    present = Path(where.strip()).parent
    for path in (ROOT / "kvmtop").rglob("*"):
        assert path.suffix == ".pyc" or (present / path.relative_to(ROOT / "kvmtop")).exists(), path
