"""How often each language is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from xlm_core.errors import ConfigError


def language_probabilities(
    sentences: Sequence[int], factor: float = -1.0
) -> npt.NDArray[np.float64]:
    """With which probability each language, or pair, is drawn.

    Source: Lample & Conneau 2019, section 3.1; set_sampling_probs in xlm/utils.py of the original.

    Args:
        sentences: How many each has.
        factor: Exponent of their shares, 0.7 in the published model of 17 languages; -1: all
            alike.

    Returns:
        float64, shape (languages,), which sum to 1.

    Raises:
        ConfigError: If a language has no sentence, or the factor is neither -1 nor positive.
    """
    counts = np.asarray(sentences, dtype=np.float64)
    if not len(counts) or not (counts >= 1).all():
        raise ConfigError(f"languages have {sentences!r:.80} sentences: expected some of each.")
    if factor != -1 and not 0 < factor < np.inf:
        raise ConfigError(f"lg_sampling_factor is {factor!r}: expected -1 or a positive number.")
    # Of the largest, not of all: no factor then makes all of them 0.
    weights = np.ones_like(counts) if factor == -1 else (counts / counts.max()) ** factor
    probabilities: npt.NDArray[np.float64] = weights / weights.sum()
    return probabilities
