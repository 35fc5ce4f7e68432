"""Both families refuse the same calls of generate in the same words, and warn of the same."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch

import xlm_tf
import xlm_torch
from tests.support.translation import small_config
from xlm_core import GenerationError, XLMConfig, XLMError, XLMWarning

IDS = np.array([[7, 8, 9, 10], [11, 12, 13, 14], [15, 16, 17, 18]])
PADDED = np.array([[1, 9, 8], [2, 2, 2]])
ONE_LANGUAGE = {"n_langs": 1, "lang2id": {"en": 0}}
# Of both kinds of models.
REFUSED: dict[str, dict[str, Any]] = {
    "a misspelt name": {"max_lenght": 4},
    "a setting of transformers": {"num_beam_groups": 2},
    "a mask of heads": {"head_mask": np.ones((2, 4))},
    "a cache": {"past_key_values": ()},
    "embeddings": {"inputs_embeds": np.ones((3, 4, 16))},
    "two lengths": {"max_length": 9, "max_new_tokens": 4},
    "a length beyond the positions": {"max_length": 25},
    "new tokens beyond the positions": {"max_new_tokens": 24},
    "a length of one": {"max_length": 1},
    "a length of zero": {"max_length": 0},
    "a length of a half": {"max_new_tokens": 2.5},
    "a minimum beyond the limit": {"min_length": 12, "max_length": 8},
    "no beams": {"num_beams": 0},
    "half a beam": {"num_beams": 1.5},
    "beams beyond the vocabulary": {"num_beams": 31},
    "sampled beams": {"num_beams": 2, "do_sample": True},
    "sequences without beams": {"num_return_sequences": 2},
    "more sequences than beams": {"num_return_sequences": 3, "num_beams": 2},
    "another rule of stopping": {"num_beams": 2, "early_stopping": "never"},
    "a penalty that is no number": {"num_beams": 2, "length_penalty": float("nan")},
    "no temperature": {"temperature": 0.0, "do_sample": True},
    "a negative temperature": {"temperature": -1.0, "do_sample": True},
    "all of the mass and more": {"top_p": 1.5, "do_sample": True},
    "none of the mass": {"top_p": 0.0, "do_sample": True},
    "a negative top_k": {"top_k": -1, "do_sample": True},
    "a negative seed": {"do_sample": True, "seed": -1},
    "no penalty of repetition": {"repetition_penalty": 0.0},
    "a flat list of bad words": {"bad_words_ids": [3]},
    "an empty bad word": {"bad_words_ids": [[]]},
    "a bad word beyond the vocabulary": {"bad_words_ids": [[3, 60]]},
    "an end beyond the vocabulary": {"eos_token_id": 60},
    "padding beyond the vocabulary": {"pad_token_id": 60},
    "no target language": {"tgt_lang": None},
    "an unknown language": {"tgt_lang": "french"},
    "a language beyond the model's": {"tgt_lang": 2},
    "a negative language": {"tgt_lang": -1},
    "a language that is a flag": {"tgt_lang": True},
    "too few languages": {"tgt_lang": ["fr", "en"]},
    "a language of half": {"tgt_lang": 0.5},
    "languages twice": {"langs": IDS * 0, "src_lang": 0},
    "languages of another shape": {"langs": IDS[:, :3] * 0, "src_lang": None},
    "ids twice": {"inputs": IDS},
    "no ids": {"input_ids": None},
    "no tokens": {"input_ids": IDS[:, :0]},
    "no sentences": {"input_ids": IDS[:0]},
    "an empty sentence": {"input_ids": PADDED},
    "an empty sentence by its mask": {"attention_mask": np.array([[1] * 4, [0] * 4, [1] * 4])},
    "an empty sentence by its length": {"lengths": np.array([4, 0, 4])},
    "a mask of another shape": {"attention_mask": np.ones((3, 5))},
    "ids of one dimension": {"input_ids": IDS[0]},
    "ids that are floats": {"input_ids": IDS.astype("float64")},
    "ids beyond the vocabulary": {"input_ids": IDS + 60},
    "negative ids": {"input_ids": IDS - 12},
    "more ids than positions": {"input_ids": np.full((1, 25), 9), "langs": None},
    "a streamer that is none": {"streamer": object()},
    "criteria that are none": {"stopping_criteria": [1]},
    "a configuration that is refused": {"generation_config": {"num_beam_groups": 2}},
    "a configuration that is none": {"generation_config": 3},
    "a configuration with a wrong value": {"generation_config": {"num_beams": -1}},
}
OF_TRANSLATIONS: dict[str, dict[str, Any]] = {
    "no source language": {"src_lang": None},
    "another forced end": {"forced_eos_token_id": 4},
    "target languages twice": {"decoder_langs": IDS * 0},
    "several target languages in a row": {"tgt_lang": None, "decoder_langs": IDS % 2},
    "a target's mask alone": {"decoder_attention_mask": IDS},
    "targets of other sentences": {"decoder_input_ids": IDS[:1]},
    "a target of padding": {"decoder_input_ids": np.array([[2, 2], [1, 9], [1, 2]])},
    "an empty target": {
        "decoder_input_ids": IDS, "decoder_attention_mask": np.array([[1] * 4, [0] * 4, [1] * 4])
    },
    "a target as long as the positions": {"decoder_input_ids": np.full((3, 24), 9)},
    "a source of padding, encoded": {
        "input_ids": None, "encoder_outputs": np.ones((3, 4, 16)),
        "attention_mask": np.array([[1] * 4, [0] * 4, [1] * 4]),
    },
    "a source of another width, encoded": {
        "input_ids": None, "encoder_outputs": np.ones((3, 4, 5)),
    },
    "an encoder's output without states": {"input_ids": None, "encoder_outputs": {}},
}  # fmt: skip
OF_LANGUAGE_MODELS: dict[str, dict[str, Any]] = {
    "prompts as long as the positions": {"input_ids": np.full((1, 24), 9)},
    "a first token after a prompt": {"forced_bos_token_id": 7},
    "a forced end": {"forced_eos_token_id": 1},
    "a target": {"decoder_input_ids": IDS},
    "an encoder's output": {"encoder_outputs": np.ones((3, 4, 16))},
}

Family = tuple[Any, Callable[[Any], Any]]


@pytest.fixture(scope="module")
def families() -> dict[str, list[Family]]:
    """Of each kind of model PyTorch's and TensorFlow's, with what makes their tensors."""
    pair = small_config(lang2id={"en": 0, "fr": 1}, n_layers=1)
    alone = XLMConfig.from_dict(
        pair.to_dict(), is_encoder=True, is_encoder_decoder=False, causal=True
    )
    made: dict[str, list[Family]] = {}
    for name, config in (("XLMForConditionalGeneration", pair), ("XLMWithLMHeadModel", alone)):
        in_torch = xlm_torch.MODEL_CLASSES[name](config.copy()).double().eval()
        in_tf = xlm_tf.MODEL_CLASSES[name](config.copy(), dtype="float64")
        made[name] = [(in_torch, torch.from_numpy), (in_tf, tf.constant)]
    return made


def call(family: Family, arguments: dict[str, Any], **more: Any) -> Any:
    model, tensor = family
    given = {"input_ids": IDS, "tgt_lang": "fr"} | more | arguments
    return model.generate(
        **{name: tensor(x) if isinstance(x, np.ndarray) else x for name, x in given.items()}
    )


def refusal(family: Family, arguments: dict[str, Any], **more: Any) -> tuple[str, str]:
    with pytest.raises(XLMError) as caught:
        call(family, arguments, **more)
    arrays = re.compile(r"object at 0x\w+|=(tensor\(|<tf.Tensor).*", flags=re.DOTALL)
    message = arrays.sub("...", str(caught.value))
    message = message.replace("TFXLM", "XLM").replace("torch.Tensor", "tf.Tensor")
    return type(caught.value).__name__, message


@pytest.mark.parametrize("name", [*REFUSED, *OF_LANGUAGE_MODELS])
def test_language_models(families: Any, name: str) -> None:
    arguments = (REFUSED | OF_LANGUAGE_MODELS)[name]
    said = [refusal(family, arguments) for family in families["XLMWithLMHeadModel"]]
    assert said[0] == said[1]


@pytest.mark.parametrize("name", [*REFUSED, *OF_TRANSLATIONS])
def test_translations(families: Any, name: str) -> None:
    arguments = (REFUSED | OF_TRANSLATIONS)[name]
    pair = families["XLMForConditionalGeneration"]
    said = [refusal(family, arguments, src_lang="en") for family in pair]
    assert said[0] == said[1]


def test_what_the_encoder_returned(families: Any) -> None:
    for model, tensor in families["XLMForConditionalGeneration"]:
        sources, given = tensor(PADDED[:1]), {"src_lang": 0, "tgt_lang": 1, "max_length": 6}
        expected = model.generate(sources, **given).numpy()
        encoded = model.encoder(sources, langs=sources * 0)
        forms = (encoded, encoded.to_tuple(), encoded.last_hidden_state, dict(encoded))
        for encoder_outputs in forms:
            found = model.generate(encoder_outputs=encoder_outputs, **given).numpy()
            assert np.array_equal(found, expected)


def test_padding_of_how_translations_begin(families: Any) -> None:
    """As of sources, all that is not padding is a token, unless a mask says otherwise."""
    begun = np.array([[1, 20, 21, 22], [1, 30, 2, 2], [2, 2, 1, 31]])
    for model, tensor in families["XLMForConditionalGeneration"]:
        given = {"src_lang": 0, "tgt_lang": 1, "max_new_tokens": 6}
        found = model.generate(
            tensor(IDS), decoder_input_ids=tensor(begun), **given, num_beams=2
        ).numpy()
        for row, ids in enumerate(begun):
            alone = model.generate(
                tensor(IDS[row : row + 1]), decoder_input_ids=tensor(ids[ids != 2][None]), **given,
                num_beams=2,
            ).numpy()  # fmt: skip
            new = alone[0, (ids != 2).sum() :]
            assert found[row, 4 : 4 + len(new)].tolist() == new.tolist(), row


def test_languages_in_tensors(families: Any) -> None:
    for model, tensor in families["XLMForConditionalGeneration"]:
        each = {"src_lang": np.array([0, 1, 0]), "tgt_lang": np.array([1, 0, 0])}
        expected = model.generate(tensor(IDS), **each, max_new_tokens=5).numpy()
        tensors = {name: tensor(ids) for name, ids in each.items()}
        found = model.generate(tensor(IDS), **tensors, max_new_tokens=5).numpy()
        assert np.array_equal(found, expected)


def test_the_frame_of_classifiers_is_warned_of_once(families: Any) -> None:
    framed = np.array([[0, 9, 8, 1], [0, 9, 1, 2]])
    kinds = (("XLMWithLMHeadModel", {}, "prompt"), ("XLMForConditionalGeneration", {"src_lang": 0},
             "sentence"))  # fmt: skip
    for kind, more, framing in kinds:
        for family in families[kind]:
            call(family, {"input_ids": framed[:, 1:], "max_new_tokens": 2}, **more)
            one = framed.copy()
            one[1, 0] = 1
            call(family, {"input_ids": one, "max_new_tokens": 2}, **more)
            with pytest.warns(
                XLMWarning, match=f"framed <s> ... </s>.*framing=.{framing}."
            ) as said:
                call(family, {"input_ids": framed, "max_new_tokens": 2}, **more)
            assert len(said) == 1
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                call(family, {"input_ids": framed, "max_new_tokens": 2}, **more)


@pytest.mark.parametrize("kind", ["XLMWithLMHeadModel", "XLMForConditionalGeneration"])
def test_scores_that_are_nan_are_refused(families: Any, kind: str) -> None:
    """The vector of one word that is NaN, and words that are all ruled out, by every way."""
    ids, more = IDS[:2], {"src_lang": "en", "max_new_tokens": 3}
    for model, tensor in families[kind]:
        body = model.base_model if kind == "XLMWithLMHeadModel" else model.encoder
        embeddings = body.embeddings
        is_torch = isinstance(model, torch.nn.Module)
        table = embeddings.weight if is_torch else embeddings.embeddings
        before = table.detach().clone() if is_torch else table.numpy()
        changed = before.clone() if is_torch else before.copy()
        changed[13] = float("nan")
        write = table.data.copy_ if is_torch else table.assign
        try:
            write(changed)
            for way in (
                {},
                {"num_beams": 2},
                {"do_sample": True, "seed": 0},
                {"output_scores": True},
            ):
                with pytest.raises(GenerationError, match=r"no next token for row .*NaN"):
                    call((model, tensor), {"input_ids": ids}, **more, **way)
        finally:
            write(before)
        banned = [[token] for token in range(model.config.vocab_size)]
        for way in ({}, {"num_beams": 2}, {"do_sample": True, "seed": 0}):
            with pytest.raises(GenerationError, match=r"row 0, 1 .* or all tokens are ruled out"):
                call(
                    (model, tensor), {"input_ids": ids}, bad_words_ids=banned, eos_token_id=None,
                    **more, **way,
                )  # fmt: skip
