"""No module imports itself through others, and the rooms import one way.

Which modules make a room, and what it may import, is said in tests/support/rooms.py. Imports inside
functions and under TYPE_CHECKING count.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.import_graph import (
    COMPUTED,
    between_rooms,
    circles,
    import_graph,
    modules_of,
    named_imports,
)
from tests.support.import_picture import PICTURE, picture
from tests.support.rooms import FOR_TRANSFORMERS, ROOMS, Room, room_of

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    return import_graph(ROOT)


@pytest.fixture(scope="module")
def edges(graph: dict[str, set[str]]) -> dict[tuple[str, str], set[str]]:
    return between_rooms(graph, {module: room_of(module) for module in graph})


def test_no_module_imports_itself_through_others(graph: dict[str, set[str]]) -> None:
    assert circles(graph) == []


def test_rooms_import_what_they_say(edges: dict[tuple[str, str], set[str]]) -> None:
    allowed = {room.name: set(room.imports) for room in ROOMS}
    assert {
        pair: sorted(found) for pair, found in edges.items() if pair[1] not in allowed[pair[0]]
    } == {}


def test_rooms_say_what_they_import(edges: dict[tuple[str, str], set[str]]) -> None:
    """A permission that neither family uses, or nobody, is not the house."""

    def of_both(pair: tuple[str, str]) -> tuple[str, str]:
        return pair[0].replace("xlm_tf: ", "xlm_torch: "), pair[1].replace(
            "xlm_tf: ", "xlm_torch: "
        )

    said = {of_both((room.name, other)) for room in ROOMS for other in room.imports}
    assert said - {of_both(pair) for pair in edges} == set()


def test_rooms_stand_in_one_order() -> None:
    above: set[str] = set()
    for room in ROOMS:
        assert set(room.imports) <= above, room.name
        assert room.name not in above
        above.add(room.name)


def test_every_room_is_lived_in(graph: dict[str, set[str]]) -> None:
    assert {room_of(module) for module in graph} == {room.name for room in ROOMS}


def test_the_families_have_the_same_rooms() -> None:
    torch, tf = (
        {room.name: (room.modules, set(room.imports)) for room in ROOMS if room.package == package}
        for package in ("xlm_torch", "xlm_tf")
    )
    del torch[FOR_TRANSFORMERS]  # transformers has no TensorFlow any more
    tf["xlm_tf: parts"][1].remove("calls")
    tf["xlm_tf: fast paths"][1].remove("errors")  # where a tape asks for int8's gradients
    assert eval(repr(tf).replace("xlm_tf", "xlm_torch")) == torch


def test_the_picture_is_of_this_house() -> None:
    """Made anew by `make picture`."""
    assert (ROOT / PICTURE).read_text(encoding="utf-8") == picture(ROOT)


# -- the reading itself ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import p.a as x", [("p.a", "")]),
        ("from p import a, b", [("p", "a"), ("p", "b")]),
        ("def f():\n    from p.a import b", [("p.a", "b")]),
        ("if TYPE_CHECKING:\n    from p import a", [("p", "a")]),
        ("try:\n    import p\nexcept ImportError:\n    pass", [("p", "")]),
        ("importlib.import_module('p.a')", [("p.a", "")]),
        ("import_module(name)", [("", "")]),
        ("'''import p'''", []),
    ],
)
def test_every_import_is_read(source: str, expected: list[tuple[str, str]]) -> None:
    assert list(named_imports(source)) == expected


def test_computed_names_are_known() -> None:
    files = modules_of(ROOT)
    computing = {
        module
        for module, file in files.items()
        if ("", "") in named_imports(file.read_text(encoding="utf-8"))
    }
    assert computing == set(COMPUTED)
    for module, targets in COMPUTED.items():
        text = files[module].read_text(encoding="utf-8")
        for target in targets:
            assert f'"{target}"' in text or f'"{target.removeprefix(module + ".")}"' in text


def test_relative_imports_are_refused() -> None:
    with pytest.raises(ValueError, match="line 2: a relative import"):
        list(named_imports("x = 1\nfrom . import a"))


@pytest.fixture
def small_house(tmp_path: Path) -> Path:
    files = {
        "p/__init__.py": "from p.a import f",
        "p/a.py": "def f():\n    from p.inner import b",
        "p/inner/__init__.py": "value = 1",
        "p/inner/b.py": "from p.inner import value\nimport q\nfrom p import c",
        "p/c.py": "import os",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_graph_by_hand(small_house: Path) -> None:
    assert set(modules_of(small_house, ("p",))) == {"p", "p.a", "p.c", "p.inner", "p.inner.b"}
    assert import_graph(small_house, ("p",)) == {
        "p": {"p.a"},
        "p.a": {"p.inner.b"},
        "p.inner": set(),
        "p.inner.b": {"p.inner", "p.c"},
        "p.c": set(),
    }


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("a-b b-c a-c", []),
        ("a-b b-a", ["ab"]),
        ("a-b b-c c-b d-d c-e e-f f-e", ["ef", "bc"]),
        ("a-b b-c c-d d-a", ["abcd"]),
        ("a-b b-c c-a c-d d-c", ["abcd"]),
    ],
)
def test_circles_are_seen(lines: str, expected: list[str]) -> None:
    graph: dict[str, set[str]] = {}
    for line in lines.split():
        source, target = line.split("-")
        graph.setdefault(source, set()).add(target)
        graph.setdefault(target, set())
    assert circles(graph) == [sorted(names) for names in expected]


def test_the_longest_name_decides_the_room(small_house: Path) -> None:
    rooms = (Room("all", ("p",)), Room("inside", ("p.inner",), ("all",)))
    graph = import_graph(small_house, ("p",))
    of = {module: room_of(module, rooms) for module in graph}
    assert of["p.inner.b"] == "inside"
    assert between_rooms(graph, of) == {
        ("all", "inside"): {"p.a -> p.inner.b"},
        ("inside", "all"): {"p.inner.b -> p.c"},
    }
    with pytest.raises(KeyError, match="q is in no room"):
        room_of("q", rooms)
