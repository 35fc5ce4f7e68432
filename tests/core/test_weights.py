"""The weight table against transformers' PyTorch classes: the same names, the same shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers

from tests.conftest import make_config
from tests.support.cases import random_config
from xlm_core import XLMConfig
from xlm_core.weights import ARCHITECTURES, name_of, tensors_of

HEADS = list(ARCHITECTURES)


def table(
    config: XLMConfig, architecture: str, dialect: Any = "torch"
) -> dict[str, tuple[int, ...]]:
    """Name -> shape in PyTorch's orientation, without the tensors that have no name there."""
    return {
        name: spec.shape
        for spec in tensors_of(config, architecture)
        if (name := name_of(spec, dialect, architecture)) is not None
    }


def torch_reference(values: dict[str, Any], architecture: str) -> dict[str, tuple[int, ...]]:
    given = {name: value for name, value in values.items() if value is not None}
    model = getattr(transformers, architecture)(transformers.XLMConfig(**given))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("seed", range(12))
def test_torch_names_and_shapes(seed: int, architecture: str) -> None:
    """Random sizes, languages, adaptive softmax, pruned heads, summary options."""
    rng = np.random.default_rng([seed, HEADS.index(architecture)])
    values = random_config(rng, architecture, 8)
    values |= {"summary_use_proj": bool(rng.random() < 0.7)}
    values |= {"summary_proj_to_labels": bool(rng.random() < 0.7)}
    if architecture == "XLMForMultipleChoice":
        values |= {"summary_use_proj": True, "summary_proj_to_labels": True}
        # transformers' choice head reads num_labels, and so does the table.
    ours = table(XLMConfig(**values), architecture)
    theirs = torch_reference(values, architecture)
    assert ours == theirs
    assert list(ours) == list(theirs)


@pytest.mark.parametrize("architecture", HEADS)
@pytest.mark.parametrize("n_langs", [1, 2, 15])
@pytest.mark.parametrize("use_lang_emb", [True, False])
def test_language_table(architecture: str, n_langs: int, use_lang_emb: bool) -> None:
    values = dict(vocab_size=41, emb_dim=12, n_heads=3, n_layers=1, max_position_embeddings=9)
    values |= {"n_langs": n_langs, "use_lang_emb": use_lang_emb, "num_labels": 2}
    ours = table(XLMConfig(**values), architecture)
    assert ours == torch_reference(values, architecture)
    assert any("lang" in name for name in ours) is (n_langs > 1 and use_lang_emb)


@pytest.mark.parametrize("cutoffs", [[5], [5, 30], [5, 20, 52]])
@pytest.mark.parametrize("div_value", [1.0, 2.0, 1.5])
def test_adaptive_softmax(cutoffs: list[int], div_value: float) -> None:
    values = dict(vocab_size=53, emb_dim=24, n_heads=3, n_layers=1, max_position_embeddings=9)
    values |= {"asm": True, "asm_cutoffs": cutoffs, "asm_div_value": div_value}
    values |= {"tie_word_embeddings": False}
    ours = table(XLMConfig(**values), "XLMWithLMHeadModel")
    assert ours == torch_reference(values, "XLMWithLMHeadModel")
    assert len([name for name in ours if ".tail." in name]) == 2 * len(cutoffs)


@pytest.mark.parametrize("architecture", HEADS)
def test_pruned_heads(architecture: str) -> None:
    """What transformers' `prune_heads` leaves, and what its constructor makes."""
    pruned = {0: [0, 2], 2: [1]}
    values = dict(vocab_size=41, emb_dim=20, n_heads=4, n_layers=3, max_position_embeddings=9)
    config = XLMConfig(**values, pruned_heads=pruned)
    model = getattr(transformers, architecture)(transformers.XLMConfig(**values))
    model.prune_heads(pruned)
    ours = table(config, architecture)
    assert ours == {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == torch_reference({**values, "pruned_heads": pruned}, architecture)
    prefix = "" if architecture == "XLMModel" else "transformer."
    assert ours[f"{prefix}attentions.0.q_lin.weight"] == (10, 20)
    assert ours[f"{prefix}attentions.2.out_lin.weight"] == (20, 15)


def test_what_is_tied_and_what_is_trained() -> None:
    def flags(**values: Any) -> tuple[dict[str, str | None], list[str]]:
        specs = tensors_of(make_config(**values), "XLMWithLMHeadModel")
        tied = {spec.path: spec.tied_to for spec in specs if spec.tied_to is not None}
        return tied, [spec.path for spec in specs if not spec.trainable]

    assert flags() == ({"pred_layer.proj.weight": "embeddings.weight"}, [])
    assert flags(tie_word_embeddings=False, sinusoidal_embeddings=True) == (
        {},
        ["position_embeddings.weight"],
    )
    assert flags(asm=True, asm_cutoffs=[20], asm_div_value=2)[0] == {}
