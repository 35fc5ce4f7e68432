"""What each field of `XLMConfig` may hold, and how fields must fit together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

from xlm_core.errors import ConfigError

SUMMARY_TYPES = ("first", "last", "mean", "cls_index")
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
# The names of transformers' activation table that have no parameters of their own, and hardswish.
ACTIVATIONS = (
    "gelu",
    "gelu_10",
    "gelu_accurate",
    "gelu_fast",
    "gelu_new",
    "gelu_python",
    "gelu_python_tanh",
    "gelu_pytorch_tanh",
    "hardswish",
    "laplace",
    "leaky_relu",
    "linear",
    "mish",
    "quick_gelu",
    "relu",
    "relu2",
    "relu6",
    "sigmoid",
    "silu",
    "swish",
    "tanh",
)

Rule = tuple[str, Callable[[Any], bool]]


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if _is_int(value):
        return bool(abs(value) < 1e30)
    return isinstance(value, float) and math.isfinite(value)


def _at_least(minimum: int) -> Rule:
    return f"an integer of at least {minimum}", lambda value: _is_int(value) and value >= minimum


_BOOLEAN: Rule = ("true or false", lambda value: isinstance(value, bool))
_RATE: Rule = ("a number in [0, 1)", lambda value: _is_number(value) and 0 <= value < 1)
_POSITIVE: Rule = ("a finite number above 0", lambda value: _is_number(value) and value > 0)
_NOT_NEGATIVE: Rule = (
    "a finite number of at least 0",
    lambda value: _is_number(value) and value >= 0,
)


def _or_none(rule: Rule) -> Rule:
    text, test = rule
    return f"{text}, or null", lambda value: value is None or test(value)


def _one_of(names: tuple[str, ...]) -> Rule:
    return "one of " + ", ".join(names), lambda value: value in names


def _is_list_of(value: Any, test: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(test, value))


def _are_ints(value: Any) -> bool:
    return isinstance(value, (list, tuple, set)) and all(map(_is_int, value))


def _is_table(value: Any, key: type, entry: type) -> bool:
    return isinstance(value, dict) and all(
        isinstance(k, key) and isinstance(v, entry) for k, v in value.items()
    )


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "vocab_size",
            "emb_dim",
            "n_layers",
            "n_heads",
            "n_langs",
            "max_position_embeddings",
            "start_n_top",
            "end_n_top",
        ),
        _at_least(1),
    ),
    **dict.fromkeys(
        (
            "bos_index",
            "eos_index",
            "pad_index",
            "unk_index",
            "mask_index",
            "chunk_size_feed_forward",
        ),
        _at_least(0),
    ),
    "num_labels": (
        "an integer of at least 0 (and at most 1,000,000)",
        lambda value: _is_int(value) and 0 <= value <= 1_000_000,
    ),
    **dict.fromkeys(("mask_token_id", "lang_id"), _or_none(_at_least(0))),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), _or_none(_at_least(1))),
    **dict.fromkeys(
        ("dropout", "attention_dropout", "summary_first_dropout", "summary_last_dropout"), _RATE
    ),
    **dict.fromkeys(("embed_init_std", "init_std"), _NOT_NEGATIVE),
    **dict.fromkeys(("layer_norm_eps", "asm_div_value"), _POSITIVE),
    **dict.fromkeys(
        (
            "gelu_activation",
            "sinusoidal_embeddings",
            "causal",
            "asm",
            "use_lang_emb",
            "is_encoder",
            "is_encoder_decoder",
            "summary_use_proj",
            "summary_proj_to_labels",
            "tie_word_embeddings",
            "output_attentions",
            "output_hidden_states",
            "return_dict",
        ),
        _BOOLEAN,
    ),
    "summary_type": _one_of(SUMMARY_TYPES),
    "summary_activation": _or_none(_one_of(ACTIVATIONS)),
    "problem_type": _or_none(_one_of(PROBLEM_TYPES)),
    "dtype": _or_none(("the name of a dtype", lambda value: isinstance(value, str))),
    "architectures": _or_none(
        ("a list of class names", lambda value: _is_list_of(value, lambda v: isinstance(v, str)))
    ),
    "asm_cutoffs": _or_none(
        (
            "a list of increasing integers of at least 1",
            lambda value: (
                _is_list_of(value, lambda v: _is_int(v) and v >= 1)
                and all(a < b for a, b in itertools.pairwise(value))
            ),
        )
    ),
    "pruned_heads": (
        "a table from layer to a list of heads",
        lambda value: (
            _is_table(value, int, list) and all(_is_list_of(v, _is_int) for v in value.values())
        ),
    ),
    "id2label": _or_none(
        (
            "a table from the ids 0, 1, ... to class names",
            lambda value: _is_table(value, int, str) and sorted(value) == list(range(len(value))),
        )
    ),
    "label2id": _or_none(
        ("a table from class name to id", lambda value: _is_table(value, str, int))
    ),
    "lang2id": _or_none(("a table from language to id", lambda value: _is_table(value, str, int))),
    "id2lang": _or_none(("a table from id to language", lambda value: _is_table(value, int, str))),
}


def _integer_keys(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    try:
        return {int(key): entry for key, entry in value.items()}
    except (TypeError, ValueError):
        return value


def _normalise(name: str, value: Any) -> Any:
    """Bring the spellings that files use for one value into one form."""
    if name in ("id2label", "id2lang"):
        return _integer_keys(value)
    if name == "pruned_heads":
        table = _integer_keys({} if value is None else value)
        if isinstance(table, dict):
            return {
                key: sorted(set(heads)) if _are_ints(heads) else heads
                for key, heads in table.items()
            }
        return table
    if name == "asm_cutoffs":
        # The original's command line holds "8000,20000".
        if isinstance(value, str):
            parts = value.split(",")
            return [int(p) for p in parts] if all(p.strip().isdecimal() for p in parts) else value
        return list(value) if isinstance(value, tuple) else value
    if name in ("encoder_layers", "decoder_layers"):
        # Others' files leave a depth to n_layers by 0 and -1.
        return None if _is_int(value) and value in (0, -1) else value
    if name == "dtype" and value is not None:
        # "torch.float32", torch.float32, tf.float32 and "float32" are one name.
        if not isinstance(value, str) and not isinstance(getattr(value, "name", None), str):
            value = str(value) if type(value).__name__ == "dtype" else value
        name = getattr(value, "name", value)
        return name.removeprefix("torch.") if isinstance(name, str) else name
    if isinstance(value, float) and value.is_integer() and name in ("vocab_size", "emb_dim"):
        return int(value)
    return value


def check_field(name: str, value: Any) -> Any:
    """Return `value` in the field's own form.

    Raises:
        ConfigError: If the field cannot hold it.
    """
    value = _normalise(name, value)
    rule = RULES.get(name)
    if rule is not None and not rule[1](value):
        hint = ""
        if name == "summary_type" and value == "attn":
            hint = " ('attn' was never implemented by any published code)"
        raise ConfigError(f"{name} is {value!r}: expected {rule[0]}{hint}.")
    return value


def check_combination(config: Any) -> None:
    """Raise `ConfigError` where fields of an `XLMConfig` contradict each other."""

    def require(condition: bool, name: str, rule: str) -> None:
        if not condition:
            raise ConfigError(f"{name} is {getattr(config, name)!r}: {rule}.")

    require(
        config.emb_dim % config.n_heads == 0,
        "emb_dim",
        f"must be a multiple of n_heads ({config.n_heads})",
    )
    require(
        config.pad_index < config.vocab_size,
        "pad_index",
        f"must be below vocab_size ({config.vocab_size})",
    )
    require(
        config.is_encoder_decoder or config.encoder_layers in (None, config.n_layers),
        "encoder_layers",
        f"is another size than n_layers ({config.n_layers}), and is_encoder_decoder is False",
    )
    require(
        not (config.is_encoder_decoder and config.pruned_heads),
        "pruned_heads",
        "an encoder-decoder has all of its heads",
    )
    if config.asm:
        require(bool(config.asm_cutoffs), "asm_cutoffs", "asm=True needs at least one cutoff")
        require(
            (config.asm_cutoffs or [0])[-1] < config.vocab_size,
            "asm_cutoffs",
            f"every cutoff must be below vocab_size ({config.vocab_size})",
        )
        tails = len(config.asm_cutoffs or [])
        require(
            1e-3 <= config.asm_div_value <= config.emb_dim
            and int(config.emb_dim // config.asm_div_value**tails) >= 1,
            "asm_div_value",
            f"divides emb_dim ({config.emb_dim}) {tails} times and must leave at least 1",
        )
    for layer, heads in (config.pruned_heads or {}).items():
        require(
            -config.n_layers <= layer < config.n_layers,
            "pruned_heads",
            f"layer {layer} is outside the {config.n_layers} layers",
        )
        require(
            all(0 <= head < config.n_heads for head in heads),
            "pruned_heads",
            f"layer {layer} has the heads 0 to {config.n_heads - 1} only",
        )
        require(
            bool(config.heads_of(layer % config.n_layers)),
            "pruned_heads",
            f"layer {layer} must keep at least one of its {config.n_heads} heads",
        )
    if config.has_lang_embeddings and config.lang2id is not None:
        require(
            all(0 <= index < config.n_langs for index in config.lang2id.values()),
            "lang2id",
            f"ids must be in [0, n_langs) with n_langs {config.n_langs}",
        )
    if config.label2id is not None:
        require(
            all((config.id2label or {}).get(i) == name for name, i in config.label2id.items()),
            "label2id",
            "must agree with id2label",
        )
    if config.lang2id is not None and config.id2lang is not None:
        require(
            {index: name for name, index in config.lang2id.items()} == config.id2lang,
            "id2lang",
            "must be the inverse of lang2id",
        )
