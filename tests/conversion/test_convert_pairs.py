"""Every pair of layouts that can hold a model: there and back again is bit for bit the same."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.convert import convert, weights_of
from conversion.layouts_page import layouts_page
from tests.support.cases import random_weights
from xlm_core import CheckpointError, XLMConfig
from xlm_core.checkpoints import LAYOUTS, LazyTensor, open_checkpoint, why_not
from xlm_core.checkpoints.writing import Weights, write_folder
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER, tensors_of

ROOT = Path(__file__).resolve().parents[2]
ADAPTIVE = {"asm": True, "asm_cutoffs": [10, 20], "asm_div_value": 2.0}
LANGUAGES: dict[str, dict[str, Any]] = {
    "1 language": {"n_langs": 1},
    "2 languages": {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}},
    "15 languages": {"n_langs": 15},
    "15 languages, no table": {"n_langs": 15, "use_lang_emb": False},
}
OTHERS: dict[str, dict[str, Any]] = {
    "sinusoidal": {"sinusoidal_embeddings": True, "gelu_activation": False},
    "causal": {"causal": True},
    "adaptive": ADAPTIVE,
    "adaptive, sinusoidal": {**ADAPTIVE, "sinusoidal_embeddings": True},
    "untied": {"tie_word_embeddings": False},
    "pruned": {"pruned_heads": {0: [1], 1: [0, 2]}},
    "square": {"vocab_size": 24, "emb_dim": 24, "max_position_embeddings": 24, "n_heads": 2},
}
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


def make(architecture: str, kind: str, dtype: str = "float32") -> Weights:
    """A small model with random tensors."""
    values: dict[str, Any] = {
        "vocab_size": 53,
        "emb_dim": 12,
        "n_layers": 2,
        "n_heads": 4,
        "max_position_embeddings": 19,
        "num_labels": 2,
        "architectures": [architecture],
        "is_encoder": architecture != ENCODER_DECODER,
    }
    config = XLMConfig(**{**values, **{**LANGUAGES, **OTHERS}[kind]})
    arrays = random_weights(config, architecture, np.random.default_rng(3))
    tensors = [
        (spec, LazyTensor.of(arrays[spec.path]).astype(dtype))
        for spec in tensors_of(config, architecture)
        if spec.tied_to is None
    ]
    return Weights(config, architecture, tensors)


def assert_same(weights: Weights, path: Path) -> None:
    """The checkpoint at `path` holds these tensors, bit for bit, and no others."""
    again = weights_of(open_checkpoint(path))
    assert again.architecture == weights.architecture
    assert [spec.path for spec, _ in again.tensors] == [spec.path for spec, _ in weights.tensors]
    for (spec, tensor), (_, other) in zip(weights.tensors, again.tensors, strict=True):
        assert other.dtype == tensor.dtype, spec.path
        assert other.read().tobytes() == tensor.read().tobytes(), spec.path


@pytest.mark.parametrize(("architecture", "kind"), CASES, ids=lambda value: str(value))
def test_there_and_back(tmp_path: Path, architecture: str, kind: str) -> None:
    weights = make(architecture, kind)
    places = {
        name: tmp_path / name
        for name, layout in LAYOUTS.items()
        if why_not(layout, weights.config, architecture) is None
    }
    assert {"safetensors"} < {*places}
    for name, place in places.items():
        place.mkdir()
        write_folder(place, weights, LAYOUTS[name])
        assert_same(weights, place)
    for first, second in itertools.permutations(places, 2):
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
