"""The layout that CONTRIBUTING adds as an example works as it is written there."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.convert import convert
from tests.support.layout_models import assert_same, make, write_all
from xlm_core import CheckpointError
from xlm_core.checkpoints import LAYOUTS, open_checkpoint
from xlm_core.checkpoints.writing import write_folder

CONTRIBUTING = Path(__file__).resolve().parents[3] / "CONTRIBUTING.md"


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the layout, registered as the text says."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    section = text[text.index("## Adding a layout") :]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    file = tmp_path / "example.py"
    file.write_text(found[1], encoding="utf-8")
    spec = importlib.util.spec_from_file_location("example", file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    layout = module.NpzLayout()
    assert f"`{type(layout).__name__}(),`" in section
    monkeypatch.setitem(LAYOUTS, layout.name, layout)
    # Made of `LAYOUTS` when it is imported.
    monkeypatch.setattr("xlm_core.checkpoints.opening.WEIGHT_FILES", (layout.file,))
    return str(layout.name)


def test_there_and_back(example: str, tmp_path: Path) -> None:
    weights = make("XLMWithLMHeadModel", "2 languages")
    places = write_all(tmp_path / "all", weights)
    assert example in places
    for name, place in places.items():
        source = place / LAYOUTS[name].file
        if name not in ("facebook", "keras"):
            convert(source, tmp_path / name, to=example)
            assert open_checkpoint(tmp_path / name).layout == example
            assert_same(weights, tmp_path / name)


def test_numpy_opens_it(example: str, tmp_path: Path) -> None:
    weights = make("XLMModel", "2 languages")
    write_folder(tmp_path, weights, LAYOUTS[example])
    with np.load(tmp_path / LAYOUTS[example].file) as arrays:
        assert {*arrays} == {spec.path for spec, _ in weights.tensors}
        for spec, tensor in weights.tensors:
            assert np.array_equal(arrays[spec.path], tensor.read())


def test_it_says_why_not(example: str, tmp_path: Path) -> None:
    write_folder(tmp_path, make("XLMModel", "2 languages", "bfloat16"), LAYOUTS["safetensors"])
    with pytest.raises(CheckpointError, match="it has no bfloat16"):
        convert(tmp_path / "model.safetensors", tmp_path / "target", to=example)
