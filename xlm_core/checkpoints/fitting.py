"""Compare the tensors of a checkpoint with those of a class: report everything, raise nothing.

`matching` decides from the report whether a checkpoint opens; `inspect` and `verify` show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xlm_core.checkpoints.naming import architecture_in, variants
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.config import XLMConfig
from xlm_core.containers.comparing import same_values
from xlm_core.containers.lazy_tensors import FLOAT_DTYPES, LazyTensor
from xlm_core.weights import (
    ARCHITECTURES,
    ENCODER_DECODER,
    Kind,
    TensorSpec,
    name_of,
    tensors_of,
)

# Buffers that older transformers saved.
BUFFERS = ("position_ids", "transformer.position_ids")
# With an adaptive softmax, transformers 4.57 saves this matrix beside the clusters.
_STRAY = "pred_layer.proj.weight"
# A fixed table that a file need not hold is made, up to this many numbers.
_LARGEST_TABLE = 1 << 22
_MOST_NAMES = 100


@dataclass(frozen=True)
class Fit:
    """A comparison of the tensors of a file with those of a class.

    Attributes:
        architecture: The class.
        specs: Every tensor of the class, in the order of the weight table.
        placed: Path of a spec -> (name, tensor) in the checkpoint, tied ones included.
        missing: Specs that the checkpoint should hold and does not.
        made: Fixed tables that it need not hold and does not.
        misshapen: Path -> what was found and what was expected, in words.
        unexpected: Names that no class has.
        left_out: Names that belong to another head.
        others: Name -> tensor, of unexpected and of left_out.
        ignored: Names without meaning for the model, such as buffers.
        repeated: (path, path) of tied tensors of which the file holds both.
    """

    architecture: str
    specs: tuple[TensorSpec, ...]
    placed: Mapping[str, tuple[str, LazyTensor]]
    missing: tuple[TensorSpec, ...]
    made: tuple[TensorSpec, ...]
    misshapen: Mapping[str, str]
    unexpected: tuple[str, ...]
    left_out: tuple[str, ...]
    others: Mapping[str, LazyTensor]
    ignored: tuple[str, ...]
    repeated: tuple[tuple[str, str], ...]

    def tensor(self, spec: TensorSpec) -> LazyTensor | None:
        """The tensor that a model takes for a spec; for a tied one, the tensor it is tied to."""
        entry = self.placed.get(spec.tied_to or spec.path)
        return None if entry is None else entry[1]

    def problems(self) -> list[str]:
        """Describe what is missing, unexpected or misshapen; tied tensors are not compared."""
        lists = (
            ("missing", [spec.path for spec in self.missing]),
            ("unexpected", [*self.unexpected]),
            ("misshapen", [f"{path}: {words}" for path, words in self.misshapen.items()]),
        )
        return [listed(what, names) for what, names in lists if names]

    def differing_ties(self) -> list[tuple[str, str]]:
        """The pairs of `repeated` whose values differ; reads tensors that do not share storage."""
        return [
            pair
            for pair in self.repeated
            if not same_values(self.placed[pair[0]][1], self.placed[pair[1]][1])
        ]


def listed(what: str, names: Sequence[str]) -> str:
    """Format a count and the names behind it, at most a hundred."""
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return f"{what} ({len(names)}): {', '.join(names[:_MOST_NAMES])}{more}"


def class_of(checkpoint: Checkpoint) -> str:
    """The class that a checkpoint is: as its configuration says, else as its tensors suggest."""
    return checkpoint.architecture or architecture_in(checkpoint.tensors) or "XLMModel"


def fit_checkpoint(checkpoint: Checkpoint, architecture: str) -> Fit:
    """Compare an opened checkpoint with a class, as `fit_tensors` does for tensors."""
    return fit_tensors(checkpoint.tensors, checkpoint.config, architecture)


def fit_tensors(tensors: Mapping[str, LazyTensor], config: XLMConfig, architecture: str) -> Fit:
    """Assign every tensor of a file to its place in a class; no tensor is read.

    Args:
        tensors: Name in the PyTorch dialect -> tensor. The file may hold any head, or none.
        config: The configuration of the model.
        architecture: A key of `ARCHITECTURES`, or `ENCODER_DECODER`.
    """
    remaining = dict(tensors)
    harmless = (*BUFFERS, _STRAY) if config.asm else BUFFERS
    ignored = [name for name in harmless if name in remaining]
    for name in ignored:
        del remaining[name]
    # Encoder names carry the stem in files of heads and none in files of the bare model.
    stem_from = "XLMModel" if "embeddings.weight" in remaining else "XLMWithLMHeadModel"
    specs = tensors_of(config, architecture)
    placed: dict[str, tuple[str, LazyTensor]] = {}
    missing: list[TensorSpec] = []
    made: list[TensorSpec] = []
    misshapen: dict[str, str] = {}
    for spec in specs:
        found = _name_in(remaining, spec, stem_from)
        if found is not None:
            tensor = remaining.pop(found)
            placed[spec.path] = (found, tensor)
            if tensor.dtype not in FLOAT_DTYPES:
                misshapen[spec.path] = f"found dtype {tensor.dtype}, expected a float"
            elif tensor.shape != spec.shape:
                misshapen[spec.path] = f"found {tensor.shape}, expected {spec.shape}"
        elif not spec.trainable and spec.size <= _LARGEST_TABLE:
            made.append(spec)
        elif spec.tied_to is None:
            missing.append(spec)
    # Names that another head, or this one under another configuration, would have.
    heads = [ENCODER_DECODER] if architecture == ENCODER_DECODER else ARCHITECTURES
    elsewhere = {
        name_of(spec, "torch", name)
        for variant in variants(config)
        for name in heads
        for spec in tensors_of(variant, name)
        if not spec.in_encoder
    }
    return Fit(
        architecture,
        specs,
        placed,
        tuple(missing),
        tuple(made),
        misshapen,
        tuple(name for name in remaining if name not in elsewhere),
        tuple(name for name in remaining if name in elsewhere),
        remaining,
        tuple(ignored),
        tuple(
            (spec.path, spec.tied_to)
            for spec in specs
            if spec.tied_to is not None and spec.path in placed and spec.tied_to in placed
        ),
    )


def _name_in(names: Mapping[str, LazyTensor], spec: TensorSpec, stem_from: str) -> str | None:
    name = name_of(spec, "torch", stem_from)
    assert name is not None
    spellings = [name]
    if spec.kind in (Kind.NORM_SCALE, Kind.NORM_SHIFT):
        # The spelling of checkpoints converted from TensorFlow long ago.
        leaf = "gamma" if spec.kind is Kind.NORM_SCALE else "beta"
        spellings.append(f"{name.rpartition('.')[0]}.{leaf}")
    return next((spelling for spelling in spellings if spelling in names), None)
