"""The fixed sinusoidal position table."""

from __future__ import annotations

from typing import Any

import numpy as np


def sinusoidal_table(positions: int, width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The table of sines and cosines: float32, shape (positions, width).

    Entry (p, j) is the sine (j even) or cosine (j odd) of p / 10000^(2 (j // 2) / width),
    computed in float64 and rounded to float32, in every dtype of the model: checkpoints hold
    this rounded table.

    Source: create_sinusoidal_embeddings in the original's xlm/model/transformer.py.
    """
    columns = np.arange(width)
    angles = np.arange(positions)[:, None] / np.power(10000, 2 * (columns // 2) / width)
    table = np.where(columns % 2 == 0, np.sin(angles), np.cos(angles))
    return table.astype(np.float32)
