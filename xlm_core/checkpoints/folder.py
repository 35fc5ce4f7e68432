"""The folder that both families read and write: config.json and model.safetensors.

A checkpoint is a set of lazy arrays: opening one reads names, shapes and dtypes; a tensor's bytes
are read when asked for. Writing goes to a temporary name and is renamed at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  (gives numpy, and so safetensors, bfloat16)
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from xlm_core.config import ALIASES, XLMConfig
from xlm_core.errors import CheckpointError, ConfigError, refuse_unknown_arguments
from xlm_core.weights import ARCHITECTURES
from xlm_core.whole_files import written_whole

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_OTHER_LAYOUTS = {
    "pytorch_model.bin": "transformers' PyTorch pickle",
    "pytorch_model.bin.index.json": "transformers' sharded PyTorch pickle",
    "tf_model.h5": "transformers' TensorFlow file",
}
FLOAT_DTYPES = ("float64", "float32", "float16", "bfloat16")
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "BOOL": "bool",
}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor in a file.

    Attributes:
        shape: Its shape.
        dtype: numpy's name of its dtype ("bfloat16" included).
        read: Reads it into a new array.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Checkpoint:
    """An opened folder.

    Attributes:
        config: From its config.json.
        tensors: Name -> lazy tensor.
        source: The path, for messages.
        prune: Heads to remove after loading, by layer: an override asks for more than the file.
        untie: An override unties the language model, which the file holds tied.
    """

    config: XLMConfig
    tensors: Mapping[str, LazyTensor] = field(repr=False)
    source: str
    prune: Mapping[int, list[int]] = field(default_factory=dict)
    untie: bool = False

    @property
    def architecture(self) -> str | None:
        """The class that config.json names (without `TF`), or None if it names none we know."""
        return next((name for name in _names(self.config) if name in ARCHITECTURES), None)


def open_checkpoint(path: str | os.PathLike[str], **config_overrides: Any) -> Checkpoint:
    """Open a folder with config.json and model.safetensors (or its shards).

    Args:
        path: The folder.
        config_overrides: Fields of the configuration to replace.

    Raises:
        CheckpointError: If the folder or its files are missing or damaged.
        ConfigError: If the configuration is.
        UnknownArgumentError: For an override that is no field.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise CheckpointError(
            f"no folder at {folder}: expected one with config.json and {WEIGHTS_FILE}."
        )
    config = XLMConfig.from_pretrained(folder)
    known = {*XLMConfig.__dataclass_fields__, *ALIASES, "num_labels", *config.extra}
    refuse_unknown_arguments(
        "from_pretrained",
        config_overrides.keys() - (known - {"dtype", "torch_dtype"}),
        ["dtype", "ignore_mismatched_sizes", "and every field of the configuration"],
    )
    prune: dict[int, list[int]] = {}
    tied = config.ties_output and "XLMWithLMHeadModel" in _names(config)
    if config_overrides:
        in_file = config.pruned_heads or {}
        config = config.copy(**config_overrides)
        if config.pruned_heads != in_file:
            # The tensors have the heads that the file has; the others go once they are loaded.
            prune = config.pruned_heads or {}
            if any(set(heads) - set(prune.get(layer, ())) for layer, heads in in_file.items()):
                raise CheckpointError(
                    f"{folder} lacks the heads {in_file}, which pruned_heads={prune} would keep: "
                    "heads that were pruned cannot come back."
                )
            config = config.copy(pruned_heads=in_file)
    untie = tied and not config.ties_output
    return Checkpoint(config, dict(_tensors(folder)), str(folder), prune, untie)


def _names(config: XLMConfig) -> list[str]:
    """The classes that a configuration names, without `TF`."""
    return [name.removeprefix("TF") for name in config.architectures or ()]


def _tensors(folder: Path) -> Iterator[tuple[str, LazyTensor]]:
    if (folder / WEIGHTS_FILE).is_file():
        yield from _read_safetensors(folder / WEIGHTS_FILE)
    elif (folder / INDEX_FILE).is_file():
        yield from _read_shards(folder / INDEX_FILE)
    else:
        found = [
            f"{name} ({what})" for name, what in _OTHER_LAYOUTS.items() if (folder / name).exists()
        ]
        hint = f" Found {', '.join(found)}, which this version does not open." if found else ""
        raise CheckpointError(f"{folder} holds no {WEIGHTS_FILE}.{hint}")


def _read_shards(index: Path) -> Iterator[tuple[str, LazyTensor]]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        wanted: dict[str, set[str]] = {}
        for name, file in weight_map.items():
            if not isinstance(file, str):
                raise TypeError(f"the shard of {name!r} is {file!r}")
            wanted.setdefault(file, set()).add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is not an index of shards: {error!r}") from error
    for file, names in sorted(wanted.items()):
        shard = index.parent / file
        if Path(file).name != file or not shard.is_file():
            raise CheckpointError(f"{index} names the shard {file!r}, which is no file beside it.")
        tensors = dict(_read_safetensors(shard))
        if tensors.keys() != names:
            raise CheckpointError(
                f"{shard}: its tensors are not those that {index.name} names for it; "
                f"they differ in {sorted(tensors.keys() ^ names)[:5]}."
            )
        yield from tensors.items()


def _read_safetensors(file: Path) -> Iterator[tuple[str, LazyTensor]]:
    try:
        handle = safe_open(file, framework="numpy")
        metadata = handle.metadata() or {}
        if metadata.get("format") == "tf":
            raise CheckpointError(
                f"{file} was written by TensorFlow (other names, transposed matrices): this "
                "version opens files in PyTorch's orientation only."
            )
        for name in handle.keys():  # noqa: SIM118  (not a mapping)
            entry = handle.get_slice(name)
            dtype = _DTYPES.get(entry.get_dtype())
            if dtype is None:
                raise CheckpointError(
                    f"{file}: {name} has dtype {entry.get_dtype()}; expected one of "
                    f"{', '.join(_DTYPES)}."
                )
            yield name, LazyTensor(tuple(entry.get_shape()), dtype, _reader(handle, name))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or no safetensors file: {error}") from error


def _reader(handle: Any, name: str) -> Callable[[], np.ndarray[Any, Any]]:
    return lambda: handle.get_tensor(name)


def float_dtype_name(dtype: Any, in_file: set[str], *others: str) -> str:
    """The name of the dtype that `from_pretrained` was asked for.

    Args:
        dtype: A dtype of any framework or of numpy, or its name; None is float32, "auto" the
            dtype of the file.
        in_file: Names of the dtypes in the file.
        others: Further names that the caller accepts, for the message.

    Raises:
        ConfigError: If it is no float dtype.
    """
    if dtype is None:
        return "float32"
    if isinstance(dtype, str) and dtype == "auto":
        return next(iter(in_file)) if len(in_file) == 1 else "float32"
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    name = name.removeprefix("torch.").removeprefix("tf.")
    name = {"double": "float64", "half": "float16"}.get(name, name)
    if name not in FLOAT_DTYPES:
        raise ConfigError(
            f"dtype is {dtype!r}: expected one of {', '.join([*FLOAT_DTYPES, *others])} (the "
            "framework's own or by name), or 'auto'."
        )
    return name


def save_checkpoint(
    folder: str | os.PathLike[str], config: XLMConfig, tensors: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    """Write config.json and model.safetensors; an interruption leaves each file old or whole.

    Args:
        folder: Made if needed.
        config: Written with `dtype` and `architectures` as they stand in it.
        tensors: Name in the PyTorch dialect -> array in PyTorch's orientation.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / WEIGHTS_FILE) as file:
        contiguous = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
        save_file(contiguous, file, metadata={"format": "pt"})
    config.save_pretrained(folder)
