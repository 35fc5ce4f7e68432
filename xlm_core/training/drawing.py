"""The values that weights have before training, drawn from a seed: the same in both families."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xlm_core.config import XLMConfig
from xlm_core.objectives.randomness import generator_of
from xlm_core.weights import Kind, TensorSpec


def drawn_value(spec: TensorSpec, config: XLMConfig, seed: int) -> npt.NDArray[Any]:
    """The initial value of a tensor, by the rule of `XLMPreTrainedModel.init_weights`.

    Embeddings are normal with config.embed_init_std and a zero padding row, matrices normal with
    config.init_std, biases 0, norms 1 and 0.

    Args:
        spec: Of a tensor that is trained.
        config: Of its model.
        seed: Of the run; every tensor has random numbers of its own.

    Returns:
        float32, of the shape of `spec`.
    """
    if spec.kind not in (Kind.EMBEDDING, Kind.MATRIX):
        return np.full(spec.shape, spec.kind is Kind.NORM_SCALE, dtype=np.float32)
    generator = generator_of(seed, "weights", spec.path)
    value = generator.standard_normal(spec.shape, dtype=np.float32)
    value *= np.float32(config.embed_init_std if spec.kind is Kind.EMBEDDING else config.init_std)
    if spec.path.split(".")[-2:] == ["embeddings", "weight"]:
        value[config.pad_index] = 0
    return value
