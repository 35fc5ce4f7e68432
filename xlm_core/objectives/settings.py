"""How batches are made: the original's options, with its defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError


@dataclass(frozen=True)
class SpecialIds:
    """The ids that framing, padding and masking need, and the number of words.

    Attributes:
        eos: `</s>`, which begins and ends every sentence.
        pad: Padding.
        mask: Stands for a masked word.
        words: Size of the vocabulary.
    """

    eos: int
    pad: int
    mask: int
    words: int

    @classmethod
    def of(cls, config: XLMConfig) -> SpecialIds:
        """Those of a model."""
        return cls(config.eos_index, config.pad_index, config.mask_index, config.vocab_size)


@dataclass(frozen=True)
class ObjectiveSettings:
    """How batches are made. Names and defaults are the original's, but for `parts`.

    Attributes:
        batch_size: Sentences (of streams: rows) a batch; None: by tokens_per_batch.
        tokens_per_batch: Tokens a batch of sentences, both of a pair and their `</s>` counted; a
            stream has as many whole rows as fit, and at least one. None: by batch_size.
        max_batch_size: At most so many sentences a batch, the others of it are left out of this
            pass; 0: any number.
        bptt: Tokens of a row of a stream.
        max_len: Longest sentence of a pair, without `</s>`; longer ones are left out; 0: none.
        group_by_size: Whether sentences of similar length share a batch.
        word_pred: Share of words that are predicted.
        word_mask, word_keep, word_rand: What becomes of these: masked, kept, replaced by a word
            drawn from the whole vocabulary.
        sample_alpha: Words are chosen with probability count ** -sample_alpha; 0: all alike.
        context_size: Causal modelling predicts nothing from fewer words than this.
        lg_sampling_factor: Languages are drawn with probability share ** factor; -1: all alike.
        parts: Of a global batch, each with a draw of a language and a batch of its own: in the
            original, one a GPU.
        multiple_of: Make sentences, positions and predicted words a multiple of this, as the
            original does with 8 in half precision; 1: leave them.

    Raises:
        ConfigError: For values that cannot be.
    """

    batch_size: int | None = None
    tokens_per_batch: int | None = None
    max_batch_size: int = 0
    bptt: int = 256
    max_len: int = 100
    group_by_size: bool = True
    word_pred: float = 0.15
    word_mask: float = 0.8
    word_keep: float = 0.1
    word_rand: float = 0.1
    sample_alpha: float = 0.0
    context_size: int = 0
    lg_sampling_factor: float = -1.0
    parts: int = 1
    multiple_of: int = 1

    def __post_init__(self) -> None:
        for each in fields(self):
            if isinstance(value := getattr(self, each.name), np.generic):
                object.__setattr__(self, each.name, value.item())
        if self.batch_size is not None and self.tokens_per_batch is not None:
            raise ConfigError(
                f"a batch is given both in sentences (batch_size={self.batch_size}) and in tokens "
                f"(tokens_per_batch={self.tokens_per_batch}): give one of them."
            )
        if self.batch_size is None and self.tokens_per_batch is None:
            object.__setattr__(self, "batch_size", 32)
        _check(self, "a positive whole number", ("bptt", "parts", "multiple_of"), _is_positive)
        for name in ("batch_size", "tokens_per_batch"):
            if getattr(self, name) is not None:
                _check(self, "a positive whole number", (name,), _is_positive)
        whole = ("max_batch_size", "max_len", "context_size")
        _check(self, "a whole number from 0", whole, lambda x: _is_whole(x) and x >= 0)
        _check(self, "a share, above 0 and at most 1", ("word_pred",), lambda x: 0 < x <= 1)
        shares = ("word_mask", "word_keep", "word_rand")
        _check(self, "a share, from 0 to 1", shares, lambda x: 0 <= x <= 1)
        if abs(sum(getattr(self, name) for name in shares) - 1) > 1e-9:
            found = ", ".join(f"{name}={getattr(self, name)}" for name in shares)
            raise ConfigError(f"{found}: expected shares that add up to 1.")
        _check(self, "a number from 0", ("sample_alpha",), lambda x: x >= 0)
        if not isinstance(self.group_by_size, bool):
            raise ConfigError(f"group_by_size is {self.group_by_size!r}: expected true or false.")
        factor = ("lg_sampling_factor",)
        _check(self, "-1 or a positive number", factor, lambda x: x == -1 or x > 0)

    @property
    def stream_rows(self) -> int:
        """Rows of a batch of running text."""
        if self.batch_size is not None:
            return self.batch_size
        return max(1, (self.tokens_per_batch or 0) // self.bptt)


def settings_of(given: ObjectiveSettings | None) -> ObjectiveSettings:
    """What was given, or the defaults.

    Raises:
        ConfigError: For anything else, such as a dict.
    """
    if given is not None and not isinstance(given, ObjectiveSettings):
        raise ConfigError(
            f"settings is a {type(given).__name__}: expected ObjectiveSettings(batch_size=32), for "
            "instance."
        )
    return given or ObjectiveSettings()


# The largest whole number of a setting; no memory holds a batch of more.
LARGEST = 2**31 - 1


def _check(settings: ObjectiveSettings, expected: str, names: tuple[str, ...], fits: Any) -> None:
    for name in names:
        value = getattr(settings, name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_number and isinstance(value, int) and value > LARGEST:
            raise ConfigError(f"{name} is {value}: expected at most {LARGEST}.")
        if not (is_number and math.isfinite(value) and fits(value)):
            raise ConfigError(f"{name} is {value!r}: expected {expected}.")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int)


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and value > 0


SETTING_NAMES = tuple(field.name for field in fields(ObjectiveSettings))
