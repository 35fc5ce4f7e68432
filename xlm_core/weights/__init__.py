"""The one table of every tensor of every model: its shape, and its name in every dialect."""

from xlm_core.weights.names import DIALECTS, Dialect, is_transposed, name_of
from xlm_core.weights.table import (
    ARCHITECTURES,
    ENCODER_DECODER,
    PARTS,
    Kind,
    TensorSpec,
    tensors_of,
)

__all__ = [
    "ARCHITECTURES",
    "DIALECTS",
    "ENCODER_DECODER",
    "PARTS",
    "Dialect",
    "Kind",
    "TensorSpec",
    "is_transposed",
    "name_of",
    "tensors_of",
]
