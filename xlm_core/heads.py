"""What the heads of both families decide in the same way, and their error texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError, InputError, UnknownArgumentError
from xlm_core.inputs import DtypeKind
from xlm_core.weights import ENCODER_DECODER


def check_head(config: XLMConfig, architecture: str) -> None:
    """Raise `ConfigError` if this head cannot be built from this configuration."""
    if architecture == ENCODER_DECODER:
        return
    if config.is_encoder_decoder:
        raise ConfigError(
            "is_encoder_decoder is True: this class is an encoder. Take "
            f'{ENCODER_DECODER}, or the configuration of its encoder: config.part("encoder").'
        )
    if not config.is_encoder:
        raise ConfigError("is_encoder is False: this class is the encoder; it needs True.")
    width, labels = config.summary_width, config.num_labels
    if architecture == "XLMForMultipleChoice" and width != labels:
        raise ConfigError(
            f"the summary has {width} columns, but the choice head reads num_labels ({labels}): "
            "it needs summary_use_proj and summary_proj_to_labels."
        )
    if architecture == "XLMForQuestionAnsweringSimple" and labels != 2:
        raise ConfigError(
            f"num_labels is {labels}: the span head has 2, start and end. Open it with "
            "num_labels=2."
        )


def problem_type_of(config: XLMConfig, labels: DtypeKind) -> str:
    """The kind of loss that a sequence classifier computes for labels of this kind of dtype.

    config.problem_type decides; where it is None, one label means regression, and integers mean
    one class per sequence. The configuration is not changed.

    Raises:
        ConfigError: If the logits are no scores of labels.
    """
    classes, width = config.num_labels, config.summary_width
    if width != classes:
        raise ConfigError(
            f"the summary has {width} columns and num_labels is {classes}: a loss needs "
            "summary_use_proj and summary_proj_to_labels."
        )
    if config.problem_type is not None:
        return config.problem_type
    if classes == 1:
        return "regression"
    return "single_label_classification" if labels == "integer" else "multi_label_classification"


def both_or_neither(start_positions: object, end_positions: object) -> bool:
    """Whether both positions are given.

    Raises:
        InputError: If only one of them is.
    """
    if (start_positions is None) != (end_positions is None):
        given = "start_positions" if end_positions is None else "end_positions"
        raise InputError(f"only {given} was given: a loss needs start_positions and end_positions.")
    return start_positions is not None


def check_beams(config: XLMConfig, sequence: int | None) -> None:
    """Raise `InputError` if the sequence has fewer positions than a beam."""
    start, end = config.start_n_top, config.end_n_top
    if sequence is not None and sequence < max(start, end):
        raise InputError(
            f"the sequence has {sequence} positions, but start_n_top is {start} and end_n_top is "
            f"{end}: pad it, or set smaller beams in the configuration."
        )


def choice_shape(
    name: str, shape: tuple[int | None, ...], rank: int
) -> tuple[int | None, int | None]:
    """(batch, choices) of the tensor that leads a multiple-choice call.

    Raises:
        InputError: Unless it has `rank` dimensions.
    """
    if len(shape) != rank:
        raise InputError(
            f"{name} has shape {shape}: expected {rank} dimensions, (batch, choices, "
            f"sequence{', hidden' if rank == 4 else ''})."
        )
    return shape[0], shape[1]


# What a multiple-choice call with one length for each example is told.
LENGTHS_DROPPED = (
    "lengths has shape (batch,), which says nothing of the choices: it is not used, as in "
    "transformers. Give attention_mask, or lengths of shape (batch, choices)."
)


def drops_lengths(shape: tuple[int | None, ...], batch: int | None) -> bool:
    """Whether `lengths` of a multiple-choice call has one for each example, not for each choice."""
    return len(shape) == 1 and shape[0] == batch


# -- encoder-decoders ------------------------------------------------------------------------------


def check_decoder(config: XLMConfig) -> None:
    """Raise `ConfigError` unless it is the configuration of a decoder."""
    if config.is_encoder or not config.causal:
        raise ConfigError(
            f"is_encoder is {config.is_encoder} and causal {config.causal}: a decoder needs False "
            'and True, as config.part("decoder") of an encoder-decoder has them.'
        )


# What a call is told that gives a decoder nothing to read.
NO_TARGET = (
    "none of decoder_input_ids, decoder_inputs_embeds and labels was given: the decoder reads one "
    "of them. To translate, call generate(). (Trainer's label_smoothing_factor takes the labels "
    "away from the model: give decoder_input_ids beside them, as ObjectiveCollator does, and "
    "transformers' DataCollatorForSeq2Seq if it has model=.)"
)

# What transformers' encoder-decoders take and this one does not: the values by which nothing
# changes, beside None, and what to do instead.
_CACHE = "give cache=, a KeyValueCache, which this call fills"
_FROM_CACHE = "positions go on after those that cache= holds"
_OF_PEERS: dict[str, tuple[tuple[Any, ...], str]] = {
    "past_key_values": ((), _CACHE),
    "use_cache": ((False,), _CACHE),
    "cache_position": ((), _FROM_CACHE),
    "cross_attn_head_mask": (
        (),
        (
            "head_mask and decoder_head_mask are those of attention to the same sequence; "
            "attention to the source has none"
        ),
    ),
    "token_type_ids": (
        (),
        "sources have no types here; a tokenizer leaves them out with return_token_type_ids=False",
    ),
}


def without_peers_arguments(function: str, unknown: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a call of an encoder-decoder, without those of transformers that say nothing.

    Args:
        function: What the message calls the function.
        unknown: Arguments that it does not have, by name.

    Raises:
        UnknownArgumentError: For one of transformers' that would change the result.
    """
    for name, value in unknown.items():
        if name in _OF_PEERS and value is not None:
            neutral, instead = _OF_PEERS[name]
            if not any(value is each for each in neutral):
                raise UnknownArgumentError(
                    f"{function} does not take {name}, which encoder-decoders of transformers do: "
                    f"{instead}."
                )
    return {name: value for name, value in unknown.items() if name not in _OF_PEERS}
