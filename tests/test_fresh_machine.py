"""What the README tells a newcomer to type, on a Debian that has nothing yet: debootstrapped into a folder."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support.terminal import Terminal

SUITES = ("bookworm", "trixie")  # Debian 12 and 13
REQUIRED = os.environ.get("KVMTOP_REQUIRE_HOSTS") == "1"
pytestmark = pytest.mark.skipif(
    not REQUIRED, reason="installs four Debians, in fifteen minutes: set KVMTOP_REQUIRE_HOSTS=1 (make fresh)"
)

ROOT = Path(__file__).parents[1]
# What a certificate or a proxy of this machine's network needs there, too.
NETWORK = re.compile(r"PIP_|SSL_|.*_CA_BUNDLE|(https?|no)_proxy", re.IGNORECASE)
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


class Machine:
    """A Debian in a folder, with this machine's kernel and network, and a user who may sudo, or root."""

    def __init__(self, root: Path, user: str = "newcomer", checkout: str = "/home/newcomer/kvmtop") -> None:
        self.root, self.user, self.checkout = root, user, checkout

    def argv(self, command: str) -> list[str]:
        """What runs a shell command in the checkout as the user. Its mounts end with it, a sudoer's processes too.

        Root keeps this machine's process ids, without which kvmtop takes itself to be in a container, and has no LANG.
        """
        sudoer = self.user != "root"
        root = shlex.quote(str(self.root))
        mounts = f"mount -t proc proc {root}/proc && mount --rbind /sys {root}/sys && mount --rbind /dev {root}/dev"
        keep = [f"{name}={value}" for name, value in os.environ.items() if NETWORK.match(name)]
        inside = [
            "env",
            "-i",
            *keep,
            f"HOME={'/home/newcomer' if sudoer else '/root'}",
            *["LANG=C.UTF-8"] * sudoer,
            f"PATH={'' if sudoer else '/usr/sbin:/sbin:'}/usr/bin:/bin",
            "TERM=xterm-256color",
            "PYTEST_XDIST_AUTO_NUM_WORKERS=2",  # a host may run beside it
            "sh",
            "-c",
            f"cd {shlex.quote(self.checkout)} && {command}",
        ]
        enter = f"{mounts} && exec chroot --userspec={self.user}:{self.user} {root} {shlex.join(inside)}"
        return ["unshare", "--mount", *["--pid"] * sudoer, "--fork", "--kill-child", "sh", "-c", enter]

    def run(self, command: str, timeout: float = 400) -> str:
        """What it writes; it must succeed."""
        start = time.monotonic()
        done = subprocess.run(
            self.argv(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        print(f"$ {command}\n{done.stdout[-3000:]}[status {done.returncode}, {time.monotonic() - start:.0f} s]\n")
        assert done.returncode == 0
        return done.stdout


def typed(word: str) -> str:
    """The README's command with a word in it."""
    section = (ROOT / "README.md").read_text().partition("\n## Set up\n")[2].partition("\n## ")[0]
    (command,) = [line.strip() for line in section.splitlines() if line.startswith("    ") and word in line]
    return command


def source() -> tuple[str, str]:
    """Where this machine's apt has Debian from, and which."""
    targets = [
        "apt-get",
        "indextargets",
        "--format",
        "$(REPO_URI) $(CODENAME)",
        "Created-By: Packages",
        "Origin: Debian",
    ]
    uri, suite = subprocess.run(targets, capture_output=True, text=True, check=True).stdout.split()[:2]
    return uri, suite


@pytest.fixture(scope="module", params=SUITES)
def machines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Machine, Machine]]:
    """One with a clean clone, and one without."""
    suite: str = request.param
    mirror, here = source()
    assert os.geteuid() == 0, "debootstrap needs root"
    folder = tmp_path_factory.mktemp(suite)
    folder.chmod(0o755)
    root = folder / "cloned"
    packages = "--include=sudo,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", packages, suite, root, mirror], check=True)
    (root / "etc/apt/sources.list").unlink()
    for path in ("etc/apt", "usr/share/keyrings"):
        shutil.copytree(Path("/") / path, root / path, dirs_exist_ok=True, symlinks=True)
    for file in (root / "etc/apt").rglob("*"):
        if file.suffix in (".list", ".sources"):
            file.write_text(file.read_text().replace(here, suite))
    for name in (CERTIFICATES, Path("etc/resolv.conf"), Path("etc/hosts"), Path("etc/pip.conf")):
        if (Path("/") / name).exists():
            shutil.copyfile(Path("/") / name, root / name)
    subprocess.run(["useradd", "--root", root, "--create-home", "--shell", "/bin/bash", "newcomer"], check=True)
    (root / "etc/sudoers.d/newcomer").write_text("newcomer ALL=(ALL) NOPASSWD: ALL\nDefaults !env_reset\n")
    bare = folder / "bare"
    subprocess.run(["cp", "-a", root, bare], check=True)
    subprocess.run(["git", "clone", "--quiet", ROOT, root / "home/newcomer/kvmtop"], check=True)
    (bare / "home/newcomer/kvmtop").mkdir()
    for machine in (root, bare):
        subprocess.run(["chroot", machine, "chown", "-R", "newcomer:", "/home/newcomer"], check=True)
    yield Machine(root), Machine(bare)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def typing(machines: tuple[Machine, Machine]) -> Machine:
    """Debian 12 as root, with a tarball's checkout in a home that is root's alone; Debian 13 as a user, with a clone."""
    cloned, _ = machines
    if not (cloned.root / "etc/debian_version").read_text().startswith("12"):
        return cloned
    checkout = "/root/of mine/kvmtop"
    place = cloned.root / checkout[1:]
    place.mkdir(parents=True)
    (cloned.root / "root").chmod(0o700)
    tarball = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", place], input=tarball, check=True)
    assert not (cloned.root / "usr/bin/git").exists()
    return Machine(cloned.root, "root", checkout)


def test_from_nothing_to_the_dashboard(typing: Machine) -> None:
    terminal = Terminal(typing.argv(f"{typed('make run')}; echo status $?; sleep 60"), 120, 40)
    try:
        screen = terminal.wait(r"^(?s:.*)REASON +EXITS/S(?s:.*)^│.(io|msr) +[\d.]+", 400)
        print(screen)
        terminal.keys("q")
        terminal.wait(r"^status 0", 20)
    finally:
        terminal.close()


# What may depend on the machine's packages. `make test` has just run all of them here; those of the kernel, which is the
# same in a folder, would compete with the hosts that run beside it.
ON_THE_MACHINE = "tests/commands tests/output tests/test_cli.py tests/test_faults.py"


@pytest.mark.parametrize(
    "which", [pytest.param(ON_THE_MACHINE, id="the machine's"), pytest.param("", id="all", marks=pytest.mark.long)]
)
def test_the_tests_pass(typing: Machine, which: str) -> None:
    """As root; a file of them as the user, whose machine has what they need from `make test`'s recipe."""
    if typing.user == "root":
        said = typing.run(f"export PYTEST_ADDOPTS={shlex.quote(which)}; {typed('make test')}", 1500)
        assert re.search(r"^=+ \d{3,} passed", said, re.MULTILINE)
    else:
        said = typing.run("make .venv/bin/pytest && .venv/bin/python -m pytest tests/output/test_summary.py")
        assert re.search(r"^=+ \d\d passed", said, re.MULTILINE)


def test_the_debian_package(machines: tuple[Machine, Machine]) -> None:
    cloned, bare = machines
    cloned.run("sudo apt-get update -qq && sudo apt-get install -y -qq make")
    cloned.run(typed("make deb"))
    lint(cloned)
    folder = bare.root / "home/newcomer/kvmtop/dist"
    shutil.copytree(cloned.root / "home/newcomer/kvmtop/dist", folder)
    bare.run("sudo apt-get update -qq && sudo apt-get install -y -qq --no-install-recommends man-db")
    bare.run(typed("dist/kvmtop"))
    assert bare.run("dpkg --verify kvmtop") == ""
    # Whatever kvmtop runs as, there is bytecode for all it imports.
    modules = bare.run("cd /usr/lib/kvmtop && find . -name '*.py' | wc -l; find . -name '*.pyc' | wc -l").split()
    assert modules[0] == modules[1] != "0"
    assert bare.run("kvmtop --version").startswith("kvmtop ")
    assert bare.run("man -w kvmtop").strip().startswith("/usr/share/man/man1/kvmtop.1")
    assert "--openmetrics" in bare.run("man kvmtop | col -b")
    assert "# reason(hex): count sum(us) min(us) avg(us) max(us)" in bare.run("kvmtop demo --batch")
    # bcc comes from the distribution, and the compiler's process finds what the package carries.
    assert re.search(r"^ok +bcc +0\.", bare.run("sudo kvmtop doctor || test $? = 1"), re.MULTILINE)
    bare.run("bash -c '. /usr/share/bash-completion/completions/kvmtop && complete -p kvmtop'")
    words = "COMP_WORDS=(kvmtop --openm) COMP_CWORD=1; _kvmtop; echo ${COMPREPLY[@]}"
    completed = bare.run(f"bash -c '. /usr/share/bash-completion/completions/kvmtop; {words}'")
    assert completed == "--openmetrics\n"
    assert "kvmtop.service" in bare.run("dpkg -L kvmtop")
    about = bare.run("cat /usr/share/doc/kvmtop/copyright")
    assert all(
        name in about for name in ("textual ", "plotext ", "numpy ", "prometheus_client ", "tomlkit ", "Apache License")
    )
    wants = "/etc/systemd/system/multi-user.target.wants"  # as `systemctl enable` does
    bare.run(f"sudo mkdir -p {wants} && sudo ln -s /usr/lib/systemd/system/kvmtop.service {wants}")
    bare.run("sudo apt-get remove -y -qq kvmtop && ! test -e /usr/lib/kvmtop")
    bare.run("sudo apt-get purge -y -qq kvmtop")
    # The user's own checkout, and the logs of apt and dpkg, are not the package's.
    assert bare.run("sudo find / -xdev -name '*kvmtop*' ! -path '/home/*' ! -path '/proc/*'") == ""


def lint(machine: Machine) -> None:
    """Debian's own check of the package, by the lintian of the release that it was built on."""
    keep = "-o Dpkg::Options::=--force-confold"  # /etc/apt is this machine's, lintian's dependency appstream may differ
    machine.run(f"sudo apt-get install -y -qq --no-install-recommends {keep} lintian")
    machine.run("lintian --fail-on error,warning --tag-display-limit 0 dist/kvmtop_*.deb")
