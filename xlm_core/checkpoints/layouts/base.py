"""`Layout`: one way to keep a checkpoint in files, as an object that knows everything about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xlm_core.checkpoints.layouts.weights_file import Container, WeightsFile
from xlm_core.checkpoints.moments import Moments
from xlm_core.checkpoints.naming import canonical_names
from xlm_core.checkpoints.original import FILE as ORIGINAL_FILE
from xlm_core.checkpoints.original import Original
from xlm_core.checkpoints.weights import Weights
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import FLOAT_DTYPES, LazyTensor
from xlm_core.containers.sources import Source
from xlm_core.containers.streaming import Progress
from xlm_core.errors import CheckpointError, CheckpointFileError
from xlm_core.weights import Dialect, is_transposed, name_of, tensors_of


@dataclass(frozen=True)
class Content:
    """The content of a checkpoint's files, before it is interpreted with a configuration.

    Attributes:
        tensors: Name in the files -> tensor.
        architecture: The class that the file itself names, or None.
        config: The configuration that it carries, or None.
        original: The original's data that it carries, or None.
        dropped: What it holds besides, in words: it is not kept.
        notes: What was done to read it, in words.
        text_files: Text files that a folder would have and that this file itself holds, by name.
    """

    tensors: dict[str, LazyTensor]
    architecture: str | None = None
    config: XLMConfig | None = None
    original: Original | None = None
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    text_files: Mapping[str, Source] = field(default_factory=dict)


@dataclass(frozen=True)
class TextFiles:
    """The text files in a folder of a layout, besides the weights.

    Attributes:
        config: Whether the configuration is there, as `XLMConfig.save_pretrained` writes it.
        tokenizer: Whether the tokenizer is there, as `XLMTokenizer.save_pretrained` writes it.
        copied: Names of the files that are copied from folder to folder as they are.
        original: Name of the file that keeps the original's training parameters, dictionary and
            counts, or None.
        codes: Name of the BPE codes in the original's form, or None.
        dictionary: Name of the words and their counts in the original's form, or None.
    """

    config: bool = False
    tokenizer: bool = False
    copied: tuple[str, ...] = ()
    original: str | None = None
    codes: str | None = None
    dictionary: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are given here; those of the tokenizer are the tokenizer's own."""
        named = (self.original, self.codes, self.dictionary)
        return (
            *(("config.json",) if self.config else ()),
            *self.copied,
            *(name for name in named if name is not None),
        )


# A folder that `from_pretrained` opens.
MODEL_FOLDER = TextFiles(
    config=True, tokenizer=True, copied=("generation_config.json",), original=ORIGINAL_FILE
)


class Layout(ABC):
    """A way to keep a checkpoint.

    A subclass, in a file of its own, says what its files are called and how they are recognised,
    read and written; `layouts.LAYOUTS` holds one object of each. Nothing outside that file
    depends on which layout it is.

    Attributes:
        name: As the command line has it.
        title: In words.
        dialect: How its tensors are called.
        file: Its file in a folder.
        alone: Suffix of a file that holds everything by itself, without a folder; else None.
        sharded: Whether it can be in several files.
        container: What each of several files has to be; None: whatever it begins with.
        dtypes: Float dtypes that it can hold.
        patterns: Names, as for `Path.glob`, by which its file is found in a folder that holds
            no file of a fixed name. Empty: it has the fixed names `file` and `index`.
        repeats_tied: Whether tied tensors are listed under both of their names.
        prefixes_are_taken_off: Whether something that wraps a model may have put a prefix before
            all of its names.
        holds_dictionary: Whether the file itself holds the words of the vocabulary.
        holds_text_files: Whether its single file (`alone`) holds the text files of the folder.
        text_files: The text files in its folder, besides the weights.
    """

    name: str
    title: str
    dialect: Dialect
    file: str
    alone: str | None = None
    sharded: bool = False
    container: Container | None = None
    dtypes: Collection[str] = FLOAT_DTYPES
    patterns: tuple[str, ...] = ()
    repeats_tied: bool = False
    prefixes_are_taken_off: bool = False
    holds_dictionary: bool = False
    holds_text_files: bool = False
    text_files: TextFiles = MODEL_FOLDER

    @property
    def index(self) -> str:
        """Name of the index of its shards."""
        return f"{self.file}.index.json"

    # -- reading -------------------------------------------------------------------------------

    @abstractmethod
    def recognises(self, file: WeightsFile) -> bool:
        """Whether a file has this layout. Layouts that are registered later are asked first.

        Raises:
            CheckpointError: If it cannot be told, because the file is damaged.
        """

    @abstractmethod
    def read(self, file: WeightsFile) -> Content:
        """Read the structure of a file that `recognises` accepted; tensors stay in the file.

        Raises:
            CheckpointError: If it is damaged, or holds what no XLM model has.
        """

    def name_in_shard(self, name: str) -> str:
        """The name that a tensor has in its shard, from the one in the index of the shards."""
        return name

    def config_beside(self, file: Path) -> XLMConfig:
        """The configuration from the folder of a file that carries none itself.

        Raises:
            CheckpointError: If there is none.
            ConfigError: If it is damaged.
        """
        if not (file.parent / "config.json").is_file():
            raise CheckpointFileError(
                f"{file} holds weights and no configuration: put its config.json beside it."
            )
        return XLMConfig.from_json_file(file.parent / "config.json")

    def canonical(
        self, tensors: Mapping[str, LazyTensor], config: XLMConfig, source: str
    ) -> dict[str, LazyTensor]:
        """The tensors of a file under the names, and in the orientation, of the weight table.

        Args:
            tensors: Name in the file -> tensor.
            config: The configuration, which determines the names that can occur.
            source: What messages call the file.

        Returns:
            Name in the PyTorch dialect -> tensor; names that no model has are kept as they are.

        Raises:
            CheckpointError: If the configuration has more layers than the file has tensors for.
        """
        return canonical_names(tensors, self.dialect, config, source)

    def moments(self, file: WeightsFile, config: XLMConfig) -> Moments | None:
        """Adam's state of a file; None if files of this layout never have it.

        Args:
            file: One that the layout recognises.
            config: The configuration of its model.

        Raises:
            CheckpointError: If it is damaged.
        """
        del file, config
        return None

    # -- which models have a place -------------------------------------------------------------

    def why_not(
        self, config: XLMConfig, architecture: str, dtypes: Collection[str] = ()
    ) -> str | None:
        """Why a model has no place in this layout, or None where it has one.

        Args:
            config: The configuration of the model.
            architecture: The name of its class, such as "XLMModel".
            dtypes: Names of the dtypes of its tensors.
        """
        reason = self.refuses(config, architecture)
        if reason is not None:
            return reason
        nameless = [
            spec.path
            for spec in tensors_of(config, architecture)
            if name_of(spec, self.dialect, architecture) is None and spec.tied_to is None
        ]
        if nameless:
            return f"it has no name for {', '.join(nameless[:3])}"
        lacking = sorted({*dtypes} - {*self.dtypes})
        return f"it has no {', '.join(lacking)}" if lacking else None

    def refuses(self, config: XLMConfig, architecture: str) -> str | None:
        """Why the programs that read this layout cannot run a model, or None if they can.

        That the layout has names for the tensors, and their dtypes, is checked by `why_not`.
        """
        return None

    def notes(self, weights: Weights) -> list[str]:
        """What to tell the user about a model that is written in this layout."""
        return []

    # -- writing -------------------------------------------------------------------------------

    def named(self, weights: Weights) -> dict[str, LazyTensor]:
        """The tensors of a model, named and oriented as in this layout."""
        owned = {spec.path: tensor for spec, tensor in weights.tensors}
        result: dict[str, LazyTensor] = {}
        for spec in tensors_of(weights.config, weights.architecture):
            if spec.tied_to is not None and not self.repeats_tied:
                continue
            name = name_of(spec, self.dialect, weights.architecture)
            tensor = owned.get(spec.tied_to or spec.path)
            if name is not None and tensor is not None:
                transposed = is_transposed(spec, self.dialect)
                result[name] = tensor.transposed() if transposed else tensor
        return result

    def bytes_needed(self, weights: Weights, *, alone: bool) -> int:
        """Bytes of disk that writing a model takes, into a folder or (`alone`) a single file."""
        return sum(tensor.nbytes for tensor in self.named(weights).values())

    def config_in_folder(self, config: XLMConfig, architecture: str) -> XLMConfig:
        """The configuration to write into the folder's config.json."""
        return config

    @abstractmethod
    def write_weights(
        self,
        folder: Path,
        weights: Weights,
        *,
        largest: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Write the weights into a folder, and no text file but an index of shards.

        Args:
            folder: An existing folder.
            weights: What to write, with its configuration as the files shall say it.
            largest: Bytes in a file, to split larger ones; None for a single file.
            progress: Called with numbers of bytes, from several threads.
        """

    def write_alone(
        self, path: Path, weights: Weights, *, progress: Progress | None = None
    ) -> None:
        """Write a single file that holds everything, including the configuration.

        Raises:
            CheckpointError: If this layout has no such file.
        """
        raise CheckpointError(f"{self.name} is a folder, not a file: {path} cannot hold it.")
