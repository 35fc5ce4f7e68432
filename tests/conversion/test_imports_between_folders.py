"""Folders of `conversion` import one way: reports below the tools, the command line above all.

Files are read as text, so imports inside functions and for types alone count as well.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Folder or file of `conversion` -> the others that it may import. The tools do not know each other.
ALLOWED: dict[str, set[str]] = {
    "reports": set(),
    "opening": set(),
    "convert": {"reports", "opening"},
    "inspection": {"reports"},
    "verification": {"reports", "opening"},
    "line_by_line": {"reports"},
    "tokenize": {"reports", "line_by_line"},
    "generation": {"line_by_line", "opening"},
    "evaluation": {"reports", "line_by_line"},
    "texts": {"line_by_line", "opening"},
    "vocabulary": {"reports", "line_by_line"},
    "training": {"reports", "opening", "line_by_line", "generation", "evaluation"},
    "cli": {
        "reports",
        "opening",
        "convert",
        "inspection",
        "verification",
        "line_by_line",
        "tokenize",
        "generation",
        "evaluation",
        "texts",
        "vocabulary",
        "training",
    },
    "layouts_page": set(),
    "__main__": {"cli"},
    # Names that are looked up when they are asked for.
    "__init__": set(),
}


def modules() -> dict[str, Path]:
    """Dotted name -> file."""
    result = {}
    for file in sorted((ROOT / "conversion").rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        result[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return result


def imported(source: str, known: set[str]) -> Iterator[str]:
    """The modules among `known` that a source imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            module = node.module or ""
            members = [f"{module}.{alias.name}" for alias in node.names]
            names = [name if name in known else module for name in members]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names = [a.value for a in node.args[:1] if isinstance(a, ast.Constant)]
        yield from (name for name in names if name in known)


def graph() -> dict[str, set[str]]:
    """Module -> the modules of `conversion` that it imports."""
    found = modules()
    return {
        name: set(imported(file.read_text(encoding="utf-8"), set(found)))
        for name, file in found.items()
    }


def folder_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0] or "__init__"


def test_no_circles() -> None:
    order = list(TopologicalSorter(graph()).static_order())  # raises CycleError
    assert "conversion.cli.command" in order


@pytest.mark.parametrize("folder", ALLOWED)
def test_one_way(folder: str) -> None:
    crossing = {
        (name, other)
        for name, others in graph().items()
        for other in others
        if folder_of(name) == folder and folder_of(other) not in {folder, *ALLOWED[folder]}
    }
    assert crossing == set()


def test_every_folder_is_listed() -> None:
    assert {folder_of(name) for name in modules()} == {*ALLOWED}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from a import b", ["a.b"]),
        ("from a.b import c", ["a.b"]),
        ("def f():\n    import a.b", ["a.b"]),
        ("if TYPE_CHECKING:\n    from a import b", ["a.b"]),
        ("importlib.import_module('a.b')", ["a.b"]),
        ("from x import a", []),
    ],
)
def test_how_files_are_read(source: str, expected: list[str]) -> None:
    assert list(imported(source, {"a", "a.b"})) == expected
