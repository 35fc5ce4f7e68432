"""`inspect`: what a checkpoint of any layout is and holds, and what is missing or extra in it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conversion.checkpoint_files import File, files_of, shared_bytes
from conversion.progress import ByteProgress
from conversion.tensor_values import Values, values_of
from xlm_core.checkpoints.fitting import Fit, class_of, fit_checkpoint
from xlm_core.checkpoints.layouts import LAYOUTS, why_not
from xlm_core.checkpoints.opening import Checkpoint, open_checkpoint
from xlm_core.config import XLMConfig
from xlm_core.containers.comparing import bits
from xlm_core.containers.lazy_tensors import DTYPES


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


def inspect(
    source: str | os.PathLike[str], *, values: bool = False, progress: ByteProgress | None = None
) -> Inspection:
    """Describe a checkpoint; what is missing or extra in it is told, not raised.

    Args:
        source: As of `open_checkpoint`.
        values: Read all tensors and describe their values; else nothing large is read.
        progress: Is told about bytes.

    Raises:
        XLMError: If it cannot be opened at all.
    """
    start = time.perf_counter()
    progress = progress or ByteProgress(None)
    checkpoint = open_checkpoint(source)
    architecture = class_of(checkpoint)
    placement = fit_checkpoint(checkpoint, architecture)
    seconds = {"open": time.perf_counter() - start}

    described: list[Values | None] = [None] * len(checkpoint.tensors)
    if values:
        began = time.perf_counter()
        read = [*checkpoint.tensors.values()]
        progress.begin("reading", sum(tensor.nbytes for tensor in read))
        described = [*values_of(read, progress.add)]
        ties = placement.differing_ties()
        progress.end()
        seconds["values"] = time.perf_counter() - began
    else:
        ties = [pair for pair in placement.repeated if _begin_differently(placement, pair)]
    owned = [spec for spec in placement.specs if spec.tied_to is None]
    in_file = {tensor.dtype for tensor in checkpoint.tensors.values()}
    parameters = sum(spec.size for spec in owned)
    seconds["total"] = time.perf_counter() - start
    return Inspection(
        source=os.fspath(source),
        layout=checkpoint.layout,
        folder=os.fspath(checkpoint.folder),
        files=files_of(checkpoint),
        architecture=architecture,
        config=checkpoint.config,
        tensors=_tensors(checkpoint, placement, described),
        parameters=parameters,
        trainable=sum(spec.size for spec in owned if spec.trainable),
        memory={"float32": 4 * parameters} | _memory_as_stored(placement, in_file),
        missing={spec.path: spec.shape for spec in placement.missing},
        unexpected=placement.unexpected,
        misshapen=placement.misshapen,
        left_out=placement.left_out,
        differing_ties=tuple(ties),
        dropped=checkpoint.dropped,
        original=_dictionary(checkpoint),
        why_not={
            name: why_not(layout, checkpoint.config, architecture, in_file)
            for name, layout in LAYOUTS.items()
        },
        notes=_notes(checkpoint, placement, architecture, whole=values),
        seconds=seconds,
    )


def _begin_differently(placement: Fit, pair: tuple[str, str]) -> bool:
    """Whether two tied tensors differ in their first block: what can be told at once."""
    first, second = (placement.placed[path][1] for path in pair)
    if first.place == second.place:
        return False
    if first.shape != second.shape or first.dtype != second.dtype:
        return True
    return not np.array_equal(bits(next(first.blocks())), bits(next(second.blocks())))


def _memory_as_stored(placement: Fit, in_file: set[str]) -> dict[str, int]:
    if len(in_file) == 1:
        (dtype,) = in_file
        count = sum(spec.size for spec in placement.specs if spec.tied_to is None)
        return {dtype: DTYPES[dtype].itemsize * count}
    return {}


def _tensors(
    checkpoint: Checkpoint, placement: Fit, described: list[Values | None]
) -> tuple[Tensor, ...]:
    notes = dict.fromkeys(placement.unexpected, "unexpected")
    notes |= dict.fromkeys(placement.left_out, "of another head")
    notes |= dict.fromkeys(placement.ignored, "without meaning for the model")
    tied = {spec.path: spec.tied_to for spec in placement.specs if spec.tied_to is not None}
    for path, (name, _) in placement.placed.items():
        if path in placement.misshapen:
            notes[name] = "misshapen"
        elif path in tied:
            notes[name] = f"tied to {tied[path]}"
    shared = shared_bytes(checkpoint.tensors)
    pairs = zip(checkpoint.tensors.items(), described, strict=True)
    return tuple(
        Tensor(
            name,
            tensor.shape,
            tensor.dtype,
            tensor.nbytes,
            notes.get(name, ""),
            shared.get(name),
            values,
        )
        for (name, tensor), values in pairs
    )


def _dictionary(checkpoint: Checkpoint) -> Dictionary | None:
    original = checkpoint.original
    if original is None:
        return None
    return Dictionary(
        tuple(map(str, original.params)),
        None if original.words is None else len(original.words),
        any(original.counts or ()),
        original.code_counts is not None,
        tuple(map(str, original.extra)),
    )


def _notes(
    checkpoint: Checkpoint, placement: Fit, architecture: str, *, whole: bool
) -> tuple[str, ...]:
    notes = []
    if checkpoint.architecture is None:
        named = checkpoint.config.architectures
        notes.append(
            f"the configuration names the classes {named!r}, none of which is known"
            if named
            else "nothing says its class"
        )
        notes[-1] += f": its tensors were compared with {architecture}"
    if checkpoint.as_model() is not checkpoint:
        notes.append("an encoder-decoder: the model classes run its encoder only")
    notes += [f"{spec.path} is a fixed table, made when it is loaded" for spec in placement.made]
    if placement.repeated and not whole:
        apart = [
            path
            for path, other in placement.repeated
            if placement.placed[path][1].place != placement.placed[other][1].place
        ]
        notes += [f"{path} is stored twice; only its beginning was compared" for path in apart]
    return tuple(notes)
