"""TensorFlow's ways to run generate: eagerly, as graphs, under XLA, exported; and what it keeps."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.tf_fast_paths import count_graphs
from xlm_core import XLMConfig, XLMWarning
from xlm_core.errors import InputError
from xlm_core.generation import GenerationConfig
from xlm_tf import TFXLMForConditionalGeneration, TFXLMWithLMHeadModel, formulas_only, quantize

VOCABULARY = 43
RULES: dict[str, Any] = {
    "repetition_penalty": 1.3,
    "no_repeat_ngram_size": 2,
    "bad_words_ids": [[7], [8, 9]],
    "min_length": 7,
}
DRAWN: dict[str, Any] = {"do_sample": True, "seed": 3, "top_p": 0.9, "num_return_sequences": 2}


def random_model(kind: Any = TFXLMWithLMHeadModel, dtype: str = "float64", **fields: Any) -> Any:
    """A model whose logits differ, with a random output matrix of its own."""
    values: dict[str, Any] = {
        "vocab_size": VOCABULARY, "emb_dim": 12, "n_layers": 2, "n_heads": 3, "n_langs": 3,
        "lang2id": {"de": 0, "en": 1, "fr": 2}, "max_position_embeddings": 100, "init_std": 0.6,
        "embed_init_std": 1.0, "tie_word_embeddings": False, "causal": True,
    }  # fmt: skip
    keras.utils.set_random_seed(7)
    model = kind(XLMConfig(**(values | fields)), dtype=dtype)
    rng = np.random.default_rng(3)
    for variable in model.trainable_variables:
        if variable.path.endswith(("bias", "beta")):
            variable.assign(rng.normal(size=variable.shape) * 0.3)
    return model


@pytest.fixture(scope="module")
def causal() -> Any:
    return random_model(n_layers=1)


def prompts(length: int = 5) -> dict[str, tf.Tensor]:
    """Three prompts, one of them padded on the left and one on the right."""
    rng = np.random.default_rng(4)
    mask = np.ones((3, length), np.int64)
    mask[1, :2] = mask[2, 4:] = 0
    return {
        "input_ids": tf.constant(rng.integers(6, VOCABULARY, (3, length))),
        "attention_mask": tf.constant(mask),
    }


def test_a_call_under_xla_gives_the_same_ids(causal: Any) -> None:
    options = {"tgt_lang": "en", "max_new_tokens": 6, **RULES, **DRAWN}
    expected = causal.generate(**prompts(), **options).numpy()

    def call(input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        return causal.generate(input_ids, attention_mask=attention_mask, **options)

    by_xla = tf.function(call, jit_compile=True, autograph=False)(**prompts()).numpy()
    assert by_xla.shape[1] == 11  # as wide as it might be
    width = expected.shape[1]
    assert np.array_equal(by_xla[:, :width], expected)
    assert (by_xla[:, width:] == 2).all()


def test_samples_of_a_graph_have_a_number_for_every_step(causal: Any) -> None:
    """A row that begins with padding takes more steps than the shape of the prompts says."""
    options = {"tgt_lang": "en", "max_length": 30, "min_length": 30, "do_sample": True, "seed": 3}

    def call(input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        return causal.generate(input_ids, attention_mask=attention_mask, **options)

    found = tf.function(call, autograph=False)(**prompts()).numpy()
    assert np.array_equal(found, causal.generate(**prompts(), **options).numpy())


def test_lengths_of_a_graph_count_no_padding(causal: Any) -> None:
    """Without a length, each row gets 20 tokens, as outside."""
    ids = np.full((2, 90), 2)
    ids[0], ids[1, -4:] = np.random.default_rng(0).integers(6, VOCABULARY, 90), [7, 8, 9, 10]
    given = {"input_ids": tf.constant(ids), "attention_mask": tf.constant(np.int64(ids != 2))}
    options = {"tgt_lang": "en", "eos_token_id": 3}
    expected = causal.generate(**given, **options).numpy()

    def call(input_ids: tf.Tensor, attention_mask: tf.Tensor) -> tf.Tensor:
        return causal.generate(input_ids, attention_mask=attention_mask, **options)

    found = tf.function(call, autograph=False)(**given).numpy()
    assert np.array_equal(found, expected)


def test_a_greedy_decoder_is_served_without_the_package(causal: Any, tmp_path: Path) -> None:
    served = tf.Module()
    served.model = causal

    def serve(input_ids: tf.Tensor, attention_mask: tf.Tensor) -> dict[str, tf.Tensor]:
        ids = causal.generate(
            input_ids, attention_mask=attention_mask, tgt_lang="fr", max_length=11
        )
        return {"sequences": ids}

    signatures = {
        dtype: tf.function(
            serve,
            input_signature=[tf.TensorSpec([None, None], dtype, name=n) for n in prompts()],
            autograph=False,
        )
        for dtype in ("int32", "int64")
    }
    served.functions = signatures
    tf.saved_model.save(served, str(tmp_path), signatures=signatures)
    opened = tf.saved_model.load(str(tmp_path)).signatures
    answers = {}
    for dtype, rows in itertools.product(signatures, (3, 2)):
        given = {name: x[:rows] for name, x in prompts().items()}
        cast = {name: tf.cast(x, dtype) for name, x in given.items()}
        ids = opened[dtype](**cast)["sequences"].numpy()
        expected = causal.generate(**given, tgt_lang="fr", max_length=11)
        assert np.array_equal(ids, expected.numpy())
        answers[f"{dtype} {rows}"] = ids.tolist()
    if os.environ.get("XLM_FULL") == "1":
        inputs = {name: x.numpy().tolist() for name, x in prompts().items()}
        command = [sys.executable, "-c", _SERVES, str(tmp_path), json.dumps(inputs)]
        found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
        assert json.loads(found.stdout) == answers


# Another process, which knows TensorFlow and not this library.
_SERVES = """
import json, sys
import tensorflow as tf

signatures = tf.saved_model.load(sys.argv[1]).signatures
answers = {}
for dtype in ("int32", "int64"):
    for rows in (3, 2):
        given = {n: tf.constant(x[:rows], dtype) for n, x in json.loads(sys.argv[2]).items()}
        answers[f"{dtype} {rows}"] = signatures[dtype](**given)["sequences"].numpy().tolist()
assert not any(name.startswith("xlm_") for name in sys.modules)
print(json.dumps(answers))
"""


def test_a_narrow_model_gets_a_graph_when_it_generates_much() -> None:
    model, options = random_model(n_layers=1), {"tgt_lang": 0, "eos_token_id": None}
    calls = [model.generate(**prompts(), **options, max_new_tokens=30).numpy()]
    assert not count_graphs(model)
    calls += [model.generate(**prompts(), **options, max_new_tokens=n).numpy() for n in (30, 20)]
    assert count_graphs(model) == 1
    assert np.array_equal(calls[1], calls[0])
    assert np.array_equal(calls[2], calls[0][:, :25])


def test_graphs_give_what_the_formulas_give_without_a_cache() -> None:
    model = random_model(emb_dim=128, n_heads=4, n_layers=1, init_std=0.1)
    given = prompts(62)  # more than a block of the cache after two tokens
    options: dict[str, Any] = {"tgt_lang": 1, "max_new_tokens": 4, "eos_token_id": None}
    for way in (RULES, {"num_beams": 2, "num_return_sequences": 2}):
        ids = model.generate(**given, **options, **way)
        with formulas_only():
            expected = model.generate(**given, **options, **way)
        assert np.array_equal(ids.numpy(), expected.numpy())


@pytest.mark.parametrize("kind", [TFXLMWithLMHeadModel, TFXLMForConditionalGeneration])
def test_scores_with_a_cache_are_those_without(kind: Any) -> None:
    translates = kind is TFXLMForConditionalGeneration
    model = random_model(kind, causal=not translates, n_layers=1)
    options: dict[str, Any] = {
        "src_lang": 2, "tgt_lang": [0, 1, 0], "max_new_tokens": 3, "output_scores": True,
        "return_dict_in_generate": True, "eos_token_id": None,
    }  # fmt: skip
    for beams in ({}, {"num_beams": 2}):
        found = model.generate(**prompts(), **options, **beams)
        with formulas_only():
            expected = model.generate(**prompts(), **options, **beams)
        assert np.array_equal(found.sequences.numpy(), expected.sequences.numpy())
        assert len(found.scores) == 3
        for step, other in zip(found.scores, expected.scores, strict=True):
            largest = np.abs(other.numpy()).max()
            assert np.abs(step.numpy() - other.numpy()).max() <= 1e-12 * largest


def test_stopping_criteria_and_streamers_see_every_step(causal: Any) -> None:
    seen: list[np.ndarray[Any, Any]] = []

    class Streamer:
        ended = False

        def put(self, ids: tf.Tensor) -> None:
            seen.append(ids.numpy())

        def end(self) -> None:
            self.ended = True

    def after_three(ids: tf.Tensor, scores: Any) -> Any:
        return tf.fill(ids.shape[:1], ids.shape[1] >= 8)

    streamer = Streamer()
    options = {"tgt_lang": 0, "max_new_tokens": 6, "eos_token_id": None}
    ids = causal.generate(
        **prompts(), **options, streamer=streamer, stopping_criteria=[after_three]
    ).numpy()
    whole = causal.generate(**prompts(), **options).numpy()
    assert np.array_equal(ids, whole[:, :8])
    assert streamer.ended
    assert np.array_equal(seen[0], ids[:, :5])
    assert np.array_equal(np.stack(seen[1:], axis=1), ids[:, 5:])
    beams = {**options, "num_beams": 2, "stopping_criteria": after_three}
    assert causal.generate(**prompts(), **beams).shape[1] == 8


def test_half_precision_and_int8_generate() -> None:
    half = random_model(dtype="mixed_bfloat16", n_layers=1)
    options: dict[str, Any] = {"tgt_lang": 0, "max_new_tokens": 3, "eos_token_id": None}
    for beams in ({}, {"num_beams": 2}):
        assert half.generate(**prompts(), **options, **beams).shape == (3, 8)
    small = quantize(random_model(dtype="float32", n_layers=1))
    assert small.generate(**prompts(), **options).shape == (3, 8)


def test_a_generation_configuration_is_kept(causal: Any, tmp_path: Path) -> None:
    config = GenerationConfig(max_new_tokens=3, num_beams=2)
    model = type(causal).from_config(causal.get_config())
    model.generation_config = config
    model.save(tmp_path / "model.keras")
    opened = keras.saving.load_model(tmp_path / "model.keras")
    assert opened.generation_config == config
    assert type(causal).from_config(causal.get_config()).generation_config == GenerationConfig()
    model.save_pretrained(tmp_path / "folder")
    again = type(causal).from_pretrained(tmp_path / "folder")
    assert again.generation_config == config
    assert again.generate(**prompts(), tgt_lang=0).shape[1] <= 8


def test_no_tape_keeps_the_steps(causal: Any) -> None:
    with tf.GradientTape() as tape:
        causal.generate(**prompts(), tgt_lang=0, max_new_tokens=2)
    assert tape.watched_variables() == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 2}, "call it outside"),
        ({"output_scores": True}, "call it outside"),
        ({"do_sample": True}, "known batch size"),
    ],
)
def test_what_a_graph_cannot_do_is_refused(causal: Any, options: Any, said: str) -> None:
    specs = [tf.TensorSpec([None, None], tf.int64)]

    def call(input_ids: tf.Tensor) -> tf.Tensor:
        return causal.generate(input_ids, tgt_lang=0, max_new_tokens=2, **options)

    with pytest.raises(InputError, match=re.escape(said)):
        tf.function(call, input_signature=specs, autograph=False).get_concrete_function()


def test_samples_of_a_graph_that_are_the_same_in_every_call_are_warned_of(causal: Any) -> None:
    call = tf.function(causal.generate, autograph=False)
    with pytest.warns(XLMWarning, match="without seed=.*the same samples"):
        call(tf.constant([[7, 8]]), tgt_lang=0, max_new_tokens=2, do_sample=True)


def test_a_sentence_of_padding_is_refused(causal: Any) -> None:
    with pytest.raises(InputError, match="nothing but padding for sentence 1"):
        causal.generate(tf.constant([[7, 8], [2, 2]]), tgt_lang=0)
