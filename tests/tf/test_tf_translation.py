"""`TFXLMForConditionalGeneration`: the original's outputs, calls, training, files, bad input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import xlm_tf
from tests.support.golden import MT_CASES
from tests.support.parity import as_array, assert_all_close, assert_close_to_largest, assert_equal
from tests.support.tf_models import as_tf
from tests.support.translation import assert_golden, golden_batch, small_batch, small_config
from xlm_core import ConfigError, InputError, UnknownArgumentError, XLMWarning
from xlm_core.errors import CheckpointError
from xlm_tf import (
    KeyValueCache,
    TFXLMForConditionalGeneration,
    TFXLMWithLMHeadModel,
    formulas_only,
    quantize,
)

ARRAYS = small_batch()
BATCH = as_tf(ARRAYS)
PATHS = pytest.mark.parametrize("path", [contextlib.nullcontext, formulas_only])


def small_model(dtype: str = "float64", **fields: Any) -> TFXLMForConditionalGeneration:
    rng = np.random.default_rng(0)
    model = TFXLMForConditionalGeneration(small_config(**fields), dtype=dtype, initialize=False)
    for spec in model.tensor_specs():
        if spec.tied_to is None:
            model._set_variable(spec, rng.normal(size=spec.shape) * 0.3)
    return model


@PATHS
@pytest.mark.parametrize("name", MT_CASES)
def test_the_original(name: str, path: Any, shared: Callable[[str], Path]) -> None:
    file, batch, expected = golden_batch(name, shared)
    model = xlm_tf.from_pretrained(file, dtype="float64")
    assert type(model) is TFXLMForConditionalGeneration
    with path():
        output = model(as_tf(batch), output_hidden_states=True)
    assert_golden(output, batch, expected, 1e-10)


def loss_and_gradients(model: Any, **options: Any) -> tuple[float, list[Any]]:
    with tf.GradientTape() as tape:
        loss = model(**BATCH, **options).loss
    specs = [spec for spec in model.tensor_specs() if spec.tied_to is None]
    found = tape.gradient(loss, [model.variable_of(spec).value for spec in specs])
    return float(loss), [None if g is None else as_array(tf.convert_to_tensor(g)) for g in found]


def test_recomputed_layers_have_the_gradients_of_the_source_too() -> None:
    model = small_model(dropout=0.0, attention_dropout=0.0)
    loss, gradients = loss_and_gradients(model, training=True)
    model.gradient_checkpointing_enable()
    assert model.decoder._gradient_checkpointing
    again, recomputed = loss_and_gradients(model, training=True)
    assert again == pytest.approx(loss, rel=1e-13)
    assert sum(gradient is None for gradient in gradients) == 1  # the encoder's own output
    pairs = zip(recomputed, gradients, strict=True)
    found = {str(i): pair for i, pair in enumerate(pairs) if pair[1] is not None}
    assert_all_close(
        {name: one for name, (one, _) in found.items()},
        {name: other for name, (_, other) in found.items()},
        1e-12,
        one_scale=True,  # that of keys' biases is 0, but for rounding
    )


def test_dropouts_of_the_two_attentions_differ() -> None:
    model = small_model(dropout=0.0, attention_dropout=0.5)
    batch = {**BATCH, "input_ids": tf.fill((4, 7), 9), "langs": BATCH["decoder_langs"]}
    output = model(**batch, training=True, output_attentions=True)
    own, source = (as_array(x[0])[:, :, -1] == 0 for x in (
        output.decoder_attentions, output.cross_attentions
    ))  # fmt: skip
    assert (own != source).any()


@PATHS
def test_outputs_and_what_the_encoder_returned_before(path: Any) -> None:
    model = small_model(decoder_layers=3)
    with path():
        output = model(**BATCH, output_hidden_states=True, output_attentions=True)
        assert len(output.decoder_hidden_states) == 4
        assert [tuple(x.shape) for x in output.cross_attentions] == [(4, 4, 7, 9)] * 3
        padding = ARRAYS["input_ids"] == 2
        assert not as_array(output.cross_attentions[0]).sum((1, 2))[padding].any()
        encoded = model.get_encoder()(BATCH["input_ids"], langs=BATCH["langs"])
        given = {**BATCH, "input_ids": None, "attention_mask": tf.constant(~padding)}
        for outputs in (encoded, encoded.to_tuple(), encoded.last_hidden_state):
            again = model(**given, encoder_outputs=outputs)
            assert_close_to_largest(again.logits, output.logits, 1e-12)


@pytest.mark.parametrize("width", [16, 128])  # by operations, and as graphs
def test_calls_with_a_cache_are_one_call(width: int) -> None:
    model = small_model(emb_dim=width)
    decoder, ids = model.get_decoder(), tf.reshape(tf.range(6, 20), (2, 7))
    langs, mask = tf.ones_like(ids), BATCH["input_ids"][:2] != 2
    encoded = model.encoder(BATCH["input_ids"][:2], langs=BATCH["langs"][:2])[0]
    source = {"encoder_hidden_states": encoded, "encoder_attention_mask": mask}
    whole = decoder(ids, langs=langs, **source)[0]
    cache = KeyValueCache()
    calls = [
        decoder(ids[:, :end], langs=langs[:, :end], cache=cache, **source)[0] for end in (3, 4, 7)
    ]
    assert_close_to_largest(tf.concat(calls, 1), whole, 1e-12)
    assert cache.cross(1) is not None
    cache, steps = KeyValueCache(), []
    for start, end in ((0, 4), (4, 5), (5, 7)):
        new = (ids[:, start:end], tf.tile(tf.range(start, end)[None], (2, 1)), langs[:, start:end])
        hidden = encoded if start == 0 else None
        steps.append(decoder.step(*new, tf.ones((2, end), tf.bool), cache, hidden, mask))
    assert_close_to_largest(tf.concat(steps, 1), whole, 1e-12)


def test_keras_trains_predicts_and_saves_it(tmp_path: Path) -> None:
    model = small_model("float32", n_layers=1)
    apart = {name: x for name, x in ARRAYS.items() if name != "labels"}
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = model.fit(ARRAYS, epochs=2, verbose=0).history["loss"]
    losses += model.fit(apart, ARRAYS["labels"], epochs=1, verbose=0).history["loss"]
    assert losses[2] < losses[1] < losses[0]
    expected = model(**BATCH)
    assert model.evaluate(ARRAYS, verbose=0) == pytest.approx(float(expected.loss), rel=1e-5)
    predicted = model.predict(ARRAYS, verbose=0)  # reads what the labels say
    assert_close_to_largest(predicted.logits, expected.logits, 1e-5)
    model.save(tmp_path / "m.keras")
    for again in (
        keras.saving.load_model(tmp_path / "m.keras"),
        xlm_tf.from_pretrained(tmp_path / "m.keras"),
    ):
        assert_equal(again(**BATCH).logits, expected.logits)
        assert again.config.decoder_layers is None


def test_a_saved_model_reads_sources_and_targets(tmp_path: Path) -> None:
    model = small_model("float32", n_layers=1)
    batch = {name: x for name, x in BATCH.items() if name != "labels"}
    batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(BATCH["labels"])
    batch["attention_mask"] = tf.cast(batch["input_ids"] != 2, tf.int64)
    batch["decoder_attention_mask"] = tf.cast(batch["decoder_input_ids"] != 2, tf.int64)
    expected = model(**batch).logits
    model.export(tmp_path / "served", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "served")
    served = loaded.serve(batch)
    assert_close_to_largest(served["logits"], expected, 1e-5)


def test_sizes_and_int8(tmp_path: Path) -> None:
    model = small_model("float32")
    expected = model(**BATCH).logits
    model.resize_token_embeddings(64)
    found = model(**BATCH).logits
    assert found.shape[-1] == 64
    assert_close_to_largest(found[..., :60], expected, 1e-6)
    assert model(**model.dummy_inputs).logits.shape[-1] == 64
    model.save_pretrained(tmp_path)
    again = TFXLMForConditionalGeneration.from_pretrained(tmp_path)
    assert_equal(again(**BATCH).logits, found)
    with pytest.raises(ConfigError, match="cannot be pruned"):
        model.prune_heads({0: [1]})
    quantize(model)
    assert type(model.decoder.encoder_attn[1].k_lin).__name__ == "QuantizedLinear"
    assert_close_to_largest(model(**BATCH).logits, found, 0.2)


def test_a_decoder_from_an_encoder(tmp_path: Path) -> None:
    config = small_config(is_encoder=True, is_encoder_decoder=False, lang2id={"en": 0, "fr": 1})
    source = TFXLMWithLMHeadModel(config)
    source.save_pretrained(tmp_path)
    with pytest.warns(XLMWarning, match="started fresh, to be trained") as warned:
        model, info = TFXLMForConditionalGeneration.from_pretrained(
            encoder=tmp_path, decoder=tmp_path, decoder_layers=1, output_loading_info=True
        )
    assert len(warned) == 1
    assert len(info["missing_keys"]) == 10
    kernel = source.transformer.ffns[0].lin1.kernel
    assert_equal(model.decoder.ffns[0].lin1.kernel, kernel)
    with pytest.warns(XLMWarning, match="lang_embeddings.weight of ro"):
        wider = TFXLMForConditionalGeneration.from_pretrained(
            encoder=tmp_path, decoder=tmp_path, lang2id={"en": 0, "ro": 1, "fr": 2}
        )
    table = as_array(wider.encoder.lang_embeddings.embeddings)
    assert_equal(table[2], as_array(source.transformer.lang_embeddings.embeddings)[1])
    assert 0 < table[1].std() < 1
    for arguments in ({"path": tmp_path}, {"path": tmp_path, "decoder": tmp_path}):
        with pytest.raises((CheckpointError, UnknownArgumentError), match="encoder"):
            TFXLMForConditionalGeneration.from_pretrained(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, "none of decoder_input_ids, decoder_inputs_embeds and labels"),
        ({"labels": BATCH["labels"][0]}, r"labels has shape \(7,\)"),
        (
            {"labels": BATCH["labels"][:3], "decoder_langs": BATCH["decoder_langs"][:3]},
            "encoder_hidden_states has shape",
        ),
        ({"labels": tf.cast(BATCH["labels"], tf.float64)}, "labels has a float dtype"),
        ({"labels": tf.abs(BATCH["labels"]) + 60}, "expected values in"),
        ({"decoder_langs": BATCH["decoder_langs"] + 1}, "langs holds 2"),
        ({"input_ids": tf.fill((4, 9), 2)}, "source 0 of the batch has no token"),
        ({"input_ids": None}, "neither of input_ids and inputs_embeds"),
        ({"output_logits": False, "labels": None}, "no labels to give a loss for"),
        ({"attention_mask": tf.ones((4, 8))}, r"attention_mask has shape \(4, 8\)"),
        ({"encoder_outputs": tf.ones((4, 9, 3))}, "encoder_hidden_states has shape"),
        ({"encoder_output": 1}, "encoder_outputs"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    error = UnknownArgumentError if "encoder_output" in change else InputError
    with pytest.raises(error, match=message):
        small_model()(**{**BATCH, **change})
