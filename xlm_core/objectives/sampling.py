"""How often each language is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


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
    """
    counts = np.asarray(sentences, dtype=np.float64)
    weights = np.ones_like(counts) if factor == -1 else (counts / counts.sum()) ** factor
    probabilities: npt.NDArray[np.float64] = weights / weights.sum()
    return probabilities
