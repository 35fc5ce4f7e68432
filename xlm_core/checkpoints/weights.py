"""`Weights`: a model as its tensors, which is what every layout writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xlm_core.checkpoints.original import Original
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.weights import TensorSpec


@dataclass(frozen=True)
class Weights:
    """A model as its tensors.

    Attributes:
        config: Its configuration.
        architecture: The name of its class, such as "XLMModel".
        tensors: Every tensor of the weight table that is not tied, in PyTorch's orientation.
        original: What it had beside its tensors in the original's file.
        text_files: The tokenizer's and other text files that belong to it, by name, for a layout
            whose single file holds them.
    """

    config: XLMConfig
    architecture: str
    tensors: Sequence[tuple[TensorSpec, LazyTensor]]
    original: Original | None = None
    text_files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def dtypes(self) -> list[str]:
        """Names of the dtypes of the tensors."""
        return sorted({tensor.dtype for _, tensor in self.tensors})

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for _, tensor in self.tensors)
