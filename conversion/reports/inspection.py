"""What `inspect` found out about a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xlm_core.config import XLMConfig


@dataclass(frozen=True)
class File:
    """A file of a checkpoint: its name, its bytes, and what it is for."""

    name: str
    nbytes: int
    role: str


@dataclass(frozen=True)
class Values:
    """The values of a tensor; numbers over the finite ones, None where there are none.

    Attributes:
        nan, infinite: How many are NaN, and how many infinite.
        smallest, largest, mean: As they say.
        deviation: Standard deviation, of all values (divided by their number).
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
        name: In the PyTorch dialect, or as it is in the file where no model has it.
        shape, dtype, nbytes: In PyTorch's orientation, as it is in the file.
        note: What is special about it, in words, or empty.
        shares: Name of an earlier tensor with which it has bytes of the file in common, or None.
        values: None unless they were asked for.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    note: str = ""
    shares: str | None = None
    values: Values | None = None


@dataclass(frozen=True)
class Dictionary:
    """The original's own data, as far as it is known.

    Attributes:
        params: Names of its parameters.
        words: Number of words of the dictionary, or None where there is none.
        counts, code_counts: Whether those of its words and of its BPE codes are known.
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
        source: As it was given.
        layout: Key of `LAYOUTS`.
        folder: Where the files are.
        files: The weights first.
        architecture: The class that the tensors were compared with.
        config: The configuration.
        tensors: In the order of the file.
        parameters, trainable: Numbers of the class, tied ones counted once.
        memory: Dtype -> bytes of a loaded model: float32, and those of the file.
        missing: Name -> shape, of what the class needs and the checkpoint lacks.
        unexpected: Names that no class has.
        misshapen: Name -> what was found and expected.
        left_out: Names that belong to another head.
        differing_ties: Pairs of tied tensors whose values differ.
        dropped: What the files hold beside, such as optimizer state.
        original: The original's data, or None.
        why_not: Layout -> why it cannot hold this model, or None where it can.
        notes: What else to know.
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
    original: Dictionary | None
    why_not: Mapping[str, str | None]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]

    @property
    def not_finite(self) -> tuple[str, ...]:
        """Names of tensors with NaN or infinite values, as far as values were asked for."""
        return tuple(
            tensor.name
            for tensor in self.tensors
            if tensor.values is not None and tensor.values.nan + tensor.values.infinite
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """What is off, a few words each; empty for a checkpoint that is whole and sound."""
        counts = {
            "missing": len(self.missing),
            "unexpected": len(self.unexpected),
            "misshapen": len(self.misshapen),
            "tied but different": len(self.differing_ties),
            "with NaN or infinite values": len(self.not_finite),
        }
        return tuple(f"{count} {what}" for what, count in counts.items() if count)
