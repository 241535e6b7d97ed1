"""What README, CONTRIBUTING and docs/ tell to type, to open and to read, is there."""

from __future__ import annotations

import ast
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from kvmtop import cli

from .support.documents import COMMANDS, DOCUMENTS, RUNS_HERE, TEXT, arguments
from .support.program import ROOT

MESSAGES = re.findall(r"^\| `(.*?)` \|", DOCUMENTS[ROOT / "docs/troubleshooting.md"], re.MULTILINE)


def said(tree: ast.AST) -> list[str]:
    """All texts of a module, with … for what is put into them."""
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    joined = ["".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in text.values) for text in texts]
    return joined + [str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command: str) -> None:
    name, *rest = arguments(command) or ["live"]
    parsers = cli.parsers()
    parsers[name].read(rest) if name in parsers else parsers["live"].read([name, *rest])


# Serving metrics takes the recording's own time, and those that look at this host need one: tests/on_host/test_readme.py.
@pytest.mark.parametrize("command", [c for c in COMMANDS if re.match(RUNS_HERE, c)])
def test_commands_without_root(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("run", "a", "b"):
        (tmp_path / f"{name}.kvmtop").symlink_to(ROOT / "tests/data/stories/console.kvmtop")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments(command)) == 0


def test_there_are_commands_and_messages() -> None:
    assert len(COMMANDS) > 40
    assert len(MESSAGES) > 14


def test_files() -> None:
    named = re.findall(r"(?<![\w./~-])((?:kvmtop|tests|tools|screenshots|docs)/[\w./-]*\w)", TEXT)
    assert len(named) > 5
    assert [name for name in set(named) if not (ROOT / name).exists()] == []


def test_links() -> None:
    """To a file from where the document is, and to a heading in it; every document can be reached from README."""
    links = [
        (path, *link.partition("#")[::2])
        for path, text in DOCUMENTS.items()
        for link in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in link
    ]
    targets = [(path, (path.parent / name).resolve() if name else path, heading) for path, name, heading in links]
    assert [target for _, target, _ in targets if not target.exists()] == []
    assert [link for *link, heading in targets if heading and heading not in headings(link[1])] == []
    assert {target for path, target, _ in targets if path.name == "README.md"} >= {*DOCUMENTS} - {ROOT / "README.md"}


def headings(path: Path) -> list[str]:
    """As GitHub names them in links."""
    titles = re.findall(r"^#+ (.*)", path.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]


def test_licences_are_named() -> None:
    """Each file that may be used under another licence, too."""
    section = DOCUMENTS[ROOT / "README.md"].partition("\n## Licence\n")[2]
    files = [path for path in (ROOT / "kvmtop").rglob("*.[ch]") if "SPDX" in path.read_text()]
    assert len(files) > 2
    assert [path for path in files if f"`{path.relative_to(ROOT)}`" not in section] == []


def test_modules() -> None:
    modules = set(re.findall(r"python3? -m ([\w.]+)", TEXT))
    assert len(modules) > 5
    assert [name for name in modules if not find_spec(name)] == []


def test_every_module_has_its_place_in_the_architecture() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Architecture\n")[2].partition("\n## ")[0]
    modules = {f"`kvmtop/{path.name}`" for path in (ROOT / "kvmtop").glob("[!_]*.py")}
    modules |= {f"`kvmtop/{path.parent.name}/`" for path in (ROOT / "kvmtop").glob("*/__init__.py")}
    assert [module for module in sorted(modules) if f"{module}," not in table and f"{module} |" not in table] == []


def test_messages_are_said() -> None:
    code = "\n".join(text for path in (ROOT / "kvmtop").rglob("*.py") for text in said(ast.parse(path.read_text())))
    assert [message for message in MESSAGES if message not in code] == []
