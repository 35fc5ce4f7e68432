"""What cannot be is refused in the PyTorch family's words, and what is odd warned of once."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_torch
from tests.support.parity import assert_equal
from tests.tf.helpers import tiny_config
from tests.tf.refusals import (
    GOOD,
    IDS,
    LANGS,
    VECTOR,
    assert_refused_alike,
    for_torch,
    pair,
    with_value,
)
from xlm_core import ConfigError, InputError, UnknownArgumentError, XLMWarning
from xlm_core.weights import ARCHITECTURES
from xlm_tf import MODEL_CLASSES, KeyValueCache, TFXLMModel

# What is given (beside GOOD; None takes away) -> what the message says.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an id beyond the vocabulary": ({"input_ids": with_value(IDS, 50)}, "input_ids holds 50: "),
    "a negative id": ({"input_ids": with_value(IDS, -1)}, "input_ids holds -1: expected values in"),
    "a language too many": ({"langs": with_value(LANGS, 4)}, "langs holds 4: "),
    "a negative language": ({"langs": with_value(LANGS, -2)}, "langs holds -2"),
    "a short langs": ({"langs": LANGS[:, :5]}, "langs has shape (2, 5): expected"),
    "langs for one row": ({"langs": LANGS[:1]}, "langs has shape (1, 6): expected"),
    "one language": ({"langs": np.array(3)}, "langs has shape (): expected"),
    "a position too many": ({"position_ids": with_value(LANGS, 20)}, "position_ids holds 20: "),
    "a negative position": ({"position_ids": with_value(LANGS, -1)}, "position_ids holds -1: "),
    "a token type beyond": ({"token_type_ids": with_value(LANGS, 60)}, "token_type_ids holds 60"),
    "a mask of 2": ({"attention_mask": with_value(LANGS, 2)}, "attention_mask holds a value that"),
    "a mask of one half": ({"attention_mask": np.full((2, 6), 0.5)}, "neither 0 nor 1"),
    "a mask of three dimensions": (
        {"attention_mask": np.ones((2, 6, 6))}, "attention_mask has shape (2, 6, 6)"),
    "a complex mask": ({"attention_mask": np.ones((2, 6)) * 1j}, "attention_mask"),
    "complex ids": ({"input_ids": IDS * (1 + 0j)}, "input_ids"),
    "lengths too long": ({"lengths": np.array([7, 2])}, "lengths holds 7: "),
    "negative lengths": ({"lengths": np.array([-1, 2])}, "lengths holds -1"),
    "lengths for three": ({"lengths": np.array([1, 2, 3])}, "lengths has shape (3"),
    "float lengths": ({"lengths": np.array([1.0, 2.0])}, "lengths has a float dtype"),
    "float ids": ({"input_ids": IDS.astype(np.float32)}, "input_ids has a float dtype"),
    "boolean ids": ({"input_ids": IDS > 9}, "input_ids has a bool dtype: expected integer"),
    "float langs": ({"langs": LANGS.astype(np.float32)}, "langs has a float dtype"),
    "ids without a batch": ({"input_ids": IDS[0]}, "input_ids has shape (6"),
    "an empty batch": ({"input_ids": IDS[:0], "langs": None}, "must not be empty"),
    "an empty sequence": ({"input_ids": IDS[:, :0], "langs": None}, "must not be empty"),
    "no input": ({"input_ids": None}, "neither of input_ids and inputs_embeds"),
    "both inputs": (
        {"inputs_embeds": np.ones((2, 6, 12), np.float32)}, "both of input_ids and inputs_embeds"),
    "embeddings too wide": (
        {"input_ids": None, "inputs_embeds": np.ones((2, 6, 13), np.float32)},
        "inputs_embeds has shape (2, 6, 13): "),
    "integer embeddings": (
        {"input_ids": None, "inputs_embeds": np.ones((2, 6, 12), np.int64)}, "integer dtype"),
    "a head mask of two heads": (
        {"head_mask": np.ones(2, np.float32)}, "head_mask has shape (2"),
    "a head mask of three layers": (
        {"head_mask": np.ones((3, 3), np.float32)}, "(layers, heads) = (2, 3)"),
    "a cache": ({"cache": KeyValueCache()}, "bidirectional"),
    "a sequence too long": (
        {"input_ids": np.full((1, 21), 7), "langs": np.zeros((1, 21), int)},
        "the sequence has 21 positions, but the model has 20"),
    "a number": ({"attention_mask": 1}, "attention_mask is a int"),
    "a text": ({"langs": "en"}, "langs is a str"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("architecture", ["XLMModel", "XLMWithLMHeadModel"])
def test_refused_in_the_same_words(what: str, architecture: str) -> None:
    changes, text = WRONG[what]
    assert text in assert_refused_alike(pair(architecture), {**GOOD, **changes})


def test_lists_are_refused() -> None:
    model, _ = pair()
    for name in GOOD:
        with pytest.raises(InputError, match=f"^{name} is a list: expected a tf.Tensor or a numpy"):
            model(**{**GOOD, name: GOOD[name].tolist()})


def test_a_long_sequence_with_positions_inside_the_table() -> None:
    model, _ = pair()
    ids = np.full((1, 21), 7)
    output = model(ids, langs=0 * ids, position_ids=np.arange(21)[None] % 20)
    assert output.last_hidden_state.shape == (1, 21, 12)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unknown_keywords(architecture: str) -> None:
    model, in_torch = pair(architecture)
    unknown = {"attention_masks": LANGS, "lang": LANGS}
    with pytest.raises(UnknownArgumentError) as expected:
        in_torch(**{name: for_torch(value) for name, value in {**GOOD, **unknown}.items()})
    text = str(expected.value).replace(architecture, f"TF{architecture}")
    text = text.replace("return_dict", "return_dict, training")
    for call in (lambda: model(**GOOD, **unknown), lambda: model({**GOOD, **unknown})):
        with pytest.raises(UnknownArgumentError) as caught:
            call()
        assert str(caught.value).startswith(text)
    if architecture == "XLMForConditionalGeneration":
        return  # takes them where they say nothing, as transformers' encoder-decoders do
    for absent in ("cache_position", "use_cache"):
        with pytest.raises(TypeError, match=f"TF{architecture} got an unexpected.*{absent}"):
            model(**GOOD, **{absent: None})


def test_missing_languages_are_warned_of_once_a_model() -> None:
    with pytest.warns(XLMWarning) as expected:
        xlm_torch.XLMModel(tiny_config())(torch.from_numpy(IDS))
    for architecture in ("XLMModel", "XLMForTokenClassification"):
        model = MODEL_CLASSES[architecture](tiny_config())
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for given in ((IDS,), ({"input_ids": IDS},), (tf.constant(IDS),)):
                model(*given)
        assert len(caught) == 1
        assert caught[0].category is XLMWarning
        assert str(caught[0].message) == str(expected[0].message)
        with pytest.warns(XLMWarning):
            MODEL_CLASSES[architecture](tiny_config())(IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TFXLMModel(tiny_config())(**GOOD)
        TFXLMModel(tiny_config(n_langs=1))(IDS)
        TFXLMModel(tiny_config(use_lang_emb=False))(IDS)


def test_token_types_are_warned_of_once_a_model() -> None:
    """Those of mode "v4", which harm a model that was not trained with them."""
    types = np.arange(IDS.size).reshape(IDS.shape) % 2
    for architecture in ("XLMModel", "XLMForTokenClassification"):
        model = MODEL_CLASSES[architecture](tiny_config())
        with pytest.warns(XLMWarning, match="return_token_type_ids=False") as caught:
            [model(**GOOD, token_type_ids=types) for _ in range(3)]
        assert len(caught) == 1
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TFXLMModel(tiny_config())(**GOOD, token_type_ids=types + 3)  # words, on purpose
        TFXLMModel(tiny_config())(**GOOD, token_type_ids=None)


def test_langs_of_a_model_without_languages_are_free() -> None:
    model, _ = pair(use_lang_emb=False)
    assert_equal(model(IDS, langs=LANGS + 70)[0], model(IDS)[0])


def test_checks_of_values_can_be_switched_off() -> None:
    model = TFXLMModel(tiny_config())
    model.check_values = False
    with pytest.raises(tf.errors.InvalidArgumentError):  # TensorFlow's own, on a CPU
        model(**{**GOOD, "input_ids": with_value(IDS, 99)})
    assert model(**{**GOOD, "attention_mask": np.full((2, 6), 0.5)}).last_hidden_state.shape


def test_wrong_models() -> None:
    for families in (MODEL_CLASSES, xlm_torch.MODEL_CLASSES):
        with pytest.raises(ConfigError, match=r"got a .*dict: expected an .*XLMConfig"):
            families["XLMModel"]({"vocab_size": 5})
    for architecture, values in (
        ("XLMModel", {"is_encoder": False}),
        ("XLMForQuestionAnsweringSimple", {"num_labels": 3}),
        ("XLMForMultipleChoice", {"summary_proj_to_labels": False}),
    ):
        texts = []
        for families in (MODEL_CLASSES, xlm_torch.MODEL_CLASSES):
            with pytest.raises(ConfigError) as caught:
                families[architecture](tiny_config(**values))
            texts.append(str(caught.value))
        assert texts[0] == texts[1]
    wide = pair("XLMForSequenceClassification", summary_use_proj=False)
    text = assert_refused_alike(wide, {**GOOD, "labels": VECTOR}, ConfigError)
    assert "summary has 12 columns and num_labels is 7" in text
