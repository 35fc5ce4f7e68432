"""What a call of `generate` begins with: prompts, or sources and how their translations begin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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
from xlm_torch.fast.one_position import output_of
from xlm_torch.generation.decoding import CachedDecoding, MaskedDecoding
from xlm_torch.inputs import as_index, check_inputs, check_source

Decoding = CachedDecoding | MaskedDecoding


@dataclass(frozen=True)
class Beginning:
    """What is known before anything is computed.

    Attributes:
        kind: What generates.
        prompts: int64, shape (sentences,): tokens of each row before anything is generated,
            without padding; of masked models with it.
        sources: int64, shape (sentences,): tokens of the sources of translations.
        decode: Given what translations begin with: the decoding, and what sequences begin with,
            int64, shape (sentences, tokens).
        warning: What to warn of, once a model.
    """

    kind: Kind
    prompts: NDArray[np.int64]
    sources: NDArray[np.int64] | None
    decode: Callable[[int], tuple[Decoding, Tensor]]
    warning: str | None


_OF_TRANSLATIONS = (
    "decoder_input_ids",
    "decoder_attention_mask",
    "decoder_langs",
    "encoder_outputs",
)


def of_language_model(model: Any, given: Mapping[str, Any], *, steps: bool) -> Beginning:
    """Check and prepare what `generate` of an `XLMWithLMHeadModel` was given.

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
    if config.causal:
        known, following = _languages(config, given, tokens, needs=True)

        def decode(start: int) -> tuple[Decoding, Tensor]:
            decoding = CachedDecoding(
                "causal",
                model.base_model,
                output_of(model.pred_layer),
                steps=steps,
                prompt=prompt,
                tokens=tokens,
                langs=known,
                following=following,
            )
            return decoding, prompt

        warning = _warning_of_frame(config, "causal", prompt, tokens)
        return Beginning("causal", tokens.sum(1).cpu().numpy(), None, decode, warning)
    known, following = _languages(config, given, tokens, needs=False)
    columns = np.full(len(prompt), prompt.shape[1])

    def decode_masked(start: int) -> tuple[Decoding, Tensor]:
        decoding = MaskedDecoding(
            model, prompt=prompt, tokens=tokens, langs=known, following=following
        )
        return decoding, prompt

    return Beginning("masked", columns, None, decode_masked, MASKED_WARNING)


def of_encoder_decoder(model: Any, given: Mapping[str, Any], *, steps: bool) -> Beginning:
    """Check and prepare what `generate` of an `XLMForConditionalGeneration` was given.

    Args:
        model: The model.
        given: Arguments of `generate`, by name.
        steps: Whether the decoder's `step` computes what calling it would.

    Raises:
        InputError: If they do not fit the model or each other.
    """
    config: XLMConfig = model.config
    encoded = given["encoder_outputs"]
    ids: Tensor | None = None
    langs: Tensor | None = None
    if encoded is None:
        ids, mask = _checked("input_ids", model.encoder, given)
        langs = given["langs"]
        if langs is not None and given["src_lang"] is not None:
            raise InputError("langs and src_lang were given: give one of them.")
        if langs is None and config.has_lang_embeddings:
            source = language_ids(config, "src_lang", given["src_lang"], len(ids))
            if source is None:
                refuse_missing_language(config, "src_lang")
            langs = torch.from_numpy(source).to(ids.device)[:, None].expand_as(ids)
        device = ids.device
    else:
        hidden = _hidden_of(encoded)
        check_source(model.decoder, hidden, None)
        device = hidden.device
        mask = model._source_mask(
            BaseModelOutput(last_hidden_state=hidden),
            given["input_ids"],
            given["attention_mask"],
            given["lengths"],
        )
        check_source(model.decoder, hidden, mask)
        mask = mask != 0
    sentences = len(mask)
    target, seen = _target(model, given, sentences, device)
    following = _target_language(config, given, sentences, device)

    def decode(start: int) -> tuple[Decoding, Tensor]:
        begun = torch.full((sentences, 1), start, device=device) if target is None else target
        tokens = torch.ones_like(begun, dtype=torch.bool) if seen is None else seen
        if encoded is None:
            states = model.encoder(
                input_ids=ids,
                attention_mask=mask,
                langs=langs,
                return_dict=True,
                output_attentions=False,
                output_hidden_states=False,
            ).last_hidden_state
        else:
            states = hidden
        decoding = CachedDecoding(
            "translation",
            model.decoder,
            output_of(model.decoder.pred_layer),
            steps=steps,
            prompt=begun,
            tokens=tokens,
            langs=None if following is None else following[:, None].expand_as(begun),
            following=following,
            source=(states, mask),
        )
        return decoding, begun

    prompts = np.ones(sentences, dtype=np.int64) if seen is None else seen.sum(1).cpu().numpy()
    warning = None if ids is None else _warning_of_frame(config, "translation", ids, mask)
    return Beginning("translation", prompts, mask.sum(1).cpu().numpy(), decode, warning)


def _checked(name: str, body: Any, given: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The ids, and which of them are tokens: bool, shape (sentences, tokens)."""
    ids = given[name]
    if ids is None:
        raise InputError(f"generate got no {name}: expected ids of shape (batch, sequence).")
    tensors = {each: given[each] for each in ("attention_mask", "langs", "lengths")}
    inputs = {"input_ids": ids} | tensors
    if body.config.has_lang_embeddings and inputs["langs"] is None and isinstance(ids, Tensor):
        inputs["langs"] = torch.zeros_like(ids)  # what is missing is said where it is needed
    check_inputs(body, inputs, None)
    tokens = body._token_mask({"inputs_embeds": None, "input_ids": ids} | tensors)
    _refuse_empty(name, tokens)
    return as_index(ids).long(), tokens


def _warning_of_frame(config: XLMConfig, kind: Kind, ids: Tensor, tokens: Tensor) -> str | None:
    return warning_of_frame(config, kind, ids.cpu().numpy(), tokens.cpu().numpy())


def _refuse_empty(name: str, tokens: Tensor) -> None:
    """Raise `InputError` if a sentence is nothing but padding."""
    empty = (~tokens.any(1)).nonzero().squeeze(1).tolist()
    if empty:
        raise InputError(
            f"{name} holds nothing but padding for sentence {', '.join(map(str, empty[:10]))}: "
            "give each sentence at least one token, such as </s>."
        )


def _languages(
    config: XLMConfig, given: Mapping[str, Any], tokens: Tensor, *, needs: bool
) -> tuple[Tensor | None, Tensor | None]:
    """The languages of prompts and of what follows them; with `needs`, none may be missing.

    Args:
        config: The model's.
        given: Arguments of `generate`, by name.
        tokens: bool, shape (sentences, prompt): False for padding.
        needs: Whether to refuse what transformers would take from the configuration.
    """
    langs, sentences = given["langs"], len(tokens)
    if langs is not None and given["src_lang"] is not None:
        raise InputError("langs and src_lang were given: give one of them.")
    before = language_ids(config, "src_lang", given["src_lang"], sentences)
    after = language_ids(config, "tgt_lang", given["tgt_lang"], sentences)
    if not config.has_lang_embeddings:
        return None, None
    if langs is None and before is None and after is None:
        if needs:
            refuse_missing_language(config, "tgt_lang")
        if config.lang_id is None:
            return None, None
        before = np.full(sentences, config.lang_id)
    known = None if langs is None else as_index(langs).long()
    if known is None:
        of_prompts = after if before is None else before
        assert of_prompts is not None
        known = torch.from_numpy(of_prompts).to(tokens.device)[:, None].expand(tokens.shape)
    if after is not None:
        return known, torch.from_numpy(after).to(tokens.device)
    last = (torch.arange(tokens.shape[1], device=tokens.device) * tokens).argmax(1)
    return known, known.gather(1, last[:, None]).squeeze(1)


def _target(
    model: Any, given: Mapping[str, Any], sentences: int, device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    """How translations begin and which of that are tokens; None: by their first token alone."""
    ids, mask = given["decoder_input_ids"], given["decoder_attention_mask"]
    if ids is None:
        if mask is not None:
            raise InputError("decoder_attention_mask was given without decoder_input_ids.")
        return None, None
    check_inputs(model.decoder, {"input_ids": ids, "attention_mask": mask, "langs": ids * 0}, None)
    if len(ids) != sentences:
        raise InputError(
            f"decoder_input_ids begins {len(ids)} translations of {sentences} sources: give one "
            "for each."
        )
    seen = ids != model.config.pad_index if mask is None else mask != 0
    _refuse_empty("decoder_input_ids", seen)
    return as_index(ids).long().to(device), seen.to(device)


def _target_language(
    config: XLMConfig, given: Mapping[str, Any], sentences: int, device: torch.device
) -> Tensor | None:
    """The language of each translation, int64, shape (sentences,); None: the model has none."""
    langs = given["decoder_langs"]
    following = language_ids(config, "tgt_lang", given["tgt_lang"], sentences)
    if langs is not None:
        if following is not None:
            raise InputError("decoder_langs and tgt_lang were given: give one of them.")
        if langs.dim() != 2 or len(langs) != sentences or bool((langs != langs[:, :1]).any()):
            raise InputError(
                f"decoder_langs has shape {tuple(langs.shape)} for {sentences} sources: expected "
                "(batch, target), with one language in each row; or give tgt_lang."
            )
        following = language_ids(config, "decoder_langs", langs[:, 0], sentences)
    if not config.has_lang_embeddings:
        return None
    if following is None:
        refuse_missing_language(config, "tgt_lang")
    return torch.from_numpy(following).to(device)


def _hidden_of(encoder_outputs: Any) -> Any:
    """The last hidden states among what an encoder returned."""
    if isinstance(encoder_outputs, Tensor):
        return encoder_outputs
    if isinstance(encoder_outputs, Mapping):
        return encoder_outputs.get("last_hidden_state")
    return next(iter(encoder_outputs), None)
