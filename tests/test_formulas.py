"""The formulas stand by themselves: what their files may take from the fast paths is listed.

Read as text, so that neither framework is imported.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("xlm_torch", "xlm_tf")

# Formula file -> what it may take from `fast`. The model asks one question, and looks words up in
# a matrix that it may share with its head.
MAY_TAKE: dict[str, set[str]] = {
    "attention": set(),
    "feed_forward": set(),
    "model": {"fast.embedding.embedding", "fast.path.fast_path"},
}
ONLY_TF = {"model": {"fast.graphs.compiled"}}  # an eager call of TensorFlow runs as a graph


def taken_from_fast(family: str, file: str) -> set[str]:
    """`fast.module.name` of everything that a file imports from there, wherever it does."""
    tree = ast.parse((ROOT / family / f"{file}.py").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    prefix = f"{family}.fast"
    return {
        name.removeprefix(f"{family}.")
        for name in names
        if name == prefix or name.startswith(f"{prefix}.")
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("file", MAY_TAKE)
def test_what_formulas_take_from_fast(family: str, file: str) -> None:
    more = ONLY_TF.get(file, set()) if family == "xlm_tf" else set()
    assert taken_from_fast(family, file) == MAY_TAKE[file] | more


@pytest.mark.parametrize("family", FAMILIES)
def test_no_context_variable_holds_a_tensor(family: str) -> None:
    """Requests travel as arguments: context variables are switches, with True or False."""
    found = {}
    for path in sorted((ROOT / family).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.AnnAssign) and "ContextVar" in ast.unparse(node.annotation):
                found[ast.unparse(node.target)] = ast.unparse(node.annotation)
            elif isinstance(node, ast.Assign) and "ContextVar(" in ast.unparse(node.value):
                pytest.fail(f"{path.name}: a ContextVar without a type")
    assert found
    assert set(found.values()) == {"ContextVar[bool]"}, found
