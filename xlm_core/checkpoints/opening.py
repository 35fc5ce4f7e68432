"""Open a checkpoint of any layout: find its files, read their structure, name their tensors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from xlm_core.checkpoints.layouts import (
    LAYOUTS,
    PATTERNS,
    WEIGHT_FILES,
    container_of_shards,
    layout_of,
)
from xlm_core.checkpoints.layouts.base import Content, Layout
from xlm_core.checkpoints.layouts.weights_file import WeightsFile
from xlm_core.checkpoints.moments import Moments
from xlm_core.checkpoints.naming import architecture_in, classes_named
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.original import Original, read_original
from xlm_core.checkpoints.others import refuse_fairseq, with_tied_partner, without_prefix
from xlm_core.checkpoints.shards import (
    is_index,
    read_shards,
    shards_in,
    with_variant,
    without_index,
    without_variant,
)
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.sources import Source
from xlm_core.errors import (
    CheckpointError,
    CheckpointFileError,
    UnknownArgumentError,
    nearest,
    refuse_unknown_arguments,
)
from xlm_core.hub import PUBLISHED, WantedFiles, fetch, is_hub_name, quirks
from xlm_core.loading_arguments import FILE_ARGUMENTS, FileArguments
from xlm_core.weights import ARCHITECTURES, ENCODER_DECODER

# Where `xlm pretrain` leaves the models of a run, and that of a checkpoint.
_MODELS_OF_RUNS = ("model", "best")
# What is said where an encoder-decoder is asked for, with the source filled in.
NO_DECODER = (
    "{} is an encoder alone, without a decoder: it cannot translate. A decoder can be started from "
    "it, and is to be trained: XLMForConditionalGeneration.from_pretrained(encoder=..., "
    "decoder=...), with this checkpoint for both."
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
        notes: What was done to open it, in words, such as a prefix taken off all names.
        prune: Heads to remove after loading, by layer: an override asks for more than the file.
        untie: An override unties the language model, which the file holds tied.
        tied: Which of two tied tensors counts if they differ: "embeddings", "output", or None.
        carries_config: Whether the configuration is from within its file.
        text_files: Text files of a folder (the tokenizer's, facebook.json) that its file holds.
        may_start: Paths of tensors that may be missing, and then start afresh, see `join_parts`.
        fresh_rows: Path of a table -> its rows that start afresh.
        beside: Names of tensors of its files that it was made without.
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
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    text_files: Mapping[str, Source] = field(default_factory=dict, repr=False, kw_only=True)
    may_start: frozenset[str] = field(default=frozenset(), repr=False, kw_only=True)
    fresh_rows: Mapping[str, tuple[int, ...]] = field(default_factory=dict, kw_only=True)
    beside: tuple[str, ...] = field(default=(), repr=False, kw_only=True)

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

    def as_model(self, architecture: str = "XLMModel") -> Checkpoint:
        """What a class opens: of an encoder-decoder, an encoder's class opens the encoder.

        Raises:
            CheckpointError: If an encoder-decoder is asked for, and there is no decoder.
        """
        is_pair = self.architecture == ENCODER_DECODER
        if architecture == ENCODER_DECODER and not is_pair:
            raise CheckpointError(NO_DECODER.format(self.source))
        return self.part("encoder") if is_pair and architecture != ENCODER_DECODER else self

    def part(self, name: Literal["encoder", "decoder"]) -> Checkpoint:
        """The encoder of an encoder-decoder as a language model, or its decoder with its names."""
        stem = f"{name}."
        tensors = {n.removeprefix(stem): t for n, t in self.tensors.items() if n.startswith(stem)}
        config = self.config.part(name).copy(architectures=["XLMWithLMHeadModel"])
        return replace(self, config=config, tensors=tensors)


@dataclass(frozen=True, kw_only=True)
class WeightsChoice:
    """Which weights of a folder or a repository are opened, where it holds several.

    Attributes:
        variant: Part of their file names, "fp16" for model.fp16.safetensors.
        use_safetensors: True: safetensors only; False: none; None: whatever is there.
        of: "tf" or "pt": only those that transformers' TensorFlow or PyTorch classes wrote.
    """

    variant: str | None = None
    use_safetensors: bool | None = None
    of: str | None = None

    def names(self) -> tuple[str, ...]:
        """The file names that are possible, the first that is there to be opened."""
        return tuple(with_variant(name, self.variant) for name in WEIGHT_FILES if self.allows(name))

    def allows(self, name: str) -> bool:
        """Whether a file of this name may be opened."""
        is_safe = ".safetensors" in name
        return (
            self.use_safetensors in (None, is_safe)
            and (self.of != "tf" or name.startswith("tf_"))
            and (self.of != "pt" or not name.startswith("tf_"))
        )


def _wanted(choice: WeightsChoice) -> WantedFiles:
    """Of a repository: config.json and the first weights that exist, with their shards.

    generation_config.json comes along if it is there. That config.json is asked for first makes
    the commit known, of which the cache remembers that a file is not there.
    """
    return WantedFiles(
        "weights",
        needed=("config.json",),
        optional=("config.json", "generation_config.json"),
        first_of=choice.names(),
        parts=lambda file: shards_in(file) if is_index(without_variant(file.name)) else [],
    )


# What is fetched of a repository where the caller chooses nothing.
WANTED = _wanted(WeightsChoice())


def open_checkpoint(
    path: str | os.PathLike[str] | None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    tied: str | None = None,
    files: FileArguments | None = None,
    choice: WeightsChoice | None = None,
    config: XLMConfig | str | os.PathLike[str] | None = None,
    tensors: Mapping[str, LazyTensor] | None = None,
    **config_overrides: Any,
) -> Checkpoint:
    """Open a checkpoint of any layout; nothing is read but names, shapes and dtypes.

    Args:
        path: A folder, a file, an index of shards, or a name on the Hugging Face hub. None, with
            both `config` and `tensors`.
        revision: For a name on the hub, the branch, tag or commit.
        local_files_only: For a name on the hub, use only what was downloaded before.
        tied: Which of two tied tensors to keep if they differ, "embeddings" or "output".
            Default: raise.
        files: Where the files are, beside the path; revision and local_files_only are in it.
        choice: Which weights, where there are several.
        config: In place of the file's, or where it has none: a configuration, ours or
            transformers', or the path of one.
        tensors: In place of those of the file: name in PyTorch's dialect -> tensor.
        config_overrides: Fields of the configuration to replace.

    Raises:
        CheckpointFileError: If files are missing or cannot be fetched.
        CheckpointError: If files are damaged.
        ConfigError: If config.json is, or asks for something else than XLM computes.
        UnknownArgumentError: For an override that is no field.
    """
    if tied not in (None, "embeddings", "output"):
        raise CheckpointError(
            f"tied is {tied!r}: expected 'embeddings', 'output' or None."
            f"{nearest(tied, ('embeddings', 'output'))}"
        )
    files = files or FileArguments(revision=revision, local_files_only=local_files_only)
    choice = choice or WeightsChoice()
    given = None if config is None else _given_config(config)
    if path is None and (given is None or tensors is None):
        raise UnknownArgumentError(
            "from_pretrained got no path: without one, it takes config= and state_dict=."
        )
    notes: tuple[str, ...] = ()
    source = "the given tensors" if path is None else os.fspath(path)
    layout, content, file = _layout_and_content(path, files, choice, tensors)
    refuse_fairseq(content.tensors, source)
    base = content.config
    if base is None:
        beside = given is None or (path is not None and (file.parent / "config.json").is_file())
        base = layout.config_beside(file) if given is None or beside else given
    if content.architecture is not None and base.architectures is None:
        base = base.copy(architectures=[content.architecture])
    if given is None:
        wrong = {n: v for n, v in quirks(source).items() if n not in config_overrides}
        config_overrides |= {} if base.corrected(source, wrong) is base else wrong
    overridden, prune, untie = _overridden(base, given, config_overrides, source)
    named = content.tensors
    if layout.prefixes_are_taken_off:
        named, prefix = without_prefix(named)
        if prefix:
            notes += (f"all names begin with {prefix!r}, which was taken off",)
    named = layout.canonical(named, overridden, str(file) if path is not None else source)
    named, said = with_tied_partner(named, overridden)
    notes += said
    original = content.original
    if original is None and path is not None and (file.parent / ORIGINAL_FILE).is_file():
        original = read_original(file.parent / ORIGINAL_FILE)
    return Checkpoint(
        overridden,
        named,
        source,
        layout.name,
        file,
        original,
        content.dropped,
        prune,
        untie,
        tied,
        carries_config=content.config is not None,
        notes=(*content.notes, *notes),
        text_files=content.text_files,
    )


def open_moments(path: str | os.PathLike[str]) -> Moments | None:
    """Adam's state of a checkpoint; None if its layout never has it.

    Args:
        path: As in `open_checkpoint`.

    Raises:
        CheckpointError: As there.
    """
    checkpoint = open_checkpoint(path)
    if is_index(without_variant(checkpoint.file.name)):
        return None
    layout = LAYOUTS[checkpoint.layout]
    return layout.moments(WeightsFile(checkpoint.file), checkpoint.config)


def _given_config(config: Any) -> XLMConfig:
    """The configuration that `config=` is, or that it names."""
    if isinstance(config, (str, os.PathLike)):
        named: XLMConfig = XLMConfig.from_pretrained(config)
        return named
    return XLMConfig.from_transformers(config)


def _layout_and_content(
    path: str | os.PathLike[str] | None,
    files: FileArguments,
    choice: WeightsChoice,
    tensors: Mapping[str, LazyTensor] | None,
) -> tuple[Layout, Content, Path]:
    """Of given tensors, those; else of the file that a path means."""
    if tensors is None:
        assert path is not None  # open_checkpoint refused it
        file = weights_file(_place(path, files, choice), choice)
        return *_read(file), file
    place = Path() if path is None else _place(path, files, choice)
    file = place if place.is_file() else place / LAYOUTS["safetensors"].file
    return LAYOUTS["safetensors"], Content(dict(tensors)), file


def _place(path: str | os.PathLike[str], files: FileArguments, choice: WeightsChoice) -> Path:
    """The place of a checkpoint on the disk; a checkpoint on the hub is fetched first."""
    place = Path(path)
    try:
        exists = place.exists()
    except (OSError, ValueError) as error:
        raise CheckpointFileError(
            f"{os.fspath(path)!r:.80} is no path that can be opened: {error!s:.80}."
        ) from error
    if not exists and isinstance(path, str) and is_hub_name(path):
        try:
            return fetch(path, files=_wanted(choice), **vars(files))
        except CheckpointError as error:
            raise CheckpointFileError(str(error)) from error
    return files.within(place)


def weights_file(path: Path, choice: WeightsChoice | None = None) -> Path:
    """The file to open for a path: itself, or the one in a folder that holds the weights.

    Raises:
        CheckpointFileError: If there is none.
        CheckpointError: If there are several that say different things.
    """
    choice = choice or WeightsChoice()
    if path.is_file():
        if not choice.allows(path.name):
            raise CheckpointFileError(
                f"{path} is not among the files that were asked for: use_safetensors is "
                f"{choice.use_safetensors!r}, from_tf is {choice.of == 'tf'!r}, from_pt is "
                f"{choice.of == 'pt'!r}."
            )
        return path
    if not path.is_dir():
        raise CheckpointFileError(
            f"no folder at {path}, and no file: expected a checkpoint, or the name of a published "
            f"one such as {PUBLISHED[0]}.{nearest(path, _alternatives(path))}"
        )
    names = choice.names()
    for name in names:
        if (path / name).is_file():
            return path / name
    if choice != WeightsChoice():
        raise CheckpointFileError(
            f"{path} holds none of the weights that were asked for: {', '.join(names)}."
        )
    found = sorted(file for pattern in PATTERNS for file in path.glob(pattern) if file.is_file())
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(file.name for file in found)
        raise CheckpointError(f"{path} holds several checkpoints: {listed}. Name the file to open.")
    for name in _MODELS_OF_RUNS:
        if (path / name / "config.json").is_file():
            raise CheckpointFileError(f"{path} holds no weights: its model is in {path / name}.")
    raise CheckpointFileError(
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
    name = without_variant(file.name)
    if is_index(name):
        return _read_index(file, name)
    opened = WeightsFile(file)
    layout = layout_of(opened)
    return layout, layout.read(opened)


def _read_index(index: Path, name: str) -> tuple[Layout, Content]:
    layouts: dict[str, Layout] = {}
    dropped: dict[str, None] = {}
    container = container_of_shards(without_index(name))
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


def _overridden(
    config: XLMConfig, given: XLMConfig | None, overrides: Mapping[str, Any], source: str
) -> tuple[XLMConfig, Mapping[int, list[int]], bool]:
    """The configuration that counts, the heads to prune after loading, and what is untied.

    Args:
        config: The file's.
        given: The caller's in its place, or None.
        overrides: Fields that replace those of either.
        source: What messages call the file.
    """
    base = given or config
    # The dtype is an argument, and what it is like in the file is not the caller's to say.
    unknown = [n for n in overrides if not base.is_setting(n) or n in ("dtype", "torch_dtype")]
    refuse_unknown_arguments(
        "from_pretrained",
        unknown,
        [
            "config",
            "dtype",
            "ignore_mismatched_sizes",
            "output_loading_info",
            "state_dict",
            "device_map",
            "variant",
            "use_safetensors",
            *FILE_ARGUMENTS,
            "tied",
            "and every field of the configuration",
        ],
        also=[*base],
    )
    if given is None and not overrides:
        return config, {}, False
    prune: dict[int, list[int]] = {}
    tied = config.ties_output and "XLMWithLMHeadModel" in classes_named(config)
    in_file = config.pruned_heads or {}
    config = base.copy(**overrides)
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
