"""Which module imports which, read from the text of the packages; nothing is loaded.

Every import counts: at the top of a file, inside functions, under TYPE_CHECKING, and by
`importlib.import_module`: of a literal name, or of a computed one that `COMPUTED` lists.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

PACKAGES = ("xlm_core", "xlm_torch", "xlm_tf", "conversion")
Graph = dict[str, set[str]]

# Module that calls `import_module` with a computed name -> what of ours may come of it.
COMPUTED = {
    "conversion": {
        "conversion.inspection",
        "conversion.reports.inspection",
        "conversion.reports.outputs",
        "conversion.reports.pair",
        "conversion.reports.verification",
        "conversion.verification",
    },
    "conversion.opening.families": {"xlm_torch", "xlm_tf"},
}


def modules_of(root: Path, packages: Iterable[str] = PACKAGES) -> dict[str, Path]:
    """Name of each module -> its file; a package is the module of its `__init__`."""
    found = {}
    for package in packages:
        for file in sorted((root / package).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def named_imports(source: str) -> Iterator[tuple[str, str]]:
    """(module, name taken from it or "") of every import; ("", "") for a computed name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"line {node.lineno}: a relative import")
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) == "import_module":
            name = node.args[0]
            yield (name.value if isinstance(name, ast.Constant) else "", "")


def called(node: ast.Call) -> str:
    """The last name of what is called."""
    return str(getattr(node.func, "attr", getattr(node.func, "id", "")))


def import_graph(root: Path, packages: Iterable[str] = PACKAGES) -> Graph:
    """Module -> the modules of these packages that it imports.

    `from package import name` is an import of `package.name` where that is a module, else of the
    package. That Python runs the `__init__` of every package above a module does not count.
    """
    modules = modules_of(root, packages)
    graph: Graph = {}
    for module, file in modules.items():
        targets = set()
        for source, name in named_imports(file.read_text(encoding="utf-8")):
            target = f"{source}.{name}" if f"{source}.{name}" in modules else source
            if not source:
                targets |= COMPUTED.get(module, set())
            elif target in modules and target != module:
                targets.add(target)
        graph[module] = targets
    return graph


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Sets of nodes that reach each other, each in the order of its names.

    Tarjan's algorithm, without recursion.
    """
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    found = []
    for start in sorted(graph):
        if start in index:
            continue
        index[start] = lowest[start] = len(index)
        waiting.append(start)
        path = [(start, iter(sorted(graph.get(start, ()))))]
        while path:
            node, targets = path[-1]
            for target in targets:
                if target not in index:
                    index[target] = lowest[target] = len(index)
                    waiting.append(target)
                    path.append((target, iter(sorted(graph.get(target, ())))))
                    break
                if target in waiting:
                    lowest[node] = min(lowest[node], index[target])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    lowest[above] = min(lowest[above], lowest[node])
                if lowest[node] == index[node]:
                    place = waiting.index(node)
                    if len(waiting) - place > 1:
                        found.append(sorted(waiting[place:]))
                    del waiting[place:]
    return found


def between_rooms(graph: Graph, room_of: Mapping[str, str]) -> dict[tuple[str, str], set[str]]:
    """(room, room it imports) -> the imports, as "module -> module"; those of one room left out."""
    edges: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module, targets in graph.items():
        for target in targets:
            if room_of[module] != room_of[target]:
                edges[room_of[module], room_of[target]].add(f"{module} -> {target}")
    return dict(edges)
