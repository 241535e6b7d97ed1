"""Who may import what: each outside library has one home, and what is shown flows one way."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import kvmtop

ROOT = Path(kvmtop.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The full names of all modules that a file imports or imports from, wherever in it."""
    package = ["kvmtop", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def users(library: str) -> set[str]:
    """The files that import a library or a part of it."""
    return {
        str(path.relative_to(ROOT))
        for path in FILES
        if any(name == library or name.startswith(f"{library}.") for name in imports(path))
    }


def test_imports_are_found() -> None:
    assert {"kvmtop.vms", "kvmtop.bpf.collector.Collector", "collections.abc"} <= set(imports(ROOT / "live.py"))
    assert {"kvmtop.errors", "kvmtop.bpf.tracepoint"} <= set(imports(ROOT / "bpf" / "collector.py"))
    assert "bcc" in set(imports(ROOT / "bpf" / "loader.py"))  # in a function


def test_bcc() -> None:
    assert users("bcc") == {"bpf/loader.py"}


def test_plotext() -> None:
    assert users("plotext") == {"widgets/chart.py"}


@pytest.mark.parametrize("library", ["textual", "rich"])
def test_textual(library: str) -> None:
    # player: the same program over a recording; batch: how wide a name is
    allowed = {"app.py", "comparison.py", "batch.py" if library == "rich" else "player.py"}
    assert {path for path in users(library) if not path.startswith("widgets/")} <= allowed
    assert "app.py" in users(library)


def test_stats_knows_snapshots_only() -> None:
    found = {name for name in imports(ROOT / "stats.py") if name.split(".")[0] == "kvmtop"}
    assert {".".join(name.split(".")[:2]) for name in found} - {"kvmtop"} == {"kvmtop.snapshot"}


def test_snapshot_knows_nothing() -> None:
    assert not [name for name in imports(ROOT / "snapshot.py") if name.split(".")[0] == "kvmtop"]


@pytest.mark.parametrize("path", sorted((ROOT / "widgets").glob("*.py")), ids=lambda path: path.name)
def test_widgets_know_what_they_show_only(path: Path) -> None:
    for module in ("bpf", "session", "live", "vms", "app"):
        assert not [name for name in imports(path) if f"{name}.".startswith(f"kvmtop.{module}.")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_is_hidden(path: Path) -> None:
    names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
    assert "__import__" not in names
    assert not [name for name in imports(path) if name.split(".")[0] == "importlib"]
