"""The one table of every tensor of every model: its shape, and its name in every dialect."""

from xlm_core.weights.names import DIALECTS, Dialect, name_of
from xlm_core.weights.table import ARCHITECTURES, Kind, TensorSpec, tensors_of

__all__ = [
    "ARCHITECTURES",
    "DIALECTS",
    "Dialect",
    "Kind",
    "TensorSpec",
    "name_of",
    "tensors_of",
]
