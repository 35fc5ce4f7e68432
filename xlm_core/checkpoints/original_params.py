"""The original's training parameters of a model, as far as its code needs them.

Source: xlm/model/__init__.py (check_model_params, build_model) of the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xlm_core.config import XLMConfig
from xlm_core.weights import ENCODER_DECODER


def params_of(
    config: XLMConfig, architecture: str, params: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The training parameters of a model: `params` as they were, and what the code needs besides.

    The fields that decide what the model computes are those of `config`.
    """
    result = {
        "encoder_only": architecture != ENCODER_DECODER,
        "use_memory": False,
        "same_enc_dec": True,
        "max_vocab": -1,
        "min_count": 0,
        **(params or {}),
    }
    if architecture == ENCODER_DECODER:
        config = config.copy(n_layers=config.part("encoder").n_layers)
    decisive = {
        "n_words": config.vocab_size,
        "share_inout_emb": config.ties_output,
        **{
            name: getattr(config, name)
            for name in (
                "emb_dim",
                "n_layers",
                "n_heads",
                "gelu_activation",
                "sinusoidal_embeddings",
                "use_lang_emb",
                "asm",
                "n_langs",
                "bos_index",
                "eos_index",
                "pad_index",
                "unk_index",
                "mask_index",
            )
        },
    }
    if config.asm:
        decisive |= {"asm_cutoffs": config.asm_cutoffs, "asm_div_value": config.asm_div_value}
    for name, value in decisive.items():
        # What is equal stays as it was: a 4 that we read as 4.0.
        if name not in result or result[name] != value:
            result[name] = value
    for name in ("dropout", "attention_dropout", "lang2id", "id2lang"):
        value = getattr(config, name)
        # What they say of a folder whose config.json has changed since is no longer true.
        if value is not None and (name not in result or result[name] != value):
            result[name] = value
    # No parameter of the original, which is causal by the call: given where steps do not say it.
    if "causal" in result or config.causal != trained_causal(result):
        result["causal"] = config.causal
    return result


def trained_causal(params: Mapping[str, Any]) -> bool:
    """Whether params name causal steps of training and no masked ones."""
    return bool(params.get("clm_steps")) and not params.get("mlm_steps")
