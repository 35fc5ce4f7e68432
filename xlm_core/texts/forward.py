"""What is asked of a model: a batch of ids, and the forward passes that a family runs on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from xlm_core.config import XLMConfig

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]
# What a model predicts: the next token, a masked one, or the next one of a translation.
Kind: TypeAlias = Literal["causal", "masked", "translation"]


@dataclass(frozen=True)
class Batch:
    """Rows of ids, padded on the right.

    Attributes:
        input_ids: int64, shape (batch, sequence).
        attention_mask: int64, shape (batch, sequence): 1 for tokens.
        langs: int64, shape (batch, sequence): the language of each position; None without.
    """

    input_ids: Array
    attention_mask: Array
    langs: Array | None

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], langs: Sequence[int | None], padding: int) -> Batch:
        """Pad rows of ids.

        Args:
            rows: The ids of each.
            langs: The language of each; None for models without languages.
            padding: The id that fills up.
        """
        lengths = np.array([len(row) for row in rows])
        shape = (len(rows), int(lengths.max()))
        tokens = np.arange(shape[1]) < lengths[:, None]
        input_ids = np.full(shape, padding, dtype=np.int64)
        input_ids[tokens] = np.concatenate([np.asarray(row, dtype=np.int64) for row in rows])
        known = [lang for lang in langs if lang is not None]
        return cls(
            input_ids,
            tokens.astype(np.int64),
            np.repeat(np.array(known, dtype=np.int64)[:, None], shape[1], axis=1)
            if known
            else None,
        )


class Forward(Protocol):
    """The forward passes of one model, without dropout and without gradients.

    Numbers come back as float32, from a float64 model as float64.
    """

    @property
    def config(self) -> XLMConfig:
        """The model's."""

    @property
    def layers(self) -> int:
        """How many the encoder has."""

    @property
    def name(self) -> str:
        """Name of the model's class, for messages."""

    @property
    def kind(self) -> Kind | None:
        """What its output layer predicts; None without one."""

    def hidden_states(
        self, batch: Batch, *, layer: int, positions: Array | int | None = None
    ) -> Array:
        """What a layer makes of a batch.

        Args:
            batch: The ids.
            layer: 0 for the embeddings, 1 for the first layer's output, and so on.
            positions: As `output_positions` of the encoder: those that are looked at.

        Returns:
            float, shape (batch, sequence, hidden).
        """

    def log_probs(self, batch: Batch, positions: Array) -> Array:
        """Log-probabilities of the whole vocabulary.

        Args:
            batch: The ids.
            positions: bool, shape (batch, sequence): where to predict.

        Returns:
            float, shape (predictions, vocabulary), row after row of the batch.
        """

    def token_log_probs(
        self, batch: Batch, positions: Array, tokens: Array, source: Batch | None = None
    ) -> Array:
        """Log-probabilities of given tokens.

        Args:
            batch: The ids; of an encoder-decoder, those of its decoder.
            positions: bool, shape (batch, sequence): where to predict.
            tokens: int64, shape (predictions,), row after row of the batch.
            source: What an encoder-decoder translates.

        Returns:
            float, shape (predictions,).
        """
