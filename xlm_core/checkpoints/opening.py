"""Open a checkpoint of any layout: find its files, read their structure, name their tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xlm_core.checkpoints.layouts import (
    LAYOUTS,
    PATTERNS,
    WEIGHT_FILES,
    container_of_shards,
    layout_of,
)
from xlm_core.checkpoints.layouts.base import Content, Layout
from xlm_core.checkpoints.layouts.weights_file import WeightsFile
from xlm_core.checkpoints.naming import architecture_in, classes_named
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.original import Original, read_original
from xlm_core.checkpoints.shards import is_index, read_shards, shards_in, without_index
from xlm_core.config import ALIASES, XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.sources import Source
from xlm_core.errors import CheckpointError, nearest, refuse_unknown_arguments, warn
from xlm_core.hub import PUBLISHED, WantedFiles, fetch, is_hub_name, quirks
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER

# Of a repository: config.json and the first weights that exist, with their shards.
WANTED = WantedFiles(
    "weights",
    needed=("config.json",),
    first_of=WEIGHT_FILES,
    parts=lambda file: shards_in(file) if is_index(file.name) else [],
)


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
        carries_config: Whether the configuration is from within its file.
        text_files: Text files of a folder (the tokenizer's, facebook.json) that its file holds.
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
    carries_config: bool = field(default=False, kw_only=True)
    text_files: Mapping[str, Source] = field(default_factory=dict, repr=False, kw_only=True)

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
        revision: For a name on the hub, the branch, tag or commit.
        local_files_only: For a name on the hub, use only what was downloaded before.
        tied: Which of two tied tensors to keep if they differ, "embeddings" or "output".
            Default: raise.
        config_overrides: Fields of the configuration to replace.

    Raises:
        CheckpointError: If files are missing or damaged.
        ConfigError: If config.json is.
        UnknownArgumentError: For an override that is no field.
    """
    if tied not in (None, "embeddings", "output"):
        raise CheckpointError(
            f"tied is {tied!r}: expected 'embeddings', 'output' or None."
            f"{nearest(tied, ('embeddings', 'output'))}"
        )
    file = weights_file(_place(path, revision, local_files_only))
    layout, content = _read(file)
    config = content.config
    if config is None:
        config = layout.config_beside(file)
    if content.architecture is not None and config.architectures is None:
        config = config.copy(architectures=[content.architecture])
    config_overrides |= _corrections(config, os.fspath(path), config_overrides)
    config, prune, untie = _overridden(config, config_overrides, str(path))
    tensors = layout.canonical(content.tensors, config, str(file))
    original = content.original
    if original is None and (file.parent / ORIGINAL_FILE).is_file():
        original = read_original(file.parent / ORIGINAL_FILE)
    return Checkpoint(
        config,
        tensors,
        str(path),
        layout.name,
        file,
        original,
        content.dropped,
        prune,
        untie,
        tied,
        carries_config=content.config is not None,
        text_files=content.text_files,
    )


def _place(path: str | os.PathLike[str], revision: str | None, local_files_only: bool) -> Path:
    """The place of a checkpoint on the disk; a checkpoint on the hub is fetched first."""
    place = Path(path)
    try:
        exists = place.exists()
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{os.fspath(path)!r:.80} is no path that can be opened: {error!s:.80}."
        ) from error
    if not exists and isinstance(path, str) and is_hub_name(path):
        return fetch(path, files=WANTED, revision=revision, local_files_only=local_files_only)
    return place


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
            f"one such as {PUBLISHED[0]}.{nearest(path, _alternatives(path))}"
        )
    for name in WEIGHT_FILES:
        if (path / name).is_file():
            return path / name
    found = sorted(file for pattern in PATTERNS for file in path.glob(pattern) if file.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise CheckpointError(f"{path} holds several checkpoints: {names}. Name the file to open.")
    raise CheckpointError(
        f"{path} holds no model.safetensors and no other weights: expected "
        f"config.json and one of {', '.join((*WEIGHT_FILES, *PATTERNS))}."
    )


def _alternatives(path: Path) -> list[str]:
    """What somebody may have meant by a path that is not there."""
    try:
        beside = [os.fspath(path.parent / name) for name in os.listdir(path.parent)]
    except OSError:
        beside = []
    return [*beside, *PUBLISHED]


def _read(file: Path) -> tuple[Layout, Content]:
    """Read a file, or all shards of an index; returns the layout and the content."""
    if is_index(file.name):
        return _read_index(file)
    opened = WeightsFile(file)
    layout = layout_of(opened)
    return layout, layout.read(opened)


def _read_index(index: Path) -> tuple[Layout, Content]:
    layouts: dict[str, Layout] = {}
    dropped: dict[str, None] = {}
    container = container_of_shards(without_index(index.name))
    # Shards of another layout in the same container are told as such, and not by their names.
    possible = [known for known in LAYOUTS.values() if known.container == container]

    def read(shard: Path) -> dict[str, LazyTensor]:
        file = WeightsFile(shard, container)
        layout = layout_of(file)
        layouts[layout.name] = layout
        content = layout.read(file)
        dropped.update(dict.fromkeys(content.dropped))
        return content.tensors

    def name_in_shard(name: str) -> str:
        for layout in possible:
            name = layout.name_in_shard(name)
        return name

    tensors = read_shards(index, read, name_in_shard)
    if len(layouts) != 1:
        raise CheckpointError(f"{index}: its shards are of different layouts: {sorted(layouts)}.")
    (layout,) = layouts.values()
    return layout, Content(tensors, dropped=tuple(dropped))


def _corrections(config: XLMConfig, name: str, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that a published configuration has wrong, but for those that the caller gives.

    Args:
        config: As it was published.
        name: The name of the checkpoint, or its path.
        overrides: What the caller gives.
    """
    wrong = {key: value for key, value in quirks(name).items() if key not in overrides}
    if all(getattr(config, key) == value for key, value in wrong.items()):
        return {}
    what = ", ".join(f"{key}={value!r}" for key, value in wrong.items())
    warn(
        f"{name} was published with a configuration that contradicts how it was trained; it is "
        f"opened with {what}. Give the argument yourself to choose."
    )
    return wrong


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
