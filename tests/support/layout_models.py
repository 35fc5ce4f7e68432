"""Small models in every layout that can hold them, written without any framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from conversion.convert import weights_of
from tests.support.cases import random_weights
from xlm_core import XLMConfig
from xlm_core.checkpoints import LAYOUTS, LazyTensor, open_checkpoint, why_not
from xlm_core.checkpoints.writing import Weights, write_folder
from xlm_core.weights import ENCODER_DECODER, tensors_of

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


def make(architecture: str, kind: str, dtype: str = "float32", **fields: Any) -> Weights:
    """A small model with random tensors; `fields` of its configuration."""
    values: dict[str, Any] = {
        "vocab_size": 53,
        "emb_dim": 12,
        "n_layers": 2,
        "n_heads": 4,
        "max_position_embeddings": 19,
        "num_labels": 2,
        "architectures": [architecture],
        "is_encoder": architecture != ENCODER_DECODER,
        "is_encoder_decoder": architecture == ENCODER_DECODER,
    }
    config = XLMConfig(**{**values, **{**LANGUAGES, **OTHERS}[kind], **fields})
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


def write_all(folder: Path, weights: Weights) -> dict[str, Path]:
    """Write a model in each layout that can hold it: name of the layout -> its folder."""
    places = {}
    for name, layout in LAYOUTS.items():
        if why_not(layout, weights.config, weights.architecture) is None:
            places[name] = folder / name
            places[name].mkdir(parents=True)
            write_folder(places[name], weights, layout)
    return places
