"""`GenerationConfig`: how a model generates, where a call does not say.

Source: names and defaults are those of transformers' GenerationConfig, 4.57. `beam_scoring` and
`seed` are this library's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from xlm_core.errors import (
    ConfigError,
    ConfigFileError,
    InputError,
    UnknownArgumentError,
    nearest,
    warn,
)
from xlm_core.whole_files import written_whole

GENERATION_FILE = "generation_config.json"

# Accepted with any value: how transformers computes, notes about files, and what its Trainer
# passes along. None of it changes which tokens come.
_INERT = """
use_cache cache_implementation cache_config return_legacy_cache prefill_chunk_size compile_config
disable_compile low_memory synced_gpus use_model_defaults num_assistant_tokens
num_assistant_tokens_schedule assistant_confidence_threshold assistant_early_exit
assistant_lookbehind target_lookbehind max_matching_ngram_size is_assistant cache_position
logits_to_keep num_items_in_batch labels transformers_version _from_model_config _commit_hash
use_mtp speculation_type max_cache_len continuous_batching_config tokenizer assistant_tokenizer
trust_remote_code
"""
INERT = frozenset(_INERT.split())

_CRITERION = "give a callable in stopping_criteria="
_PROCESSOR = "what changes logits here is listed in docs/generation.md"
_SAMPLER = "give temperature, top_k or top_p"
_BEAMS = "beams are chosen by their scores alone here"
_MODELS = "one model generates here, a token at a step"
_OUTPUTS = "call the model itself with the ids that come back"
_EMBEDS = "give input_ids: what is generated are ids"
# What transformers takes and this library does not: the values that say nothing, and what to do.
UNSUPPORTED: dict[str, tuple[tuple[Any, ...], str]] = {
    "max_time": ((None,), _CRITERION),
    "stop_strings": ((None,), _CRITERION),
    "logits_processor": ((None, [], ()), _PROCESSOR),
    "prefix_allowed_tokens_fn": ((None,), _PROCESSOR),
    "renormalize_logits": ((None, False), _PROCESSOR),
    "encoder_repetition_penalty": ((None, 1.0), _PROCESSOR),
    "encoder_no_repeat_ngram_size": ((None, 0), _PROCESSOR),
    "remove_invalid_values": ((None, False), _PROCESSOR),
    "exponential_decay_length_penalty": ((None,), _PROCESSOR),
    "suppress_tokens": ((None, [], ()), "give them in bad_words_ids, each in a list of its own"),
    "begin_suppress_tokens": ((None, [], ()), _PROCESSOR),
    "sequence_bias": ((None,), _PROCESSOR),
    "token_healing": ((None, False), _PROCESSOR),
    "guidance_scale": ((None, 1.0), _PROCESSOR),
    "negative_prompt_ids": ((None,), _PROCESSOR),
    "negative_prompt_attention_mask": ((None,), _PROCESSOR),
    "watermarking_config": ((None,), _PROCESSOR),
    "min_p": ((None,), _SAMPLER),
    "top_h": ((None,), _SAMPLER),
    "typical_p": ((None, 1.0), _SAMPLER),
    "epsilon_cutoff": ((None, 0.0), _SAMPLER),
    "eta_cutoff": ((None, 0.0), _SAMPLER),
    "penalty_alpha": ((None, 0.0), _SAMPLER),
    "num_beam_groups": ((None, 1), _BEAMS),
    "diversity_penalty": ((None, 0.0), _BEAMS),
    "constraints": ((None,), _BEAMS),
    "force_words_ids": ((None,), _BEAMS),
    "assistant_model": ((None,), _MODELS),
    "assistant_ensemble_weight": ((None,), _MODELS),
    "prompt_lookup_num_tokens": ((None,), _MODELS),
    "dola_layers": ((None,), _MODELS),
    "custom_generate": ((None,), "no code from a repository is ever run"),
    "output_attentions": ((None, False), _OUTPUTS),
    "output_hidden_states": ((None, False), _OUTPUTS),
    "output_logits": ((None, False), "output_scores=True gives what tokens were chosen by"),
    "past_key_values": ((None,), "the cache is generate's own"),
    "cache": ((None,), "the cache is generate's own"),
    "inputs_embeds": ((None,), _EMBEDS),
    "decoder_inputs_embeds": ((None,), _EMBEDS),
    "position_ids": ((None,), "positions are counted from the attention mask"),
    "decoder_position_ids": ((None,), "positions are counted from the attention mask"),
    "token_type_ids": ((None,), "tokens have one type here: leave them out"),
    "head_mask": ((None,), "prune_heads silences attention heads"),
    "decoder_head_mask": ((None,), "prune_heads silences attention heads"),
    "cross_attn_head_mask": ((None,), "prune_heads silences attention heads"),
}


def says_nothing(name: str, value: Any) -> bool:
    """Whether an unsupported setting has a value by which nothing changes."""
    if name == "token_type_ids":  # zeros, as tokenizers return them: transformers' drops them too
        types = plain(value)
        return types is None or (isinstance(types, list) and not np.any(types))
    return any(
        value is neutral or (type(value) is not bool and _same(value, neutral))
        for neutral in UNSUPPORTED[name][0]
    )


def _same(value: Any, neutral: Any) -> bool:
    comparable = isinstance(value, (bool, int, float, str, list, tuple))
    return comparable and neutral is not None and bool(value == neutral)


# -- what each setting may hold --------------------------------------------------------------------


def _is_int(value: Any, smallest: int) -> bool:
    return (
        isinstance(value, (int, np.integer))
        and not isinstance(value, bool)
        and int(value) >= smallest
    )


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, (int, float, np.integer, np.floating))
        and not isinstance(value, bool)
        and bool(np.isfinite(value))
    )


def _are_ids(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(_is_int(x, 0) for x in value)


Rule = tuple[Callable[[Any], bool], str]


def _at_least(smallest: int) -> Rule:
    return lambda value: _is_int(value, smallest), f"a whole number of at least {smallest}"


_FLAG: Rule = (lambda value: isinstance(value, bool), "True or False")
_RULES: dict[str, Rule] = {
    "max_length": _at_least(1),
    "max_new_tokens": _at_least(1),
    "min_length": _at_least(0),
    "min_new_tokens": _at_least(0),
    "num_beams": _at_least(1),
    "num_return_sequences": _at_least(1),
    "no_repeat_ngram_size": _at_least(0),
    "top_k": _at_least(0),
    "seed": _at_least(0),
    "bos_token_id": _at_least(0),
    "pad_token_id": _at_least(0),
    "decoder_start_token_id": _at_least(0),
    "forced_bos_token_id": _at_least(0),
    "eos_token_id": (
        lambda value: _is_int(value, 0) or _are_ids(value),
        "an id or a list of ids",
    ),
    "forced_eos_token_id": (
        lambda value: _is_int(value, 0) or _are_ids(value),
        "an id or a list of ids",
    ),
    "length_penalty": (_is_number, "a number"),
    "early_stopping": (
        lambda value: isinstance(value, bool) or value == "never",
        'True, False or "never"',
    ),
    "beam_scoring": (
        lambda value: value in ("original", "transformers"),
        '"original" or "transformers"',
    ),
    "temperature": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "top_p": (lambda value: _is_number(value) and 0 < value <= 1, "a number above 0, at most 1"),
    "repetition_penalty": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "bad_words_ids": (
        lambda value: (
            isinstance(value, (list, tuple))
            and len(value) > 0
            and all(_are_ids(word) for word in value)
        ),
        "a list of words, each a list of ids",
    ),
    "do_sample": _FLAG,
    "output_scores": _FLAG,
    "return_dict_in_generate": _FLAG,
}


@dataclass
class GenerationConfig:
    """How a model generates, where a call does not say.

    A model has one as `generation_config`: that of the folder's generation_config.json, which
    `save_pretrained` writes back. `generate` takes another one, this library's or transformers',
    as its `generation_config`. None in any field stands for its default.

    Attributes:
        max_length: Tokens of a sequence at most, its prompt counted, padding not. 20, as in
            transformers, says nothing here: language models then generate 20 tokens, and
            translations have int(1.5 n + 10), n being the tokens of their own source.
        max_new_tokens: Tokens after the prompt at most, in place of max_length.
        min_length, min_new_tokens: Before that many, no sequence ends.
        num_beams: Beams of beam search; 1: greedy search, or sampling.
        beam_scoring: How sequences of different lengths are compared: "original" or
            "transformers", see `BeamSearch`. Default: the former, of masked models the latter.
        length_penalty: Power of the length that scores are divided by.
        early_stopping: When beam search is done with a sentence, see `BeamSearch`.
        num_return_sequences: Sequences for each sentence: the best ones of beam search, or as
            many samples.
        do_sample: Draw tokens instead of taking the best.
        seed: Of sampling. Default: drawn from the framework's generator.
        temperature: What logits are divided by before sampling.
        top_k: Sample from this many best tokens; 0: from all.
        top_p: Sample from the fewest best tokens whose probabilities reach this sum.
        repetition_penalty: What the logits of tokens that are there already are divided by (or,
            if negative, multiplied by).
        no_repeat_ngram_size: Let no n-gram of this size come twice; 0: no rule.
        bad_words_ids: Words, each a list of ids, that are not to come.
        forced_bos_token_id: The token that follows the first one of a sequence of one token.
        forced_eos_token_id: Of translations, the end of the sentence, which they end with anyway.
        bos_token_id, pad_token_id: Special tokens; default: the model's. The latter fills
            sequences after their end.
        eos_token_id: The token, or the tokens, that end a sequence. Default: the model's `</s>`;
            for masked models none.
        decoder_start_token_id: What a translation begins with; default `</s>`.
        output_scores, return_dict_in_generate: What `generate` returns, see there.
        extra: Further keys of a file: written back, and refused by `generate` if they are
            settings of transformers that it does not follow.
    """

    max_length: int = 20
    max_new_tokens: int | None = None
    min_length: int | None = None
    min_new_tokens: int | None = None
    num_beams: int | None = None
    beam_scoring: Literal["original", "transformers"] | None = None
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] | None = None
    num_return_sequences: int | None = None
    do_sample: bool | None = None
    seed: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    bad_words_ids: list[list[int]] | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | list[int] | None = None
    bos_token_id: int | None = None
    pad_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    decoder_start_token_id: int | None = None
    output_scores: bool | None = None
    return_dict_in_generate: bool | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)
    # Read and set by transformers' Trainer: whether a model's configuration said it all.
    _from_model_config = False

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "max_length" and value is None:
            value = _SAYS_NOTHING
        if name in _RULES and value is not None:
            fits, rule = _RULES[name]
            value = plain(value)
            if not fits(value):
                raise InputError(f"{name} is {value!r:.80}: expected {rule}.")
        elif name not in _RULES and name != "extra":
            refuse_setting("GenerationConfig", name, value)
            return
        object.__setattr__(self, name, value)

    def update(
        self,
        defaults_only: bool = False,
        allow_custom_entries: bool = False,
        **settings: Any,
    ) -> dict[str, Any]:
        """Set fields by name, as in transformers.

        Args:
            defaults_only: Leave fields that say something as they are.
            allow_custom_entries: Keep what is no field in `extra`.
            settings: Names and values.

        Returns:
            What was not used, for it is no field.

        Raises:
            InputError: For a value that cannot be.
        """
        said = self.to_dict()
        for name in settings.keys() & set(SETTINGS):
            if not (defaults_only and name in said):
                setattr(self, name, settings[name])
        unused = {name: value for name, value in settings.items() if name not in SETTINGS}
        if allow_custom_entries:
            self.extra |= unused
            return {}
        return unused

    @staticmethod
    def _get_default_generation_params() -> dict[str, Any]:
        """What transformers 5 fills fields with before it reads them: they have their defaults."""
        return {}

    # -- reading and writing -------------------------------------------------------------------

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that a generation_config.json holds, or another's `to_dict()`.

        Keys that are no field are kept in `extra`; one warning names those that nobody knows.

        Raises:
            InputError: For a value that cannot be.
        """
        known = {name: value for name, value in values.items() if name in SETTINGS}
        extra = {name: value for name, value in values.items() if name not in SETTINGS}
        unknown = sorted(extra.keys() - INERT - UNSUPPORTED.keys())
        unknown = [name for name in unknown if not name.startswith("_")]
        if unknown:
            named = ", ".join(f"{name!r:.60}{nearest(name, SETTINGS)}" for name in unknown[:10])
            warn(f"The generation configuration has keys that are not known, and not used: {named}")
        return cls(**known, extra=extra)

    @classmethod
    def of(cls, values: Any) -> Self:
        """A configuration of this class, of transformers' or any other with `to_dict()`, or a dict.

        Raises:
            InputError: For anything else.
        """
        if isinstance(values, cls):
            return values
        # transformers' defaults would count before what the model's own configuration says.
        for method in ("to_diff_dict", "to_dict"):
            if hasattr(values, method):
                values = getattr(values, method)()
        if not isinstance(values, Mapping):
            raise InputError(
                f"generation_config is a {type(values).__name__}: expected a GenerationConfig, "
                "this library's or transformers', or a dict."
            )
        return cls.from_dict(values)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Read the generation_config.json of a folder, or that file itself.

        Raises:
            ConfigFileError: If it is not there, or is no JSON object.
        """
        path = Path(folder)
        if path.is_dir():
            path /= GENERATION_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigFileError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(values, dict):
            raise ConfigFileError(f"{path} holds a {type(values).__name__}: expected an object.")
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """What the folder of a checkpoint says; where it has no such file, nothing."""
        return cls.from_pretrained(folder) if (folder / GENERATION_FILE).is_file() else cls()

    def to_dict(self) -> dict[str, Any]:
        """The fields that say something, and `extra`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        extra: dict[str, Any] = values.pop("extra")
        if not self.says_length:
            del values["max_length"]
        return extra | {name: value for name, value in values.items() if value is not None}

    @property
    def says_length(self) -> bool:
        """Whether max_length is one that somebody asked for."""
        return self.max_length != _SAYS_NOTHING

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write generation_config.json into a folder, which is made if it is not there."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        with written_whole(Path(folder) / GENERATION_FILE) as file:
            file.write_text(
                json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """A copy in which these settings count first.

        Args:
            settings: Names and values, as of `to_dict`; None leaves a field as it is. A length
                takes the place of one that is said in the other way.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        fields_given = {name: value for name, value in given.items() if name in SETTINGS}
        others = {name: value for name, value in given.items() if name not in SETTINGS}
        for name, other in _SAID_IN_TWO_WAYS:
            if name in given and other not in given:
                fields_given[other] = None
        return replace(self, **fields_given, extra=self.extra | others)


_SAYS_NOTHING = 20  # transformers' default of max_length
SETTINGS = tuple(_RULES)
_LENGTHS = (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens"))
_SAID_IN_TWO_WAYS = (*_LENGTHS, *(pair[::-1] for pair in _LENGTHS))


def refuse_setting(function: str, name: str, value: Any, known: Iterable[str] = ()) -> None:
    """Refuse a setting that is no field, unless it changes nothing.

    Args:
        function: What the message calls the function.
        name, value: What it was given.
        known: Other arguments that it knows, for the message.

    Raises:
        UnknownArgumentError: Saying what to do instead, or what may have been meant.
    """
    if name in INERT or (name in UNSUPPORTED and says_nothing(name, value)):
        return
    if name in UNSUPPORTED:
        raise UnknownArgumentError(
            f"{function} does not take {name}={value!r:.60}, which transformers does: "
            f"{UNSUPPORTED[name][1]}."
        )
    raise UnknownArgumentError(
        f"{function} got an unexpected argument: {name!r}."
        f"{nearest(name, [*known, *SETTINGS])} docs/generation.md lists what it takes."
    )


def plain(value: Any) -> Any:
    """numpy's numbers, arrays and either framework's tensors as Python's numbers and lists."""
    if hasattr(value, "numpy") and not hasattr(value, "tolist"):  # TensorFlow's
        value = value.numpy()
    if isinstance(value, np.generic) or (hasattr(value, "tolist") and hasattr(value, "shape")):
        return value.tolist()
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    if isinstance(value, list):
        return [plain(each) for each in value]
    return value
