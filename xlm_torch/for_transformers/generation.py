"""One step of `generate`: a masked model is asked for the token after the last one.

Source: transformers' XLMWithLMHeadModel, whose ids these are: the mask token is appended, in the
language `config.lang_id`, and nothing is cached. Where the prompt has padding, transformers hides
as many positions from the right as there are padding tokens, the mask among them; here the padding
is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xlm_core.config import XLMConfig
from xlm_core.errors import UnknownArgumentError

# What `generate` keeps for models with a cache, and what says nothing to this one.
_OF_GENERATE = (
    "cache",
    "cache_position",
    "logits_to_keep",
    "past_key_values",
    "position_ids",
    "token_type_ids",
    "use_cache",
    "next_sequence_length",
    "is_first_iteration",
)
_OF_FORWARD = ("output_attentions", "output_hidden_states", "return_dict", "head_mask")


def inputs_of_step(
    config: XLMConfig, input_ids: Tensor, others: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of `XLMWithLMHeadModel.forward` for the next token.

    Args:
        config: The model's.
        input_ids: int64, shape (batch, sequence): the prompt and what was generated.
        others: What `generate` keeps besides: attention_mask, shape (batch, sequence); langs,
            shape (batch, prompt), of which the last column goes on.

    Raises:
        UnknownArgumentError: For what changes the result and is not served.
    """
    unknown = others.keys() - {
        *_OF_GENERATE,
        *_OF_FORWARD,
        "attention_mask",
        "langs",
        "inputs_embeds",
    }
    if unknown or others.get("inputs_embeds") is not None:
        names = ", ".join(sorted(unknown or {"inputs_embeds"}))
        raise UnknownArgumentError(
            f"generate of XLM does not take {names}: give input_ids, attention_mask and langs, and "
            "what transformers' GenerationConfig holds."
        )
    given = {name: others[name] for name in _OF_FORWARD if others.get(name) is not None}
    attention_mask = others.get("attention_mask")
    asked = F.pad(input_ids, (0, 1), value=config.mask_token_id or 0)
    if attention_mask is None or bool(attention_mask.all()):
        given["lengths"] = (asked != config.pad_index).sum(dim=1)
    else:
        given["attention_mask"] = F.pad(attention_mask, (0, 1), value=1)
    if (langs := _languages(config, asked, others.get("langs"))) is not None:
        given["langs"] = langs
    return {"input_ids": asked} | given


def _languages(config: XLMConfig, asked: Tensor, langs: Tensor | None) -> Tensor | None:
    if langs is not None:
        # `generate` repeats prompts (for beams) without telling those which it does not know.
        langs = langs.repeat_interleave(len(asked) // len(langs), dim=0)
        more = asked.shape[1] - langs.shape[1]
        return torch.cat([langs, langs[:, -1:].expand(-1, more)], dim=1)
    return None if config.lang_id is None else torch.full_like(asked, config.lang_id)
