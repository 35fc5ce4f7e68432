"""Write a model's tensors in any layout: into a folder, or into one file that holds everything."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from xlm_core.checkpoints.layouts.base import Layout
from xlm_core.checkpoints.layouts.safetensors import SafetensorsLayout
from xlm_core.checkpoints.weights import Weights
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import Array, LazyTensor
from xlm_core.containers.streaming import Progress
from xlm_core.errors import CheckpointError
from xlm_core.weights import ENCODER_DECODER
from xlm_core.whole_files import written_whole

__all__ = [
    "Weights",
    "check_fits",
    "save_checkpoint",
    "saved_config",
    "write_alone",
    "write_folder",
]


def check_fits(weights: Weights, layout: Layout, largest: int | None = None) -> None:
    """Raise `CheckpointError` where a model has no place in a layout, with the reason."""
    reason = layout.why_not(weights.config, weights.architecture, weights.dtypes)
    if reason is None and largest is not None and not layout.sharded:
        reason = "it is always one file"
    if reason is not None:
        raise CheckpointError(
            f"{weights.architecture} cannot be written as {layout.name} ({layout.title}): {reason}."
        )


def write_folder(
    folder: Path,
    weights: Weights,
    layout: Layout,
    *,
    largest: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a folder: the weights, and the layout's text files but for the tokenizer's.

    Args:
        folder: An existing folder; the caller makes sure that it appears whole.
        weights: What to write; `check_fits` was asked.
        layout: How.
        largest: Bytes in a file, to split larger ones; None for a single file.
        progress: Called with numbers of bytes, from several threads.
    """
    config = layout.config_in_folder(saved_config(weights), weights.architecture)
    weights = replace(weights, config=config)
    layout.write_weights(folder, weights, largest=largest, progress=progress)
    files = layout.text_files
    if files.config:
        config.save_pretrained(folder)
    if files.original is not None and weights.original is not None:
        (folder / files.original).write_text(weights.original.to_json(), encoding="utf-8")


def write_alone(
    path: Path, weights: Weights, layout: Layout, *, progress: Progress | None = None
) -> None:
    """Write one file that holds everything, configuration included; see `write_folder`."""
    weights = replace(weights, config=saved_config(weights))
    layout.write_alone(path, weights, progress=progress)


def saved_config(weights: Weights) -> XLMConfig:
    """The configuration as a file says it: with the class and the dtype of the tensors."""
    dtypes = weights.dtypes
    values = {
        "architectures": [weights.architecture],
        "dtype": dtypes[0] if len(dtypes) == 1 else "float32",
    }
    config = weights.config.copy(**values)
    if weights.architecture == ENCODER_DECODER:
        # No class for encoders opens it by mistake.
        config = config.copy(is_encoder=False)
        config.extra["is_encoder_decoder"] = True
    return config


def save_checkpoint(
    folder: str | os.PathLike[str], config: XLMConfig, tensors: Mapping[str, Array]
) -> None:
    """Write config.json and model.safetensors; an interruption leaves each file old or whole.

    Args:
        folder: Made if needed.
        config: Written with `dtype` and `architectures` as they stand in it.
        tensors: Name in the PyTorch dialect -> array in PyTorch's orientation.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lazy = {name: LazyTensor.of(array) for name, array in tensors.items()}
    layout = SafetensorsLayout()
    with written_whole(folder / layout.file) as file:
        layout.write_shard(file, lazy, None)
    config.save_pretrained(folder)
