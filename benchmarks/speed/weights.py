"""The folder of random weights that all contenders open.

python -m benchmarks.speed.weights FOLDER [SHAPE as JSON]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from benchmarks.speed.tasks import Shape
from xlm_core import XLMConfig
from xlm_core.checkpoints import LAYOUTS, LazyTensor
from xlm_core.checkpoints.writing import Weights, write_folder
from xlm_core.weights import tensors_of
from xlm_core.weights.table import Kind, TensorSpec

HEAD = "XLMWithLMHeadModel"
SCALE = 0.03  # about that of the published initialisation at width 1024


def build(folder: Path, shape: Shape) -> None:
    """A language model in the layouts "torch" (which PyTorch and xlm_tf open) and "tf" (TFXLM)."""
    config = XLMConfig(**shape.config(), architectures=[HEAD])
    rng = np.random.default_rng(0)
    tensors = [
        (spec, LazyTensor.of(values_of(spec, rng)))
        for spec in tensors_of(config, HEAD)
        if spec.tied_to is None
    ]
    for layout, target in (("safetensors", "torch"), ("tf", "tf")):
        (folder / target).mkdir(parents=True)
        write_folder(folder / target, Weights(config, HEAD, tensors), LAYOUTS[layout])


def values_of(spec: TensorSpec, rng: np.random.Generator) -> np.ndarray:
    """Normal; the scale of a layer norm is about 1, as in a trained model."""
    values = rng.standard_normal(spec.shape, np.float32) * np.float32(SCALE)
    return values + np.float32(spec.kind is Kind.NORM_SCALE)


if __name__ == "__main__":
    build(Path(sys.argv[1]), Shape(**json.loads(sys.argv[2] if len(sys.argv) > 2 else "{}")))
