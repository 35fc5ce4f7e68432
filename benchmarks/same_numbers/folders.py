"""Folders that both families open: config.json and random weights as safetensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.same_numbers.cases import Model, generator


def write_folder(model: Model, folder: Path) -> Path:
    """The folder of a model; biases, norms and the padding row are random too."""
    from xlm_core import XLMConfig
    from xlm_core.weights import Kind, name_of, tensors_of

    config = XLMConfig(**model.config, architectures=[model.architecture])
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config.to_json_string(), encoding="utf-8")
    arrays = {}
    for spec in tensors_of(config, model.architecture):
        if spec.tied_to is not None or not spec.trainable:
            continue
        rng = generator("weights", model.name, spec.path)
        if spec.kind is Kind.MATRIX:
            array = rng.standard_normal(spec.shape) * 1.5 / np.sqrt(spec.shape[1])
        elif spec.kind is Kind.NORM_SCALE:
            array = 1 + 0.3 * rng.standard_normal(spec.shape)
        else:
            array = rng.standard_normal(spec.shape) * (1 if spec.kind is Kind.EMBEDDING else 0.5)
        arrays[str(name_of(spec, "torch", model.architecture))] = array.astype(np.float32)
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
