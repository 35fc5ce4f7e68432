"""The model of a run: its weights drawn, or those of a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xlm_core.tokenization.tokenizer import XLMTokenizer
from xlm_core.training.config import TrainingConfig
from xlm_core.training.data import TrainingData
from xlm_core.training.starting import (
    StartingPoint,
    StartReport,
    starting_point,
    starting_point_from,
)
from xlm_tf.language_model import TFXLMWithLMHeadModel
from xlm_tf.translation import TFXLMForConditionalGeneration

_CLASSES: dict[str, Any] = {
    "XLMWithLMHeadModel": TFXLMWithLMHeadModel,
    "XLMForConditionalGeneration": TFXLMForConditionalGeneration,
}


def start_model(
    config: TrainingConfig,
    data: TrainingData,
    *,
    base: str | os.PathLike[str] = ".",
    resumed: Path | None = None,
    dtype: Any = None,
) -> tuple[Any, StartReport]:
    """The model of a run: an encoder-decoder if it translates, else a language model.

    Weights that are drawn are the same in both families.

    Args:
        config: Of the run; its section "start" says what the weights start from.
        data: Of the run: tokenizer and languages.
        base: What relative paths of checkpoints are relative to.
        resumed: The checkpoint of this run that it goes on from. It holds the model, and what the
            run started from is not opened again.
        dtype: Of the weights, or a policy of Keras; None: as `config.precision` says, float32
            for half types.

    Returns:
        The model, and what was copied, drawn and left out.

    Raises:
        ConfigError, CheckpointError, TokenizerError: As `start_from`.
    """
    if dtype is None:
        dtype = "float64" if config.precision == "float64" else "float32"
    return _model_of(starting_point(config, data, base, resumed=resumed), dtype)


def start_from(
    tokenizer: XLMTokenizer,
    *,
    model: str | os.PathLike[str] | None = None,
    encoder: str | os.PathLike[str] | None = None,
    decoder: str | os.PathLike[str] | None = None,
    match: str = "all",
    lang2id: Mapping[str, int] | None = None,
    languages: Sequence[str] | None = None,
    translates: bool = False,
    causal: bool | None = None,
    fields: Mapping[str, Any] | None = None,
    seed: int = 0,
    dtype: Any = None,
) -> tuple[Any, StartReport]:
    """A model for a tokenizer and languages, from a checkpoint, or from those of its parts.

    Args:
        tokenizer, model, encoder, decoder, match, lang2id, languages, translates, causal, fields,
            seed: As in `xlm_core.training.starting.starting_point_from`.
        dtype: As in `from_pretrained`.

    Returns:
        As `start_model`.

    Raises:
        ConfigError, CheckpointError, TokenizerError: As there.
    """
    start = starting_point_from(
        tokenizer,
        model=model,
        encoder=encoder,
        decoder=decoder,
        match=match,
        lang2id=lang2id,
        languages=languages,
        translates=translates,
        causal=causal,
        fields=fields,
        seed=seed,
    )
    return _model_of(start, dtype)


def _model_of(start: StartingPoint, dtype: Any) -> tuple[Any, StartReport]:
    model = _CLASSES[start.architecture]._from_checkpoint(start.checkpoint, dtype)
    return model, start.report
