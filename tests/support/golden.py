"""Outputs of the original code, which ../shared/golden/facebook/README.md describes.

Arrays of the original are time-major; here they are turned to (batch, sequence, ...).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xlm_core import XLMConfig
from xlm_core.weights import tensors_of

Array = np.ndarray[Any, Any]
ENCODER_CASES = (
    "adaptive_softmax",
    "clm_causal",
    "mlm_langs",
    "mono_one_language",
    "no_lang_emb",
    "sinusoidal_relu",
    "tlm_positions",
    "training_checkpoint_module_prefix",
    "untied_output",
)
MT_CASES = ("mt_encoder_decoder", "mt_encoder_decoder_zip")


@dataclass(frozen=True)
class Golden:
    """A case of the original.

    Attributes:
        config: Of the encoder.
        weights: Path -> float64 array, for every tensor of a language model, tied ones too.
        batch: Arguments of `XLMModel`, batch-major.
        expected: The case's own arrays, as they stand in its file.
    """

    config: XLMConfig
    weights: dict[str, Array]
    batch: dict[str, Array]
    expected: dict[str, Array]


def load_golden(name: str, shared: Callable[[str], Path]) -> Golden:
    """Read a case; for MT cases, its encoder. Trusted files: they are unpickled."""
    folder = shared(f"golden/facebook/{name}")
    content = torch.load(next(folder.glob("*.pth")), map_location="cpu", weights_only=False)
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    state = content["encoder" if "encoder" in content else "model"]
    weights = {
        key.removeprefix("module."): tensor.double().numpy() for key, tensor in state.items()
    }
    config = XLMConfig.from_facebook(
        content["params"],
        max_position_embeddings=len(weights["position_embeddings.weight"]),
        causal=bool(expected.get("causal", False)),
    )
    ids = np.ascontiguousarray(expected["x"].T)
    batch = {"input_ids": ids, "lengths": expected["lengths"]}
    if "src_lang" in expected:
        batch["langs"] = np.full_like(ids, expected["src_lang"])
    elif config.n_langs > 1:
        batch["langs"] = np.ascontiguousarray(expected["langs"].T)
    if "positions" in expected:
        batch["position_ids"] = np.ascontiguousarray(expected["positions"].T)
    missing = {spec.path for spec in tensors_of(config, "XLMWithLMHeadModel")} ^ weights.keys()
    if missing:
        raise AssertionError(f"{name}: names differ from the weight table in {sorted(missing)}")
    return Golden(config, weights, batch, expected)


def labels_of(golden: Golden) -> Array:
    """Labels that predict `y` where pred_mask says so: int64, shape (batch, sequence)."""
    mask, targets = golden.expected["pred_mask"], golden.expected["y"]
    labels = np.full(mask.shape, -100, np.int64)
    labels[mask] = targets
    return np.ascontiguousarray(labels.T)


def time_major(array: Array) -> Array:
    """(batch, sequence, ...) to (sequence, batch, ...), and back."""
    return np.swapaxes(array, 0, 1)
