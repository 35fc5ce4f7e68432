"""Every pair of layouts that can hold a model: there and back again is bit for bit the same."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from conversion.convert import convert
from conversion.layouts_page import layouts_page
from tests.conftest import FULL
from tests.support.layout_models import LANGUAGES, OTHERS, assert_same, make, write_all
from xlm_core import CheckpointError
from xlm_core.checkpoints import LAYOUTS, open_checkpoint, why_not
from xlm_core.checkpoints.writing import write_folder
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER

ROOT = Path(__file__).resolve().parents[3]
CASES = [
    *itertools.product(("XLMModel", "XLMWithLMHeadModel"), {**LANGUAGES, **OTHERS}),
    *itertools.product(
        [name for name in ARCHITECTURES if name not in ("XLMModel", "XLMWithLMHeadModel")],
        ("1 language", "15 languages", "sinusoidal", "pruned"),
    ),
    *itertools.product(
        [ENCODER_DECODER],
        [*LANGUAGES, "sinusoidal", "adaptive", "untied", "causal", "square"],
    ),
]
DTYPES = ("float64", "float32", "float16", "bfloat16")


@pytest.mark.parametrize(("architecture", "kind"), CASES, ids=lambda value: str(value))
def test_there_and_back(tmp_path: Path, architecture: str, kind: str) -> None:
    weights = make(architecture, kind)
    places = write_all(tmp_path, weights)
    assert {"safetensors"} < {*places}
    for place in places.values():
        assert_same(weights, place)
    # There and back are both ways of a pair; the long tests start from its other end as well.
    pairs = itertools.permutations if FULL else itertools.combinations
    for first, second in pairs(places, 2):
        there, back = tmp_path / "there", tmp_path / "back"
        convert(places[first], there, to=second, overwrite=True)
        convert(there, back, to=first, overwrite=True)
        assert open_checkpoint(there).layout == second
        assert open_checkpoint(back).layout == first
        assert_same(weights, back)


@pytest.mark.parametrize(("architecture", "kind"), CASES, ids=lambda value: str(value))
def test_every_other_pair_is_refused_with_its_reason(
    tmp_path: Path, architecture: str, kind: str
) -> None:
    weights = make(architecture, kind)
    source = tmp_path / "source"
    source.mkdir()
    write_folder(source, weights, LAYOUTS["safetensors"])
    for name, layout in LAYOUTS.items():
        reason = why_not(layout, weights.config, architecture)
        if reason is not None:
            with pytest.raises(CheckpointError) as caught:
                convert(source, tmp_path / "target", to=name)
            assert reason in str(caught.value)
            assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_stays_half(tmp_path: Path, dtype: str) -> None:
    weights = make("XLMWithLMHeadModel", "2 languages", dtype)
    source = tmp_path / "source"
    source.mkdir()
    write_folder(source, weights, LAYOUTS["safetensors"])
    for name, layout in LAYOUTS.items():
        target = tmp_path / name
        if dtype not in layout.dtypes:
            with pytest.raises(CheckpointError, match=f"it has no {dtype}"):
                convert(source, target, to=name)
            convert(source, target, to=name, dtype="float32")
            continue
        convert(source, target, to=name)
        convert(target, tmp_path / "back", to="safetensors", overwrite=True)
        assert_same(weights, tmp_path / "back")
        assert open_checkpoint(target).config.dtype == dtype


@pytest.mark.parametrize("name", [name for name, layout in LAYOUTS.items() if layout.sharded])
@pytest.mark.parametrize("architecture", ["XLMModel", "XLMWithLMHeadModel"])
def test_several_files(tmp_path: Path, name: str, architecture: str) -> None:
    weights = make(architecture, "15 languages")
    source, target, index = tmp_path / "source", tmp_path / "target", LAYOUTS[name].index
    source.mkdir()
    write_folder(source, weights, LAYOUTS["safetensors"])
    summary = convert(source, target, to=name, largest="4KB")
    assert index in summary.files
    assert len(summary.files) > 4
    assert_same(weights, target)
    assert_same(weights, target / index)


@pytest.mark.parametrize(("name", "file"), [("facebook", "a.pth"), ("keras", "a.keras")])
def test_one_file(tmp_path: Path, name: str, file: str) -> None:
    weights = make("XLMWithLMHeadModel", "2 languages")
    source = tmp_path / "source"
    source.mkdir()
    write_folder(source, weights, LAYOUTS["safetensors"])
    convert(source, tmp_path / file, to=name)
    assert_same(weights, tmp_path / file)
    (tmp_path / "renamed").mkdir()
    (tmp_path / file).rename(tmp_path / "renamed" / file)
    assert_same(weights, tmp_path / "renamed")  # a folder with nothing else in it
    config = open_checkpoint(tmp_path / "renamed").config
    assert config.lang2id == {"en": 0, "fr": 1}


def test_the_page_is_generated() -> None:
    assert (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8") == layouts_page()
