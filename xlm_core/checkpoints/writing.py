"""Write a model's tensors in any layout: into a folder, or into one file that holds everything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from xlm_core.checkpoints.layouts import Layout, why_not
from xlm_core.checkpoints.layouts.facebook import compose
from xlm_core.checkpoints.layouts.keras import write_keras, write_keras_weights
from xlm_core.checkpoints.layouts.tf import MODEL_NAMES, write_tf, write_tf_shard
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.original import Original
from xlm_core.checkpoints.shards import index_text, split
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import Array, LazyTensor
from xlm_core.containers.safetensors import write_safetensors
from xlm_core.containers.streaming import Progress
from xlm_core.containers.torch_files.writing import write_torch
from xlm_core.errors import CheckpointError
from xlm_core.weights import (
    ENCODER_DECODER,
    TensorSpec,
    is_transposed,
    name_of,
    tensors_of,
)
from xlm_core.whole_files import written_whole


@dataclass(frozen=True)
class Weights:
    """A model as its tensors.

    Attributes:
        config: Its configuration.
        architecture: Its class.
        tensors: Every tensor of the weight table that is not tied, in PyTorch's orientation.
        original: What it had beside its tensors in the original's file.
    """

    config: XLMConfig
    architecture: str
    tensors: Sequence[tuple[TensorSpec, LazyTensor]]
    original: Original | None = None

    @property
    def dtypes(self) -> list[str]:
        """Names of the dtypes of the tensors."""
        return sorted({tensor.dtype for _, tensor in self.tensors})

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for _, tensor in self.tensors)

    def named(self, layout: Layout) -> dict[str, LazyTensor]:
        """The tensors as they lie in a layout, under their names there.

        Tied ones come again in the layouts that list them twice.
        """
        owned = {spec.path: tensor for spec, tensor in self.tensors}
        repeats = layout.name in ("torch", "facebook")
        result: dict[str, LazyTensor] = {}
        for spec in tensors_of(self.config, self.architecture):
            if spec.tied_to is not None and not repeats:
                continue
            name = name_of(spec, layout.dialect, self.architecture)
            tensor = owned.get(spec.tied_to or spec.path)
            if name is not None and tensor is not None:
                transposed = is_transposed(spec, layout.dialect)
                result[name] = tensor.transposed() if transposed else tensor
        return result


def check_fits(weights: Weights, layout: Layout, largest: int | None = None) -> None:
    """Raise `CheckpointError` where a model has no place in a layout, with the reason."""
    reason = why_not(layout, weights.config, weights.architecture, weights.dtypes)
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
    """Write a folder: the weights, config.json, and the original's data if there is any.

    Args:
        folder: An existing folder; the caller makes sure that it appears whole.
        weights: What to write; `check_fits` was asked.
        layout: How.
        largest: Bytes in a file, to split larger ones; None for a single file.
        progress: See `filling.fill`.
    """
    config = saved_config(weights)
    if layout.dialect == "tf" and weights.architecture == "XLMForMultipleChoice":
        # transformers' TensorFlow class reads it, though its configuration has no such field.
        config.extra.setdefault("initializer_range", config.init_std)
    if layout.dialect == "facebook":
        write_alone(folder / layout.file, weights, layout, progress=progress)
        return
    named = weights.named(layout)
    if layout.name == "keras":
        write_keras_weights(folder / layout.file, named, progress)
    else:
        shards = split(named, layout.file, largest)
        alone = len(shards) == 1
        for shard in shards:
            path = folder / shard.file
            if layout.name == "torch":
                write_torch(path, shard.tensors, progress=progress)
            elif layout.name != "tf":
                form = "tf" if layout.dialect == "tf" else "pt"
                write_safetensors(path, shard.tensors, {"format": form}, progress)
            elif alone:
                write_tf(path, shard.tensors, weights.architecture, progress)
            else:
                write_tf_shard(path, shard.tensors, progress)
        if not alone:
            # TensorFlow's index has the model's name before each variable's.
            model = f"{MODEL_NAMES[weights.architecture]}/" if layout.dialect == "tf" else ""
            (folder / layout.index).write_text(index_text(shards, model), encoding="utf-8")
    config.save_pretrained(folder)
    if weights.original is not None:
        (folder / ORIGINAL_FILE).write_text(weights.original.to_json(), encoding="utf-8")


def write_alone(
    path: Path, weights: Weights, layout: Layout, *, progress: Progress | None = None
) -> None:
    """Write one file that holds everything, configuration included; see `write_folder`."""
    named, config = weights.named(layout), saved_config(weights)
    if layout.name == "facebook":
        original = weights.original or Original()
        content = compose(named, config, weights.architecture, original)
        # The form that the original's PyTorch knows, and every later one.
        write_torch(path, content, legacy=True, progress=progress)
    elif layout.name == "keras":
        dtype = config.dtype or "float32"
        write_keras(path, named, config, weights.architecture, dtype, progress)
    else:
        raise CheckpointError(f"{layout.name} is a folder, not a file: {path} cannot hold it.")


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
    with written_whole(folder / "model.safetensors") as file:
        write_safetensors(file, lazy, {"format": "pt"})
    config.save_pretrained(folder)
