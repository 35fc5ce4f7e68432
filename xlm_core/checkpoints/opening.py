"""Open a checkpoint of any layout: which files it is, what they hold, under which names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import xlm_core.checkpoints.layouts.keras as keras_files
import xlm_core.checkpoints.layouts.tf as tf_files
import xlm_core.hub.fetching as hub
from xlm_core.checkpoints.layouts import LAYOUTS, WEIGHT_FILES
from xlm_core.checkpoints.layouts.facebook import interpret, is_facebook
from xlm_core.checkpoints.naming import architecture_in, canonical_names, classes_named
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.original import Original, read_original
from xlm_core.checkpoints.shards import read_shards
from xlm_core.config import ALIASES, XLMConfig
from xlm_core.containers.archives.reading import members
from xlm_core.containers.hdf5.reading import read_hdf5
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.safetensors import read_safetensors
from xlm_core.containers.sources import FileSource, read_bytes
from xlm_core.containers.torch_files.reading import read_torch
from xlm_core.errors import CheckpointError, refuse_unknown_arguments, warn
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER

# In a folder without any of `WEIGHT_FILES`, the only one of these.
_PATTERNS = ("*.keras", "*.weights.h5", "*.pth")
Tensors = dict[str, LazyTensor]


@dataclass(frozen=True)
class Content:
    """What the files of a checkpoint hold, before a configuration gives it a meaning.

    Attributes:
        layout: Key of `LAYOUTS`.
        tensors: Name in the files -> tensor.
        architecture: The class that the file itself names, or None.
        config: The configuration that it carries, or None.
        original: The original's data that it carries, or None.
        dropped: What it holds beside, in words.
    """

    layout: str
    tensors: Tensors
    architecture: str | None = None
    config: XLMConfig | None = None
    original: Original | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint.

    Attributes:
        config: From its config.json, or from within its file.
        tensors: Name, in the PyTorch dialect and orientation -> lazy tensor. Names that no model
            has stand here as they are in the file.
        source: The path, for messages.
        layout: Key of `LAYOUTS`.
        file: The file, or the index of several, that holds the weights.
        original: The original's params and dictionary, if it came from there.
        dropped: What its files hold beside, such as optimizer state.
        prune: Heads to remove after loading, by layer: an override asks for more than the file.
        untie: An override unties the language model, which the file holds tied.
        tied: Which of two tied tensors counts if they differ: "embeddings", "output", or None.
    """

    config: XLMConfig
    tensors: Mapping[str, LazyTensor] = field(repr=False)
    source: str
    layout: str = "safetensors"
    file: Path = Path()
    original: Original | None = field(default=None, repr=False)
    dropped: tuple[str, ...] = ()
    prune: Mapping[int, list[int]] = field(default_factory=dict)
    untie: bool = False
    tied: str | None = None

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self.file.parent

    @property
    def architecture(self) -> str | None:
        """The class that it is (without `TF`): as the configuration names it, else by its tensors.

        None where the configuration names only classes that we do not know.
        """
        names = classes_named(self.config)
        if not names:
            return architecture_in(self.tensors)
        known = (*ARCHITECTURES, ENCODER_DECODER)
        return next((name for name in names if name in known), None)

    def as_model(self) -> Checkpoint:
        """What the classes of this version can run: of an encoder-decoder, its encoder."""
        if self.architecture != ENCODER_DECODER:
            return self
        stem = "encoder."
        tensors = {n.removeprefix(stem): t for n, t in self.tensors.items() if n.startswith(stem)}
        config = self.config.copy(is_encoder=True, architectures=["XLMWithLMHeadModel"])
        return replace(self, config=config, tensors=tensors)


def open_checkpoint(
    path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    tied: str | None = None,
    **config_overrides: Any,
) -> Checkpoint:
    """Open a checkpoint of any layout; nothing is read but names, shapes and dtypes.

    Args:
        path: A folder, a file, an index of shards, or a name on the Hugging Face hub.
        revision: Branch, tag or commit, of a name on the hub.
        local_files_only: Of a name on the hub, take only what was downloaded before.
        tied: "embeddings" or "output": which one counts where tied tensors differ, which else is
            an error.
        config_overrides: Fields of the configuration to replace.

    Raises:
        CheckpointError: If files are missing or damaged.
        ConfigError: If config.json is.
        UnknownArgumentError: For an override that is no field.
    """
    if tied not in (None, "embeddings", "output"):
        raise CheckpointError(f"tied is {tied!r}: expected 'embeddings', 'output' or None.")
    place, name = Path(path), os.fspath(path)
    try:
        exists = place.exists()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name!r:.80} is no path that can be opened: {error!s:.80}."
        ) from error
    if not exists and isinstance(path, str) and hub.is_hub_name(path):
        place = hub.fetch(path, revision=revision, local_files_only=local_files_only)
    quirks = hub.quirks(name)
    file = weights_file(place)
    folder = file.parent
    content = _content(file)
    config = content.config
    if config is None:
        if not (folder / "config.json").is_file() and content.layout != "safetensors":
            raise CheckpointError(
                f"{file} holds weights and no configuration: put its config.json beside it."
            )
        config = XLMConfig.from_pretrained(folder)
    if content.architecture is not None and config.architectures is None:
        config = config.copy(architectures=[content.architecture])
    quirks = {key: value for key, value in quirks.items() if key not in config_overrides}
    if quirks and any(getattr(config, key) != value for key, value in quirks.items()):
        what = ", ".join(f"{key}={value!r}" for key, value in quirks.items())
        warn(
            f"{name} was published with a configuration that contradicts how it was trained; it is "
            f"opened with {what}. Give the argument yourself to choose."
        )
        config_overrides |= quirks
    config, prune, untie = _overridden(config, config_overrides, str(path))
    tensors = canonical_names(content.tensors, LAYOUTS[content.layout].dialect, config, str(file))
    original = content.original
    if original is None and (folder / ORIGINAL_FILE).is_file():
        original = read_original(folder / ORIGINAL_FILE)
    return Checkpoint(
        config,
        tensors,
        str(path),
        content.layout,
        file,
        original,
        content.dropped,
        prune,
        untie,
        tied,
    )


def weights_file(path: Path) -> Path:
    """The file to open for a path: itself, or the one in a folder that holds the weights.

    Raises:
        CheckpointError: If there is none, or several that say different things.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(
            f"no folder at {path}, and no file: expected a checkpoint, or the name of a published "
            f"one such as {hub.PUBLISHED[0]}."
        )
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(file for pattern in _PATTERNS for file in path.glob(pattern) if file.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise CheckpointError(f"{path} holds several checkpoints: {names}. Name the file to open.")
    raise CheckpointError(
        f"{path} holds no model.safetensors and no other weights: expected "
        f"config.json and one of {', '.join((*WEIGHT_FILES, *_PATTERNS))}."
    )


def _content(file: Path) -> Content:
    if file.name.endswith(".index.json"):
        return _read_index(file)
    if file.name.endswith(".safetensors"):
        return _read_safetensors(file)
    source = FileSource(file)
    start = read_bytes(source, 0, min(16, source.size))
    if start.startswith(b"\x89HDF"):
        return _read_hdf5(file)
    if start.startswith(b"PK"):
        if "model.weights.h5" in (parts := members(source)):
            return _read_keras(parts, str(file))
        return _read_torch(file)
    if start[8:9] == b"{":
        return _read_safetensors(file)
    if start.startswith(b"\x80"):
        return _read_torch(file)
    raise CheckpointError(
        f"{file} is no checkpoint of a layout that this library knows, or damaged: it begins with "
        f"{start!r}."
    )


def _read_safetensors(file: Path) -> Content:
    tensors, metadata = read_safetensors(file)
    return Content("tf-safetensors" if metadata.get("format") == "tf" else "safetensors", tensors)


def _read_torch(file: Path) -> Content:
    content = read_torch(file)
    if is_facebook(content):
        found = interpret(content, str(file))
        return Content(
            "facebook",
            found.tensors,
            found.architecture,
            found.config,
            found.original,
            found.dropped,
        )
    wrong = not isinstance(content, Mapping) or not content
    if wrong or not all(
        isinstance(name, str) and isinstance(tensor, LazyTensor) for name, tensor in content.items()
    ):
        raise CheckpointError(
            f"{file} holds a {type(content).__name__} that is neither a table of tensors nor a "
            "checkpoint of the original (with model, or encoder and decoder)."
        )
    return Content("torch", dict(content))


def _read_hdf5(file: Path) -> Content:
    root = read_hdf5(FileSource(file))
    if "layer_names" in root.attributes or "layer_names0" in root.attributes:
        return Content("tf", tf_files.read_tf(root, str(file)))
    tensors, dropped = keras_files.read_keras_weights(root, str(file))
    return Content("keras", tensors, dropped=dropped)


def _read_keras(parts: Mapping[str, Any], name: str) -> Content:
    config = keras_files.read_keras_config(parts, name)
    root = read_hdf5(parts["model.weights.h5"])
    tensors, dropped = keras_files.read_keras_weights(root, name)
    return Content("keras", tensors, None, config, dropped=dropped)


def _read_index(index: Path) -> Content:
    file = index.name.removesuffix(".index.json")
    layouts: set[str] = set()

    def content(read: Callable[[Path], Content]) -> Callable[[Path], Tensors]:
        def tensors(shard: Path) -> Tensors:
            found = read(shard)
            layouts.add(found.layout)
            return found.tensors

        return tensors

    if file.endswith(".safetensors"):
        # TensorFlow's index has the model's name before each tensor's, its files do not.
        shards = read_shards(index, content(_read_safetensors), tf_files.without_model)
    elif file.endswith(".h5"):
        shards = read_shards(index, content(_read_hdf5), tf_files.without_model)
    else:
        shards = read_shards(index, content(_read_torch))
    result: Tensors = {}
    for _, tensors in shards:
        result |= tensors
    if len(layouts) != 1:
        raise CheckpointError(f"{index}: its shards are of different layouts: {sorted(layouts)}.")
    return Content(layouts.pop(), result)


def _overridden(
    config: XLMConfig, overrides: Mapping[str, Any], source: str
) -> tuple[XLMConfig, Mapping[int, list[int]], bool]:
    known = {*XLMConfig.__dataclass_fields__, *ALIASES, "num_labels", *config.extra}
    refuse_unknown_arguments(
        "from_pretrained",
        overrides.keys() - (known - {"dtype", "torch_dtype"}),
        [
            "dtype",
            "ignore_mismatched_sizes",
            "revision",
            "local_files_only",
            "tied",
            "and every field of the configuration",
        ],
    )
    if not overrides:
        return config, {}, False
    prune: dict[int, list[int]] = {}
    tied = config.ties_output and "XLMWithLMHeadModel" in classes_named(config)
    in_file = config.pruned_heads or {}
    config = config.copy(**overrides)
    if config.pruned_heads != in_file:
        # The tensors have the heads that the file has; the others go once they are loaded.
        prune = config.pruned_heads or {}
        if any(set(heads) - set(prune.get(layer, ())) for layer, heads in in_file.items()):
            raise CheckpointError(
                f"{source} lacks the heads {in_file}, which pruned_heads={prune} would keep: "
                "heads that were pruned cannot come back."
            )
        config = config.copy(pruned_heads=in_file)
    return config, prune, tied and not config.ties_output
