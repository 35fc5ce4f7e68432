"""Write a model's tensors in any layout: into a folder, or into one file that holds everything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from xlm_core.checkpoints.fitting import BUFFERS
from xlm_core.checkpoints.layouts import LAYOUTS
from xlm_core.checkpoints.layouts.base import Layout
from xlm_core.checkpoints.layouts.sharded import ShardedLayout
from xlm_core.checkpoints.shards import index_text, is_shard_of, shard_size, split, with_variant
from xlm_core.checkpoints.weights import Weights
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import Array, LazyTensor
from xlm_core.containers.streaming import Progress
from xlm_core.errors import CheckpointError, CheckpointFileError, warn
from xlm_core.weights import ENCODER_DECODER, TensorSpec, name_of, tensors_of
from xlm_core.whole_files import written_whole

__all__ = [
    "Weights",
    "check_fits",
    "save_checkpoint",
    "saved_config",
    "warn_of_left_out",
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
    return config.of_both_parts() if weights.architecture == ENCODER_DECODER else config


def save_checkpoint(
    folder: str | os.PathLike[str],
    config: XLMConfig,
    tensors: Mapping[str, Array],
    *,
    architecture: str | None = None,
    layout: str = "safetensors",
    largest: int | str | None = None,
    variant: str | None = None,
) -> None:
    """Write config.json and the weights; an interruption leaves each file old or whole.

    Args:
        folder: Made if needed. Older weights of the same layout and variant are replaced.
        config: Written with `dtype` and `architectures` as they stand in it.
        tensors: Name in the PyTorch dialect -> array in PyTorch's orientation.
        architecture: The class whose tensors must be there, and are written as the layout has
            them; None writes what is given, under its names.
        layout: Key of `LAYOUTS`, of one that may be in several files.
        largest: Bytes in a file, or a text such as "5GB", to split larger ones; None for one file.
        variant: Part of the file names, such as "fp16" in model.fp16.safetensors.

    Raises:
        CheckpointError: If the model has no place in the layout, a tensor is missing, or the
            folder holds weights that would be opened instead.
        CheckpointFileError: If the folder is a file.
    """
    folder = Path(folder)
    safe, kept = LAYOUTS["safetensors"], LAYOUTS[layout]
    if not isinstance(kept, ShardedLayout):
        raise CheckpointError(f"{layout} is no layout to save a folder in.")
    size = None if largest is None else shard_size(largest)
    if folder.is_file():
        raise CheckpointFileError(f"{folder} is a file: expected a folder to save into.")
    if architecture is None:
        named = {name: LazyTensor.of(array) for name, array in tensors.items()}
    else:
        if architecture == "XLMModel" and "embeddings.weight" not in tensors:
            # Of a user's class with a head of its own, whose encoder lies under the stem.
            tensors = {name.removeprefix("transformer."): x for name, x in tensors.items()}
        names = {str(name_of(x, "torch", architecture)) for x in tensors_of(config, architecture)}
        warn_of_left_out(name for name in tensors if name not in names | {*BUFFERS})
        weights = Weights(config, architecture, _pairs(config, architecture, tensors))
        check_fits(weights, kept, size)
        named = kept.named(weights)
    first = [with_variant(name, variant) for name in (safe.file, safe.index)]
    instead = [name for name in first if (folder / name).exists()]
    if instead and kept.container != safe.container:
        raise CheckpointError(
            f"{folder} holds {instead[0]}, which would be opened in place of the {kept.file} "
            "that is to be saved: remove it first, or choose another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    file, index = with_variant(kept.file, variant), with_variant(kept.index, variant)
    shards = split(named, file, size)
    for shard in shards:
        with written_whole(folder / shard.file) as path:
            if len(shards) == 1:
                kept.write_file(path, shard.tensors, architecture or "XLMModel", None)
            else:
                kept.write_shard(path, shard.tensors, None)
    if len(shards) > 1:
        text = index_text(shards, kept.index_prefix(architecture or "XLMModel"))
        with written_whole(folder / index) as path:
            path.write_text(text, encoding="utf-8")
    config.save_pretrained(folder)
    # What stood there before, in one file or in several, would be taken for this model's.
    written = {shard.file for shard in shards} | ({index} if len(shards) > 1 else set())
    for old in folder.iterdir():
        is_weights = old.name in (file, index) or is_shard_of(old.name, file)
        if is_weights and old.name not in written:
            old.unlink()


def _pairs(
    config: XLMConfig, architecture: str, tensors: Mapping[str, Array]
) -> list[tuple[TensorSpec, LazyTensor]]:
    pairs, missing = [], []
    for spec in tensors_of(config, architecture):
        name = str(name_of(spec, "torch", architecture))
        if spec.tied_to is None and name in tensors:
            pairs.append((spec, LazyTensor.of(tensors[name])))
        elif spec.tied_to is None:
            missing.append(name)
    if missing:
        raise CheckpointError(
            f"the tensors to save lack {len(missing)} of {architecture}: "
            f"{', '.join(missing[:10])}. Names are those of the model's state_dict."
        )
    return pairs


def warn_of_left_out(names: Iterable[str]) -> None:
    """Warn of tensors that a model has beside those of its class: no file of it holds them.

    Args:
        names: Theirs, in the model.
    """
    found = [*names]
    if found:
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        warn(
            f"not saved: {', '.join(found[:10])}{more}: no class of this library has such tensors, "
            "so no file of it holds them. Merge adapters into the model first (merge_and_unload), "
            "or save what was added yourself."
        )
