"""What a call of `generate` begins with: prompts, or sources and how their translations begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from xlm_core.config import XLMConfig
from xlm_core.errors import InputError, UnknownArgumentError
from xlm_core.generation import (
    MASKED_WARNING,
    Kind,
    language_ids,
    refuse_missing_language,
    warning_of_frame,
)
from xlm_core.outputs import BaseModelOutput
from xlm_tf.generation.decoding import (
    CachedDecoding,
    Decoding,
    MaskedDecoding,
    Tensors,
    UncachedDecoding,
)
from xlm_tf.inputs import as_index, check_inputs, check_source


@dataclass(frozen=True)
class Beginning:
    """What is known before anything is computed.

    Attributes:
        kind: What generates.
        prompts: int64, shape (sentences,): tokens of each row before anything is generated,
            without padding; of masked models with it. A tensor inside a graph.
        sources: int64, shape (sentences,): tokens of the sources of translations.
        columns: Of the prompts, padding counted; None: not known inside a graph.
        decoding: The class of what gives the logits.
        decode: Given what translations begin with: what its `first` takes, and what sequences begin
            with, int64, shape (sentences, tokens).
        warning: What to warn of, once a model.
    """

    kind: Kind
    prompts: tf.Tensor
    sources: tf.Tensor | None
    columns: int | None
    decoding: type[Decoding]
    decode: Callable[[int], tuple[Tensors, tf.Tensor]]
    warning: str | None


_OF_TRANSLATIONS = (
    "decoder_input_ids",
    "decoder_attention_mask",
    "decoder_langs",
    "encoder_outputs",
)


def of_language_model(model: Any, given: Mapping[str, Any], *, steps: bool) -> Beginning:
    """Check and prepare what `generate` of a `TFXLMWithLMHeadModel` was given.

    Args:
        model: The model.
        given: Arguments of `generate`, by name.
        steps: Whether the encoder's `step` computes what calling it would.

    Raises:
        InputError: If they do not fit the model or each other.
    """
    for name in _OF_TRANSLATIONS:
        if given[name] is not None:
            raise UnknownArgumentError(
                f"generate of {type(model).__name__} does not take {name}: a language model has "
                "no decoder beside it. Give the prompt as input_ids."
            )
    config: XLMConfig = model.config
    prompt, tokens = _checked("input_ids", model.base_model, given)
    known, following = _languages(model, given, prompt, tokens, needs=config.causal)
    begun = {"input_ids": prompt, "tokens": tokens}
    begun |= {} if known is None else {"langs": known, "following": following}

    def decode(start: int) -> tuple[Tensors, tf.Tensor]:
        return begun, prompt

    if not config.causal:
        columns = tf.fill(tf.shape(prompt)[:1], tf.shape(prompt)[1])
        return Beginning(
            "masked", columns, None, prompt.shape[1], MaskedDecoding, decode, MASKED_WARNING
        )
    decoding = CachedDecoding if steps else UncachedDecoding
    warning = _warning_of_frame(config, "causal", prompt, tokens)
    return Beginning("causal", _counts(tokens), None, prompt.shape[1], decoding, decode, warning)


def of_encoder_decoder(model: Any, given: Mapping[str, Any], *, steps: bool) -> Beginning:
    """Check and prepare what `generate` of a `TFXLMForConditionalGeneration` was given.

    Args:
        model: The model.
        given: Arguments of `generate`, by name.
        steps: Whether the decoder's `step` computes what calling it would.

    Raises:
        InputError: If they do not fit the model or each other.
    """
    config: XLMConfig = model.config
    encoded = given["encoder_outputs"]
    if encoded is None:
        ids, mask = _checked("input_ids", model.encoder, given)
        langs = given["langs"]
        if langs is not None and given["src_lang"] is not None:
            raise InputError("langs and src_lang were given: give one of them.")
        if langs is None and config.has_lang_embeddings:
            source = language_ids(config, "src_lang", given["src_lang"], _sentences(ids))
            if source is None:
                refuse_missing_language(config, "src_lang")
            langs = tf.broadcast_to(tf.constant(source)[:, None], tf.shape(ids))
    else:
        ids = langs = None
        hidden = _hidden_of(encoded)
        check_source(model.decoder, hidden, None)
        mask = model._source_mask(
            BaseModelOutput(last_hidden_state=hidden),
            given["input_ids"],
            given["attention_mask"],
            given["lengths"],
        )
        check_source(model.decoder, hidden, mask)
        mask = tf.cast(mask, tf.bool)
    target, seen = _target(model, given, mask)
    following = _target_language(config, given, _sentences(mask))

    def decode(start: int) -> tuple[Tensors, tf.Tensor]:
        begun = tf.fill((tf.shape(mask)[0], 1), tf.cast(start, tf.int64))
        begun = begun if target is None else target
        states = hidden_of_source() if encoded is None else hidden
        tensors = {
            "input_ids": begun,
            "tokens": tf.ones_like(begun, tf.bool) if seen is None else seen,
            "encoder_hidden_states": states,
            "encoder_mask": mask,
        }
        if following is not None:
            every = tf.broadcast_to(tf.constant(following), tf.shape(begun)[:1])
            tensors["langs"] = tf.broadcast_to(every[:, None], tf.shape(begun))
            tensors["following"] = every
        return tensors, begun

    def hidden_of_source() -> tf.Tensor:
        return model.encoder(
            input_ids=ids,
            attention_mask=mask,
            langs=langs,
            return_dict=True,
            output_attentions=False,
            output_hidden_states=False,
            training=False,
        ).last_hidden_state

    prompts = tf.ones(tf.shape(mask)[:1], tf.int64) if seen is None else _counts(seen)
    decoding = CachedDecoding if steps else UncachedDecoding
    columns = 1 if target is None else target.shape[1]
    warning = None if ids is None else _warning_of_frame(config, "translation", ids, mask)
    return Beginning("translation", prompts, _counts(mask), columns, decoding, decode, warning)


def _checked(name: str, body: Any, given: Mapping[str, Any]) -> tuple[tf.Tensor, tf.Tensor]:
    """The ids, and which of them are tokens: bool, shape (sentences, tokens)."""
    ids = given[name]
    if ids is None:
        raise InputError(f"generate got no {name}: expected ids of shape (batch, sequence).")
    tensors = {each: given[each] for each in ("attention_mask", "langs", "lengths")}
    inputs = {"input_ids": ids} | tensors
    if body.config.has_lang_embeddings and inputs["langs"] is None and tf.is_tensor(ids):
        inputs["langs"] = tf.zeros_like(ids)  # what is missing is said where it is needed
    check_inputs(body, inputs, None)
    tokens = body._token_mask({"inputs_embeds": None, "input_ids": ids} | tensors)
    _refuse_empty(name, tokens)
    return tf.cast(ids, tf.int64), tokens


def _warning_of_frame(
    config: XLMConfig, kind: Kind, ids: tf.Tensor, tokens: tf.Tensor
) -> str | None:
    """As core's; inside a graph, where numbers are not known, None."""
    if not hasattr(ids, "numpy") or not hasattr(tokens, "numpy"):
        return None
    return warning_of_frame(config, kind, ids.numpy(), tokens.numpy())


def _refuse_empty(name: str, tokens: tf.Tensor) -> None:
    """Raise `InputError` if a sentence is nothing but padding."""
    if not hasattr(tokens, "numpy"):
        return
    empty = (~tokens.numpy().any(axis=1)).nonzero()[0].tolist()
    if empty:
        raise InputError(
            f"{name} holds nothing but padding for sentence {', '.join(map(str, empty[:10]))}: "
            "give each sentence at least one token, such as </s>."
        )


def _counts(tokens: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(tokens, tf.int64), axis=1)


def _sentences(x: tf.Tensor) -> int:
    """How many sentences there are; 1 in a graph that does not know, where one stands for all."""
    return x.shape[0] or (0 if tf.executing_eagerly() else 1)


def _languages(
    model: Any, given: Mapping[str, Any], prompt: tf.Tensor, tokens: tf.Tensor, *, needs: bool
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """The languages of prompts and of what follows them; with `needs`, none may be missing."""
    config: XLMConfig = model.config
    langs, sentences = given["langs"], _sentences(prompt)
    if langs is not None and given["src_lang"] is not None:
        raise InputError("langs and src_lang were given: give one of them.")
    before = language_ids(config, "src_lang", given["src_lang"], sentences)
    after = language_ids(config, "tgt_lang", given["tgt_lang"], sentences)
    if not config.has_lang_embeddings:
        return None, None
    if langs is not None:
        langs = tf.cast(langs, tf.int64)
        following = _last_language(langs, tokens) if after is None else _column(after, prompt)
        return langs, following
    if before is None and after is None:
        if needs:
            refuse_missing_language(config, "tgt_lang")
        if config.lang_id is None:
            return None, None
        before = np.full(sentences, config.lang_id)  # as transformers does
    before = after if before is None else before
    after = before if after is None else after
    column = _column(before, prompt)
    return tf.broadcast_to(column[:, None], tf.shape(prompt)), _column(after, prompt)


def _column(of_sentences: NDArray[np.int64] | None, like: tf.Tensor) -> tf.Tensor:
    return tf.broadcast_to(tf.constant(of_sentences, tf.int64), tf.shape(like)[:1])


def _last_language(langs: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
    """The language of the last token of each prompt."""
    last = tf.argmax(tf.where(tokens, tf.range(tf.shape(tokens)[1]), -1), axis=1)
    return tf.gather(langs, last, batch_dims=1)


def _target(
    model: Any, given: Mapping[str, Any], source: tf.Tensor
) -> tuple[tf.Tensor | None, tf.Tensor | None]:
    """How translations begin and which of that are tokens; None: by their first token alone."""
    ids, mask = given["decoder_input_ids"], given["decoder_attention_mask"]
    if ids is None:
        if mask is not None:
            raise InputError("decoder_attention_mask was given without decoder_input_ids.")
        return None, None
    langs = tf.zeros_like(ids) if tf.is_tensor(ids) else None
    check_inputs(model.decoder, {"input_ids": ids, "attention_mask": mask, "langs": langs}, None)
    if None not in (ids.shape[0], source.shape[0]) and ids.shape[0] != source.shape[0]:
        raise InputError(
            f"decoder_input_ids begins {ids.shape[0]} translations of {source.shape[0]} sources: "
            "give one for each."
        )
    seen = ids != model.config.pad_index if mask is None else tf.cast(mask, tf.bool)
    _refuse_empty("decoder_input_ids", seen)
    return tf.cast(as_index(ids), tf.int64), seen


def _target_language(
    config: XLMConfig, given: Mapping[str, Any], sentences: int
) -> NDArray[np.int64] | None:
    """The language of each translation, int64, shape (sentences,); None: the model has none."""
    langs = given["decoder_langs"]
    following = language_ids(config, "tgt_lang", given["tgt_lang"], sentences)
    if langs is not None:
        if following is not None:
            raise InputError("decoder_langs and tgt_lang were given: give one of them.")
        if not hasattr(langs, "numpy"):
            raise InputError("decoder_langs is read eagerly only: give tgt_lang inside a graph.")
        values = langs.numpy()
        if values.ndim != 2 or len(values) != sentences or (values != values[:, :1]).any():
            raise InputError(
                f"decoder_langs has shape {values.shape} for {sentences} sources: expected "
                "(batch, target), with one language in each row; or give tgt_lang."
            )
        following = language_ids(config, "decoder_langs", values[:, 0], sentences)
    if not config.has_lang_embeddings:
        return None
    if following is None:
        refuse_missing_language(config, "tgt_lang")
    return following


def _hidden_of(encoder_outputs: Any) -> Any:
    """The last hidden states among what an encoder returned."""
    if tf.is_tensor(encoder_outputs):
        return encoder_outputs
    if isinstance(encoder_outputs, Mapping):
        return encoder_outputs.get("last_hidden_state")
    return next(iter(encoder_outputs), None)
