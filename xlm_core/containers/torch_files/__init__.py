"""Files of `torch.save`, read and written without torch."""

from xlm_core.containers.torch_files.reading import read_torch
from xlm_core.containers.torch_files.writing import write_torch

__all__ = ["read_torch", "write_torch"]
