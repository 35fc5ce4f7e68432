"""Masked language modelling: which words are predicted, and what stands in their place.

Source: Lample & Conneau 2019, section 3.3; mask_out in xlm/trainer.py and in
xlm/evaluation/evaluator.py of the original.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xlm_core.errors import ConfigError
from xlm_core.objectives.batch import IGNORED, Ids, Mask
from xlm_core.objectives.settings import ObjectiveSettings, SpecialIds


class Masking:
    """The masks of a run.

    Args:
        settings: word_pred, word_mask, word_keep, word_rand, sample_alpha, multiple_of.
        ids: Of the vocabulary.
        counts: How often each id was seen, 0 for special tokens; needed for sample_alpha.

    Raises:
        ConfigError: If sample_alpha needs counts, and there are none or too few.
    """

    def __init__(
        self,
        settings: ObjectiveSettings,
        ids: SpecialIds,
        counts: Sequence[int] | npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.settings, self.ids = settings, ids
        # Logarithms of how seldom each id is chosen; infinite: never.
        self._reluctance: npt.NDArray[np.float64] | None = None
        if settings.sample_alpha:
            if counts is None or len(counts) != ids.words:
                found = "no counts" if counts is None else f"counts of {len(counts)} words"
                raise ConfigError(
                    f"sample_alpha is {settings.sample_alpha}: expected how often each of the "
                    f"{ids.words} words was seen, found {found}."
                )
            seen = np.asarray(counts, dtype=np.float64)
            reluctance = settings.sample_alpha * np.log(np.maximum(seen, 1))
            reluctance[seen == 0] = np.inf
            reluctance[ids.pad] = np.inf
            if not np.isfinite(reluctance).any():
                raise ConfigError(
                    f"sample_alpha is {settings.sample_alpha}, and no word was seen: give the "
                    "counts of the text, or sample_alpha 0."
                )
            self._reluctance = reluctance

    def mask(self, input_ids: Ids, lengths: Ids, generator: np.random.Generator) -> tuple[Ids, Ids]:
        """Mask a batch for training.

        Never predicted are the first position of a row and padding.

        Args:
            input_ids: int64, shape (batch, sequence).
            lengths: int64, shape (batch,).
            generator: Draws everything.

        Returns:
            The ids, some of them replaced, and the labels: both int64, shape (batch, sequence).
        """
        allowed = np.arange(input_ids.shape[1]) < lengths[:, None]
        allowed[:, 0] = False
        chosen = self._choose(input_ids, generator) & allowed
        _round_down(chosen, self.settings.multiple_of)
        labels = np.where(chosen, input_ids, IGNORED)
        number = int(np.count_nonzero(chosen))
        what, words = generator.random(number), generator.integers(self.ids.words, size=number)
        new = input_ids[chosen]
        masked = what < self.settings.word_mask
        new[masked] = self.ids.mask
        drawn = what >= self.settings.word_mask + self.settings.word_keep
        new[drawn] = words[drawn]
        replaced = input_ids.copy()
        replaced[chosen] = new
        return replaced, labels

    def _choose(self, input_ids: Ids, generator: np.random.Generator) -> Mask:
        """bool, shape (batch, sequence): each word by chance, or a fixed number by frequency."""
        drawn = generator.random(input_ids.shape)
        if self._reluctance is None:
            return np.asarray(drawn < self.settings.word_pred)
        # The smallest of exponential times with these rates are a sample without replacement;
        # here their logarithms, which no exponent makes 0 or infinite.
        reluctance = self._reluctance[input_ids]
        with np.errstate(divide="ignore"):
            times = np.log(-np.log1p(-drawn)) + reluctance
        wanted = math.ceil(self.settings.word_pred * input_ids.size)
        number = min(wanted, int(np.count_nonzero(np.isfinite(reluctance))))
        chosen = np.zeros(input_ids.size, dtype=bool)
        if number:
            chosen[np.argpartition(times, number - 1, axis=None)[:number]] = True
        return chosen.reshape(input_ids.shape)

    def mask_for_evaluation(
        self, input_ids: Ids, lengths: Ids, generator: np.random.RandomState
    ) -> tuple[Ids, Ids]:
        """Mask a batch for evaluation: at least one word a sentence, and never its ends.

        With numpy's RandomState(0), from batch to batch, the original's choice.

        Args:
            input_ids: int64, shape (batch, sequence).
            lengths: int64, shape (batch,).
            generator: Draws the words.

        Returns:
            As `mask`; every word that is predicted is masked.
        """
        rows, sequence = input_ids.shape
        # The original's axes are (sequence, batch).
        chosen = (generator.rand(sequence, rows) <= self.settings.word_pred).T
        chosen[:, 0] = False
        for row, length in enumerate(lengths.tolist()):
            chosen[row, length - 1 :] = False
            if length > 2 and not chosen[row].any():
                chosen[row, generator.randint(1, length - 1)] = True
        labels = np.where(chosen, input_ids, IGNORED)
        return np.where(chosen, self.ids.mask, input_ids), labels


def _round_down(chosen: Mask, multiple: int) -> None:
    """Drop the first of the chosen, by position and then by row, until a multiple is left."""
    if multiple > 1:
        positions, rows = np.nonzero(chosen.T)
        too_many = len(rows) % multiple if len(rows) >= multiple else 0
        chosen[rows[:too_many], positions[:too_many]] = False
