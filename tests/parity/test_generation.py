"""Both families generate the same ids."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_tf
import xlm_torch
from tests.support.cases import random_weights
from tests.support.parity import as_array, assert_close_to_largest
from tests.support.tf_internals import set_tensor
from xlm_core import XLMConfig
from xlm_core.weights import ENCODER_DECODER, name_of, tensors_of

FULL = os.environ.get("XLM_FULL") == "1"
MODELS = 200 if FULL else 20
VOCABULARY = 41
KINDS = ("causal", "translation", "masked")
# In turn for each model; in the full tests greedy search for all.
WAYS: list[dict[str, Any]] = [
    {},
    {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.8},
    {"num_beams": 3, "beam_scoring": "transformers", "early_stopping": True},
    {"do_sample": True, "seed": 5, "num_return_sequences": 3, "top_k": 12, "temperature": 1.3},
    {"num_beams": 4, "num_return_sequences": 4, "repetition_penalty": 1.4, "min_length": 4},
    {"do_sample": True, "seed": 6, "top_k": 0, "top_p": 0.8, "repetition_penalty": 1.2},
    {
        "num_beams": 2,
        "beam_scoring": "transformers",
        "early_stopping": "never",
        "length_penalty": 2.0,
    },
    {"no_repeat_ngram_size": 2, "bad_words_ids": [[7], [8, 9], [30, 31, 32]], "min_length": 4},
    {"num_beams": 5, "early_stopping": True, "no_repeat_ngram_size": 1},
]


def pair(kind: str, seed: int, dtype: str = "float64") -> tuple[Any, Any]:
    """PyTorch's model and TensorFlow's with the same random weights."""
    rng = np.random.default_rng(seed)
    architecture = ENCODER_DECODER if kind == "translation" else "XLMWithLMHeadModel"
    n_heads = int(rng.integers(1, 4))
    config = XLMConfig(
        vocab_size=VOCABULARY,
        emb_dim=n_heads * int(rng.integers(4, 7)),
        n_heads=n_heads,
        n_layers=int(rng.integers(1, 3)),
        n_langs=int(rng.integers(1, 4)),
        max_position_embeddings=30,
        causal=kind == "causal",
        tie_word_embeddings=False,
        asm=kind == "causal" and seed % 5 == 0,
        asm_cutoffs=[11, 23],
        asm_div_value=2.0,
        gelu_activation=bool(rng.integers(2)),
        sinusoidal_embeddings=bool(rng.integers(2)),
        is_encoder=kind != "translation",
        is_encoder_decoder=kind == "translation",
        mask_token_id=5,
    )
    in_torch = xlm_torch.MODEL_CLASSES[architecture](config.copy()).eval()
    in_torch = in_torch.to(getattr(torch, dtype))
    in_tf = xlm_tf.MODEL_CLASSES[architecture](config.copy(), dtype=dtype, initialize=False)
    weights = random_weights(in_torch.config, architecture, rng)
    state = {
        str(name_of(spec, "torch", architecture)): torch.from_numpy(weights[spec.path])
        for spec in tensors_of(in_torch.config, architecture)
    }
    in_torch.load_state_dict(state, strict=True)
    for spec in in_tf.tensor_specs():
        set_tensor(in_tf, spec, weights[spec.path])
    return in_torch, in_tf


def inputs(kind: str, config: XLMConfig, seed: int) -> dict[str, Any]:
    """Arguments of generate: ids with padding on one side, and languages."""
    rng = np.random.default_rng([seed, 7])
    ids = rng.integers(6, VOCABULARY, (3, 5))
    mask = np.ones_like(ids)
    if kind != "masked":
        padded = slice(0, 2) if seed % 2 else slice(3, 5)
        mask[1, padded] = 0
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
    if kind == "translation" and config.has_lang_embeddings:
        given["src_lang"], given["tgt_lang"] = 0, [1, 0, 1]
    elif config.has_lang_embeddings:
        given["langs"] = rng.integers(0, config.n_langs, ids.shape)
    return given


@pytest.mark.filterwarnings("ignore::xlm_core.XLMWarning")
def test_the_same_ids() -> None:
    alike = 0
    for seed in range(MODELS):
        kind = KINDS[seed % len(KINDS)]
        in_torch, in_tf = pair(kind, seed)
        given = inputs(kind, in_torch.config, seed)
        ways = [WAYS[seed % len(WAYS)], *([{}] if FULL else [])]
        for way in ways:
            way = {"max_new_tokens": 4, "eos_token_id": 1, **way}
            expected = in_torch.generate(**_as(torch.tensor, given), **way).numpy()
            found = in_tf.generate(**_as(tf.constant, given), **way).numpy()
            assert np.array_equal(found, expected), (seed, kind, way, found, expected)
            alike += len({tuple(row) for row in expected[:, -3:]})
    assert alike > 2 * MODELS  # sequences differ from each other


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("kind", ["causal", "translation"])
def test_logits_of_steps_are_those_of_one_pass(kind: str, dtype: str, bound: float) -> None:
    """Every token by the cache, and all at once without."""
    new = 12
    for model, tensor in zip(pair(kind, 7, dtype), (torch.tensor, tf.constant), strict=True):
        given = _as(tensor, inputs(kind, model.config, 7))  # padded on the left
        options = {"max_new_tokens": new, "eos_token_id": None, "output_scores": True}
        found = model.generate(**given, **options, return_dict_in_generate=True)
        steps = np.stack([as_array(step) for step in found.scores], axis=1)
        sequences = found.sequences
        if kind == "causal":
            langs = as_array(given["langs"])
            langs = np.concatenate((langs, langs[:, -1:].repeat(new, axis=1)), axis=1)
            mask = np.pad(as_array(given["attention_mask"]), ((0, 0), (0, new)), constant_values=1)
            positions = (mask.cumsum(axis=1) - 1).clip(min=0)
            whole = model(
                sequences, attention_mask=tensor(mask), langs=tensor(langs),
                position_ids=tensor(positions),
            )  # fmt: skip
        else:
            target = np.array(given["tgt_lang"])[:, None].repeat(new + 1, axis=1)
            whole = model(
                given["input_ids"], given["attention_mask"], given["input_ids"] * 0,
                decoder_input_ids=sequences, decoder_langs=tensor(target),
            )  # fmt: skip
        expected = as_array(whole.logits)[:, -new - 1 : -1]
        assert steps.dtype == expected.dtype == dtype
        assert_close_to_largest(steps, expected, bound)


def _as(tensor: Any, given: dict[str, Any]) -> dict[str, Any]:
    return {name: tensor(x) if isinstance(x, np.ndarray) else x for name, x in given.items()}
