"""The checks of translations can fail: what a decoder may get wrong changes what they compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.tf.generation.test_tf_generation import prompts, random_model
from xlm_tf import TFXLMForConditionalGeneration
from xlm_tf import model as model_module
from xlm_tf.generation import decoding, steps
from xlm_tf.generation import prompts as prompts_module

OPTIONS: dict[str, Any] = {
    "src_lang": 2, "tgt_lang": [0, 1, 0], "max_new_tokens": 4, "num_beams": 3,
    "num_return_sequences": 3, "eos_token_id": None, "return_dict_in_generate": True,
}  # fmt: skip
Patch = pytest.MonkeyPatch


def source_padding_is_seen(patch: Patch, translator: Any) -> None:
    source = model_module.Source
    patch.setattr(
        model_module, "Source", lambda hidden, tokens: source(hidden, tf.ones_like(tokens))
    )


def without_attention_to_the_source(patch: Patch, translator: Any) -> None:
    for attention in translator.decoder.encoder_attn:
        kernel = attention.out_lin.kernel
        patch.setattr(kernel, "_value", tf.Variable(0 * kernel.numpy()))


def beams_stay_where_they_are(patch: Patch, translator: Any) -> None:
    select = decoding.select

    def only_sentences(state: Any, rows: tf.Tensor, *, sentences: bool = True) -> Any:
        kept = select(state, rows, sentences=sentences)
        return kept | ({} if sentences else {n: x for n, x in state.items() if "key." in n})

    patch.setattr(steps, "select", only_sentences)


def positions_stand_still(patch: Patch, translator: Any) -> None:
    following = decoding.CachedDecoding.next

    def stands(self: Any, ids: tf.Tensor, state: Any) -> Any:
        logits, after = following(self, ids, state)
        return logits, after | {"positions": state["positions"]}

    patch.setattr(decoding.CachedDecoding, "next", stands)


def new_tokens_are_hidden(patch: Patch, translator: Any) -> None:
    following = decoding.CachedDecoding.next

    def hides(self: Any, ids: tf.Tensor, state: Any) -> Any:
        logits, after = following(self, ids, state)
        return logits, after | {"tokens": state["tokens"]}

    patch.setattr(decoding.CachedDecoding, "next", hides)


def in_the_language_of_the_sources(patch: Patch, translator: Any) -> None:
    patch.setattr(
        prompts_module, "_target_language", lambda config, given, sentences: np.full(sentences, 2)
    )


def the_first_sentences_language_for_all(patch: Patch, translator: Any) -> None:
    found = prompts_module._target_language
    patch.setattr(prompts_module, "_target_language", lambda *given: np.full_like(found(*given), 0))


MUTATIONS = [
    source_padding_is_seen, without_attention_to_the_source, beams_stay_where_they_are,
    positions_stand_still, new_tokens_are_hidden, in_the_language_of_the_sources,
    the_first_sentences_language_for_all,
]  # fmt: skip


@pytest.fixture(scope="module")
def translator() -> Any:
    return random_model(TFXLMForConditionalGeneration, causal=False, n_layers=2)


@pytest.fixture(scope="module")
def expected(translator: Any) -> Any:
    return translator.generate(**prompts(), **OPTIONS)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_is_seen(
    translator: Any, expected: Any, mutation: Callable[..., None], monkeypatch: Patch
) -> None:
    def differs() -> float:
        found = translator.generate(**prompts(), **OPTIONS)
        scores = np.abs((found.sequences_scores - expected.sequences_scores).numpy())
        return float(scores.max())

    # Not 0: a narrow model goes over to graphs, once it has generated so much.
    assert differs() < 1e-12
    with monkeypatch.context() as patch:
        mutation(patch, translator)
        assert differs() > 1e-6  # parity is held to 1e-12
    assert differs() < 1e-12
