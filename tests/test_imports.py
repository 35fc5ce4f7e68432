"""Imports point one way: conversion to the two families, these to xlm_core; neither to the other.

What a package loads is asked in a process of its own; what its files say is read as text.
"""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from tests.support.import_graph import called

ROOT = Path(__file__).resolve().parents[1]
OURS = ("xlm_core", "xlm_torch", "xlm_tf", "conversion")
PEERS = {"transformers", "tf_keras"}

# Package -> what must not be loaded by importing it and all its modules.
NOT_LOADED = {
    "xlm_core": {"torch", "tensorflow", "keras", "jax", "xlm_torch", "xlm_tf", "conversion"}
    | PEERS,
    "xlm_torch": {"tensorflow", "keras", "jax", "xlm_tf", "conversion"} | PEERS,
    "xlm_tf": {"torch", "xlm_torch", "conversion"} | PEERS,
    "conversion": PEERS,
}
# Package -> what its files must not name, not even inside functions.
NOT_NAMED = {
    "xlm_core": {"torch", "tensorflow", "keras", "xlm_torch", "xlm_tf", "conversion"} | PEERS,
    "xlm_torch": {"tensorflow", "keras", "xlm_tf", "conversion"} | PEERS,
    "xlm_tf": {"torch", "xlm_torch", "conversion"} | PEERS,
    "conversion": PEERS,
}
# File -> what it may import inside functions, and why.
LAZY_IMPORTS: dict[str, tuple[set[str], str]] = {
    "xlm_core/tokenization/calls/frameworks.py": (
        {"torch", "tensorflow"},
        "tensors that a caller asks for by name",
    ),
}

# The one package that is transformers' own kind: it imports transformers, and nobody imports it.
FOR_TRANSFORMERS = "xlm_torch.for_transformers"

PROBE = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def loaded_by(package: str) -> set[str]:
    modules = [
        name
        for name in map(module_of, files(package))
        if not name.endswith("__main__") and not name.startswith(FOR_TRANSFORMERS)
    ]
    # transformers, imported by a test before, sets this for its whole process.
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *modules],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("package", OURS)
def test_what_is_loaded(package: str) -> None:
    loaded = loaded_by(package)
    assert package in loaded
    assert loaded & NOT_LOADED[package] == set()
    needed = {"xlm_torch": "torch", "xlm_tf": "tensorflow"}
    assert needed.get(package, "numpy") in loaded  # else the probe sees nothing


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found or package == "conversion"
    return found


def imported(source: str) -> Iterator[tuple[str, bool]]:
    """(top-level package, whether it is imported when the module is) of every import."""
    tree = ast.parse(source)
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and called(node) == "import_module":
            names = [str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]
        for name in names:
            yield name.partition(".")[0], id(node) not in inside


@pytest.mark.parametrize("package", OURS)
def test_what_is_named(package: str) -> None:
    wrong = []
    for file in files(package):
        relative = file.relative_to(ROOT).as_posix()
        if module_of(file).startswith(FOR_TRANSFORMERS):
            continue
        allowed, _ = LAZY_IMPORTS.get(relative, (set(), ""))
        for name, at_import in imported(file.read_text(encoding="utf-8")):
            if name in NOT_NAMED[package] and (at_import or name not in allowed):
                wrong.append((relative, name))
    assert wrong == []


def test_one_package_imports_transformers() -> None:
    """And the rest of the library does without it."""
    inside, outside = set(), []
    for package in OURS:
        known = set(graph_of(package))
        for file in files(package):
            source = file.read_text(encoding="utf-8")
            if module_of(file).startswith(FOR_TRANSFORMERS):
                inside |= {name for name, _ in imported(source)}
            elif any(each.startswith(FOR_TRANSFORMERS) for each in modules_named(source, known)):
                outside.append(module_of(file))
    assert outside == []
    assert "transformers" in inside
    assert not inside & (NOT_NAMED["xlm_torch"] - {"transformers"})


def test_lazy_imports_are_in_use() -> None:
    for relative, (allowed, reason) in LAZY_IMPORTS.items():
        found = {name for name, _ in imported((ROOT / relative).read_text(encoding="utf-8"))}
        assert allowed <= found, relative
        assert reason


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", [("torch", True)]),
        ("from keras.src import x", [("keras", True)]),
        ("def f():\n    import torch", [("torch", False)]),
        ("try:\n    import torch\nexcept ImportError:\n    pass", [("torch", True)]),
        ("if TYPE_CHECKING:\n    from xlm_tf import y", [("xlm_tf", True)]),
        ("x = importlib.import_module('xlm_tf.model')", [("xlm_tf", True)]),
        ("torch = 1", []),
    ],
)
def test_how_files_are_read(source: str, expected: list[tuple[str, bool]]) -> None:
    assert list(imported(source)) == expected


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_named(source: str, known: Collection[str]) -> set[str]:
    """Which of the known modules some code imports, wherever: in functions, for types only."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            inner = [f"{module}.{alias.name}" for alias in node.names]
            names = [name for name in inner if name in known]
            names += [module] * (len(names) < len(inner))
        elif isinstance(node, ast.Call) and called(node) == "import_module":
            names = [str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant)]
        found |= {name for name in names if name in known}
    return found


@functools.cache
def graph_of(package: str) -> dict[str, set[str]]:
    """Each module of a package -> the modules of the package that it imports."""
    sources = {module_of(file): file.read_text(encoding="utf-8") for file in files(package)}
    return {name: modules_named(source, sources) for name, source in sources.items()}


def room_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


# Room -> what of xlm_core its files may import, beside each other. No other room imports
# checkpoints.
ROOMS = {
    "xlm_core.containers": {"xlm_core.errors"},
    "xlm_core.hub": {"xlm_core.errors", "xlm_core.containers", "xlm_core.distribution"},
    "xlm_core.checkpoints": {
        "xlm_core.errors",
        "xlm_core.containers",
        "xlm_core.hub",
        "xlm_core.config",
        "xlm_core.weights",
        "xlm_core.whole_files",
        "xlm_core.loading_arguments",
    },
}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_one_way(room: str) -> None:
    """The containers know bytes and the errors, the hub neither layouts nor checkpoints."""
    wrong = [
        (module, other)
        for module, others in graph_of("xlm_core").items()
        for other in sorted(others)
        if room_of(module) == room and room_of(other) not in ROOMS[room] | {room}
    ]
    assert wrong == []
    assert any(room_of(module) == room for module in graph_of("xlm_core"))


def test_nothing_of_the_core_imports_checkpoints() -> None:
    """They are the top of the files: who wants one is a family, conversion, or a run's start."""
    above = ("xlm_core.checkpoints", "xlm_core.training")
    below = {
        module: others
        for module, others in graph_of("xlm_core").items()
        if room_of(module) not in above
    }
    assert [
        (module, other)
        for module, others in below.items()
        for other in others
        if room_of(other) == "xlm_core.checkpoints"
    ] == []


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules that reach each other."""
    reached: dict[str, set[str]] = {}
    for module in graph:
        pending, seen = [module], set[str]()
        while pending:
            for other in graph[pending.pop()] - seen:
                seen.add(other)
                pending.append(other)
        reached[module] = seen
    return {
        frozenset(other for other in seen if module in reached[other])
        for module, seen in reached.items()
        if module in seen
    }


def test_no_circles() -> None:
    assert circles(graph_of("xlm_core")) == set()


def test_circles_are_seen() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"d", "a"}}
    assert circles(graph) == {frozenset("bc"), frozenset("d")}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import p.a as a", {"p.a"}),
        ("from p import a, name", {"p.a", "p"}),
        ("from p.a import b", {"p.a"}),
        ("def f():\n    from p.a import b", {"p.a"}),
        ("if TYPE_CHECKING:\n    from p import a", {"p.a"}),
        ("importlib.import_module('p.a')", {"p.a"}),
        ("from other import p", set()),
    ],
)
def test_how_modules_are_read(source: str, expected: set[str]) -> None:
    assert modules_named(source, {"p", "p.a"}) == expected


@pytest.mark.parametrize("package", OURS)
def test_types_are_announced(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
