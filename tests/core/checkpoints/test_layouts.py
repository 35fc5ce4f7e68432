"""Layouts as objects: each knows its own files, and nobody else asks which layout it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.layout_models import make, write_all
from xlm_core import CheckpointError
from xlm_core.checkpoints import LAYOUTS
from xlm_core.checkpoints.layouts import layout_of
from xlm_core.checkpoints.layouts.weights_file import WeightsFile
from xlm_core.checkpoints.writing import write_alone, write_folder
from xlm_core.weights.names import DIALECTS

ROOT = Path(__file__).resolve().parents[3]
# Where a layout or a dialect may be asked for its name: in its own file, where names are derived.
AT_HOME = ("xlm_core/checkpoints/layouts/", "xlm_core/weights/names.py")


def test_every_file_is_recognised(tmp_path: Path) -> None:
    places = write_all(tmp_path, make("XLMWithLMHeadModel", "2 languages"))
    assert {*places} == {*LAYOUTS}
    for name, place in places.items():
        assert layout_of(WeightsFile(place / LAYOUTS[name].file)) is LAYOUTS[name]


@pytest.mark.parametrize("name", LAYOUTS)
def test_what_a_folder_holds(tmp_path: Path, name: str) -> None:
    """The weights and the text files that the layout names, and no others."""
    layout = LAYOUTS[name]
    write_folder(tmp_path, make("XLMWithLMHeadModel", "2 languages"), layout)
    found = {file.name for file in tmp_path.iterdir()}
    assert found == {layout.file} | ({"config.json"} if layout.text_files.config else set())


@pytest.mark.parametrize("name", LAYOUTS)
def test_one_file_or_a_reason(tmp_path: Path, name: str) -> None:
    layout, weights = LAYOUTS[name], make("XLMWithLMHeadModel", "2 languages")
    path = tmp_path / f"model{layout.alone or '.file'}"
    if layout.alone is None:
        with pytest.raises(CheckpointError, match=f"{name} is a folder, not a file"):
            write_alone(path, weights, layout)
        return
    write_alone(path, weights, layout)
    assert layout_of(WeightsFile(path)) is layout


@pytest.mark.parametrize("start", [b"", b"\x00" * 20, b"PK", b"\x89HDF\r\n\x1a\n", b"\x80\x02"])
def test_what_is_no_checkpoint(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "file").write_bytes(start)
    file = WeightsFile(tmp_path / "file")
    with pytest.raises(CheckpointError):
        layout_of(file).read(file)


def branches(source: str) -> list[int]:
    """Lines that compare a layout, or a dialect, with one of the known names."""
    known = {*LAYOUTS, *DIALECTS}
    lines = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        names = {c.value for s in sides for c in ast.walk(s) if isinstance(c, ast.Constant)}
        asked = {ast.unparse(side).rpartition(".")[2] for side in sides}
        if names & known and asked & {"name", "dialect", "layout", "came_from", "went_to"}:
            lines.append(node.lineno)
    return lines


def test_nobody_branches_on_a_layout() -> None:
    files = [*(ROOT / "xlm_core").rglob("*.py"), *(ROOT / "conversion").rglob("*.py")]
    found = {}
    for file in files:
        place = file.relative_to(ROOT).as_posix()
        if not place.startswith((*AT_HOME, "xlm_core/tokenization/")):
            found[place] = branches(file.read_text(encoding="utf-8"))
    assert {place: lines for place, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("if layout.name == 'keras': pass", 1),
        ("repeats = layout.name in ('torch', 'facebook')", 1),
        ("x = dialect != 'tf'", 1),
        ("x = name == 'config.json'", 0),
        ("x = LAYOUTS['keras']", 0),
    ],
)
def test_branches_are_seen(source: str, count: int) -> None:
    assert len(branches(source)) == count
