"""What both families do in the same way, and in the same words, beyond computing the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_tf
import xlm_torch
from tests.conftest import make_config
from tests.support.parity import as_array, assert_all_close, assert_equal
from tests.support.translation import small_batch, small_config
from xlm_core import CheckpointError, ConfigError, InputError, UnknownArgumentError, XLMConfig

FAMILIES = [
    pytest.param((xlm_torch.MODEL_CLASSES, torch.from_numpy, xlm_torch), id="torch"),
    pytest.param((xlm_tf.MODEL_CLASSES, tf.constant, xlm_tf), id="tf"),
]
Family = tuple[dict[str, Any], Callable[[Any], Any], Any]
IDS = np.array([[5, 6, 7, 8, 9, 10], [11, 12, 13, 2, 2, 2]])
LANGS = np.array([[0] * 6, [3] * 6])


def build(family: Family, architecture: str = "XLMModel", **values: Any) -> Any:
    model = family[0][architecture](make_config(**values))
    return model.eval() if hasattr(model, "eval") else model


def call(family: Family, model: Any, **arrays: Any) -> Any:
    return model(**{name: family[1](np.asarray(array)) for name, array in arrays.items()})


@pytest.mark.parametrize("family", FAMILIES)
class TestInputs:
    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
    def test_integers_of_any_width(self, family: Family, dtype: str) -> None:
        model = build(family, "XLMWithLMHeadModel")
        positions = np.arange(6)[None].repeat(2, 0)
        given = {"input_ids": IDS, "langs": LANGS, "position_ids": positions}
        given |= {"token_type_ids": LANGS, "labels": IDS}
        narrow = {name: array.astype(dtype) for name, array in given.items()}
        expected = call(family, model, **given)
        actual = call(family, model, **narrow)
        assert_equal(actual.logits, expected.logits)
        assert_equal(actual.loss, expected.loss)

    @pytest.mark.parametrize("dtype", ["float64", "float16"])
    def test_embeddings_of_any_float_dtype(self, family: Family, dtype: str) -> None:
        model = build(family)
        embeds = np.random.default_rng(0).normal(size=(2, 6, 12)).astype(dtype)
        found = call(family, model, inputs_embeds=embeds, langs=LANGS).last_hidden_state
        expected = call(family, model, inputs_embeds=embeds.astype("float32"), langs=LANGS)
        assert as_array(found).dtype == np.float32
        assert_equal(found, expected.last_hidden_state)

    @pytest.mark.parametrize("value", [np.nan, np.inf, 0.5, -1.0, 2.0])
    def test_masks_of_anything_but_0_and_1(self, family: Family, value: float) -> None:
        mask = np.ones((2, 6), np.float32)
        mask[1, 2] = value
        with pytest.raises(InputError, match="attention_mask holds a value that is neither"):
            call(family, build(family), input_ids=IDS, langs=LANGS, attention_mask=mask)
        model = build(family, "XLMForQuestionAnswering")
        with pytest.raises(InputError, match="p_mask holds a value that is neither"):
            call(family, model, input_ids=IDS, langs=LANGS, p_mask=mask)

    def test_checks_can_be_switched_off_on_a_head(self, family: Family) -> None:
        model = build(family, "XLMForTokenClassification")
        assert model.check_values is None
        with pytest.raises(InputError, match="langs holds 9"):
            call(family, model, input_ids=IDS, langs=LANGS + 6)
        model.check_values = False
        assert model.encoder().check_values is False
        with pytest.raises((IndexError, tf.errors.InvalidArgumentError)):
            call(family, model, input_ids=IDS, langs=LANGS + 6)

    def test_checkpointing_can_be_switched_on_a_head(self, family: Family) -> None:
        model = build(family, "XLMForTokenClassification")
        model.gradient_checkpointing = True
        assert model.encoder().gradient_checkpointing
        model.gradient_checkpointing_disable()
        assert not model.gradient_checkpointing

    def test_what_is_no_cache(self, family: Family) -> None:
        model = build(family, causal=True)
        ids, langs = family[1](IDS), family[1](LANGS)
        with pytest.raises(InputError, match="cache is a tuple without update"):
            model(input_ids=ids, langs=langs, cache=(None,))

    def test_a_cache_step_by_step(self, family: Family) -> None:
        model = build(family, causal=True)
        whole = as_array(call(family, model, input_ids=IDS, langs=LANGS).last_hidden_state)
        cache = family[2].KeyValueCache()
        for end in (2, 3, 6):
            ids, langs = family[1](IDS[:, :end]), family[1](LANGS[:, :end])
            part = model(input_ids=ids, langs=langs, cache=cache).last_hidden_state
            start = end - as_array(part).shape[1]
            np.testing.assert_allclose(as_array(part), whole[:, start:end], atol=2e-6)
        assert cache.get_seq_length() == 6


@pytest.mark.parametrize("family", FAMILIES)
class TestOpening:
    def save(self, family: Family, folder: Path, architecture: str, **values: Any) -> Any:
        model = build(family, architecture, **values)
        model.save_pretrained(folder)
        return model

    def test_untying_starts_from_the_embeddings(self, family: Family, tmp_path: Path) -> None:
        tied = self.save(family, tmp_path, "XLMWithLMHeadModel")
        untied = family[0]["XLMWithLMHeadModel"].from_pretrained(
            tmp_path, tie_word_embeddings=False
        )
        given = {"input_ids": IDS, "langs": LANGS}
        found = as_array(call(family, untied, **given).logits)
        np.testing.assert_allclose(found, as_array(call(family, tied, **given).logits), atol=1e-5)
        assert untied.num_parameters() == tied.num_parameters() + 53 * 12

    def test_overrides_that_concern_another_head(self, family: Family, tmp_path: Path) -> None:
        self.save(family, tmp_path / "lm", "XLMWithLMHeadModel")
        family[0]["XLMModel"].from_pretrained(tmp_path / "lm", asm=True, asm_cutoffs=[10])
        self.save(family, tmp_path / "sc", "XLMForSequenceClassification")
        model = family[0]["XLMForSequenceClassification"].from_pretrained(
            tmp_path / "sc", summary_use_proj=False
        )
        assert as_array(call(family, model, input_ids=IDS, langs=LANGS).logits).shape == (2, 12)

    def test_heads_can_be_pruned_while_opening(self, family: Family, tmp_path: Path) -> None:
        model = self.save(family, tmp_path, "XLMModel")
        opened = family[0]["XLMModel"].from_pretrained(tmp_path, pruned_heads={1: [0, 2]})
        model.prune_heads({1: [0, 2]})
        given = {"input_ids": IDS, "langs": LANGS}
        assert_equal(
            call(family, opened, **given).last_hidden_state,
            call(family, model, **given).last_hidden_state,
        )
        opened.save_pretrained(tmp_path / "pruned")
        with pytest.raises(CheckpointError, match="cannot come back"):
            family[0]["XLMModel"].from_pretrained(tmp_path / "pruned", pruned_heads={1: [0]})

    def test_spellings_of_dtypes(self, family: Family, tmp_path: Path) -> None:
        self.save(family, tmp_path, "XLMModel")
        open_ = family[0]["XLMModel"].from_pretrained
        for dtype in ("float64", "double", "torch.float64", np.float64, np.dtype("float64")):
            model = open_(tmp_path, dtype=dtype)
            assert model.config.dtype == "float64"
        found = call(family, model, input_ids=IDS, langs=LANGS).last_hidden_state
        assert as_array(found).dtype == np.float64
        assert open_(tmp_path, torch_dtype=torch.float64).config.dtype == "float64"
        assert open_(tmp_path, dtype=tf.float16).config.dtype == "float16"
        for dtype in ("int8", np.int64, "float8_e4m3fn", 7):
            with pytest.raises(ConfigError, match="expected one of float64"):
                open_(tmp_path, dtype=dtype)


def test_a_traced_call_with_too_short_a_sequence_is_an_input_error() -> None:
    model = xlm_tf.TFXLMForQuestionAnswering(make_config(n_langs=1, start_n_top=4))
    with pytest.raises(InputError, match="the sequence has 3 positions"):
        tf.function(model)(tf.constant(IDS[:, :3]))


def test_pruned_keras_models_survive_keras_files(tmp_path: Path) -> None:
    model = xlm_tf.TFXLMModel(make_config(n_langs=1))
    model.prune_heads({0: [1], 2: [0, 3]})
    expected = model(IDS).last_hidden_state
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    opened = xlm_tf.TFXLMModel.from_config(model.get_config())
    opened.load_weights(tmp_path / "model.weights.h5")
    assert_equal(opened(IDS).last_hidden_state, expected)
    assert_equal(keras.saving.load_model(tmp_path / "model.keras")(IDS).last_hidden_state, expected)


def test_metrics_read_labels_among_the_features() -> None:
    config = make_config(n_layers=1, n_langs=1, num_labels=2)
    model = xlm_tf.TFXLMForTokenClassification(config)
    labels = np.where(IDS == 2, -100, 1)
    features = {"input_ids": IDS, "labels": labels}
    best = model(IDS).logits.numpy().argmax(-1)
    counted = labels != -100
    for kind in ("metrics", "weighted_metrics"):
        model.compile("adam", **{kind: ["accuracy"]})
        result = model.evaluate(features, verbose=0, return_dict=True)
        assert result["accuracy"] == pytest.approx((best == labels)[counted].mean())

    plain = xlm_tf.TFXLMForTokenClassification(config.copy(return_dict=False))
    plain.compile("adam")
    assert np.isfinite(plain.fit(features, verbose=0).history["loss"]).all()


def test_metrics_of_models_that_return_tuples_skip_the_loss() -> None:
    starts, ends = np.array([1, 0]), np.array([2, 1])
    features = {"input_ids": IDS, "start_positions": starts, "end_positions": ends}
    results = []
    for return_dict in (True, False):
        keras.utils.set_random_seed(0)
        model = xlm_tf.TFXLMForQuestionAnsweringSimple(
            make_config(n_layers=1, n_langs=1, num_labels=2, return_dict=return_dict)
        )
        metrics = ["sparse_categorical_accuracy", "sparse_categorical_accuracy"]
        model.compile("adam", metrics=[[name] for name in metrics])
        results.append(model.evaluate(features, verbose=0))
    assert results[0] == results[1]


def test_configurations_are_shared_by_both(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = XLMConfig(n_words=53, hidden_size=12, num_hidden_layers=1, num_attention_heads=3)
        torch_model = xlm_torch.XLMModel(config).eval()
        torch_model.save_pretrained(tmp_path)
        keras_model = xlm_tf.from_pretrained(tmp_path)
    assert_all_close(dict(keras_model(IDS)), dict(torch_model(torch.from_numpy(IDS))), bound=2e-6)


# What transformers' encoder-decoders take and these do not, as values that ask for something.
OF_ENCODER_DECODERS = {
    "past_key_values": ((),),
    "use_cache": True,
    "cache_position": IDS[0],
    "cross_attn_head_mask": np.ones((2, 2)),
    "token_type_ids": IDS * 0,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_arguments_of_transformers_encoder_decoders(family: Family) -> None:
    config = small_config()
    model = family[0]["XLMForConditionalGeneration"](config)
    model = model.eval() if hasattr(model, "eval") else model
    given = {name: family[1](array) for name, array in small_batch().items()}
    expected = model(**given).loss
    nothing = dict.fromkeys(OF_ENCODER_DECODERS)
    for use_cache in (None, False):
        assert_equal(model(**given, **(nothing | {"use_cache": use_cache})).loss, expected)
    for name, value in OF_ENCODER_DECODERS.items():
        with pytest.raises(UnknownArgumentError, match=f"does not take {name}, which encoder-dec"):
            model(**given, **{name: value})
    with pytest.raises(UnknownArgumentError, match=r"unexpected keyword .*'use_cash'"):
        model(**given, use_cash=False)
    ones = given["langs"] * 0 + 1  # as token types, zeros say nothing
    for name in ("head_mask", "decoder_head_mask", "cross_attn_head_mask", "token_type_ids"):
        with pytest.raises(UnknownArgumentError, match=f"does not take {name}="):
            model.generate(given["input_ids"], src_lang=0, tgt_lang=1, **{name: ones})
