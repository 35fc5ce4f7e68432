"""What `inspect` found in a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xlm_core.config import XLMConfig


@dataclass(frozen=True)
class File:
    """A file of a checkpoint: its name, its size in bytes, and what it is for."""

    name: str
    nbytes: int
    role: str


@dataclass(frozen=True)
class Values:
    """Statistics of the values of a tensor.

    Attributes:
        nan, infinite: Number of values that are NaN, and that are infinite.
        smallest, largest, mean: Of the finite values; None if there are none.
        deviation: Standard deviation of the finite values (divided by their number); None if
            there are none.
    """

    nan: int
    infinite: int
    smallest: float | None = None
    largest: float | None = None
    mean: float | None = None
    deviation: float | None = None


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint.

    Attributes:
        name: Its name in the PyTorch dialect; in that of the file where no model has it.
        shape: In PyTorch's orientation.
        dtype, nbytes: As stored.
        note: What is special about it, in words; empty if nothing is.
        shares: Name of an earlier tensor that is stored in some of the same bytes, or None.
        values: Statistics of its values; None unless values were read.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    note: str = ""
    shares: str | None = None
    values: Values | None = None


@dataclass(frozen=True)
class OriginalData:
    """What a checkpoint holds of the original code's own data, beside tensors.

    Attributes:
        params: Names of the training parameters.
        words: Number of words in the dictionary; None where there is no dictionary.
        counts, code_counts: Whether the counts of words, and of BPE codes, are known.
        extra: Names of further entries, such as the epoch.
    """

    params: tuple[str, ...]
    words: int | None
    counts: bool
    code_counts: bool
    extra: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found.

    Attributes:
        source: The checkpoint, as the caller named it.
        layout: Its layout, a key of `LAYOUTS`.
        folder: The folder with its files.
        files: Its files, the weights first.
        architecture: The class that the tensors were compared with.
        config: The configuration.
        tensors: The tensors, in the order of the file.
        parameters, trainable: Number of parameters of the class, and of trainable ones; tied ones
            count once.
        memory: Bytes of a loaded model by dtype: in float32, and in the dtype of the file.
        missing: Shapes of the tensors that the class needs and the checkpoint lacks, by name.
        unexpected: Names of tensors that no class has.
        misshapen: What was found and what was expected, in words, by name.
        left_out: Names of tensors that belong to another head.
        differing_ties: Pairs of tied tensors whose values differ.
        dropped: What the files hold beside tensors, such as optimizer state.
        original: The original's own data, or None.
        why_not: By layout, why it cannot hold this model; None where it can.
        notes: What else a reader should know.
        seconds: "open", "values", "total".
    """

    source: str
    layout: str
    folder: str
    files: tuple[File, ...]
    architecture: str
    config: XLMConfig
    tensors: tuple[Tensor, ...]
    parameters: int
    trainable: int
    memory: Mapping[str, int]
    missing: Mapping[str, tuple[int, ...]]
    unexpected: tuple[str, ...]
    misshapen: Mapping[str, str]
    left_out: tuple[str, ...]
    differing_ties: tuple[tuple[str, str], ...]
    dropped: tuple[str, ...]
    original: OriginalData | None
    why_not: Mapping[str, str | None]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def not_finite(self) -> tuple[str, ...]:
        """Names of tensors with NaN or infinite values; empty unless values were read."""
        return tuple(
            tensor.name
            for tensor in self.tensors
            if tensor.values is not None and tensor.values.nan + tensor.values.infinite
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What is off, a few words each; empty for a sound checkpoint."""
        counts = {
            "missing": len(self.missing),
            "unexpected": len(self.unexpected),
            "misshapen": len(self.misshapen),
            "tied but different": len(self.differing_ties),
            "with NaN or infinite values": len(self.not_finite),
        }
        return tuple(f"{count} {what}" for what, count in counts.items() if count)
