"""Small checkpoints with perturbed weights, written without any framework."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.cases import random_weights
from xlm_core import XLMConfig
from xlm_core.checkpoints import save_checkpoint
from xlm_core.weights import name_of, tensors_of

FRAMEWORKS = ("torch", "tensorflow", "keras")


def require_frameworks(*others: str) -> None:
    """Skip where PyTorch, TensorFlow or one of `others` is absent; in CI, fail."""
    absent = [name for name in (*FRAMEWORKS, *others) if importlib.util.find_spec(name) is None]
    if absent:
        reason = f"{', '.join(absent)} not installed: this test compares PyTorch and TensorFlow"
        if os.environ.get("CI"):
            pytest.fail(reason)
        print(reason)
        pytest.skip(reason)


def small_config(architecture: str = "XLMWithLMHeadModel", **values: Any) -> XLMConfig:
    """Three layers; all sizes differ."""
    small = {
        "vocab_size": 53,
        "emb_dim": 12,
        "n_layers": 3,
        "n_heads": 4,
        "n_langs": 5,
        "max_position_embeddings": 19,
        "num_labels": 2 if architecture == "XLMForQuestionAnsweringSimple" else 7,
        "architectures": [architecture],
    }
    return XLMConfig(**{**small, **values})


def write_checkpoint(
    folder: Path, architecture: str = "XLMWithLMHeadModel", **values: Any
) -> XLMConfig:
    """Save a model of `small_config` with random weights, biases and norms."""
    config = small_config(architecture, **values)
    weights = random_weights(config, architecture, np.random.default_rng(7))
    specs = {spec.path: spec for spec in tensors_of(config, architecture)}
    tensors = {
        str(name_of(specs[path], "torch", architecture)): array.astype(np.float32)
        for path, array in weights.items()
    }
    save_checkpoint(folder, config, tensors)
    return config
