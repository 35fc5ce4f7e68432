"""`WeightsFile`: a file of weights, opened once for all layouts that are asked about it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from xlm_core.containers.archives import members
from xlm_core.containers.hdf5 import Group, read_hdf5
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.safetensors import read_safetensors
from xlm_core.containers.sources import FileSource, Source, read_bytes
from xlm_core.containers.torch_files import read_torch

Container = Literal["safetensors", "hdf5", "torch"]
# Where Keras and transformers write names: without these, tensors cannot be named.
KERAS_NAMES = ("layer_names", "weight_names", "name")
# What apex's optimizer, around that of the original's early runs in fp16, keeps as objects.
_LOSS_SCALERS = frozenset(
    f"apex.fp16_utils.loss_scaler.{name}" for name in ("LossScaler", "DynamicLossScaler")
)


class WeightsFile:
    """A file of weights, read as far as somebody asked.

    Layouts ask in turn whether a file is theirs. What they look at is read at the first question
    and kept, so that recognising a file and reading it opens it once.

    Args:
        path: The file.
        container: What it has to be, where an index of shards says so; default: whatever its
            name or its first bytes say.
    """

    def __init__(self, path: Path, container: Container | None = None) -> None:
        self.path = path
        self._container = container

    def __str__(self) -> str:
        """Return what messages call the file."""
        return str(self.path)

    @cached_property
    def source(self) -> Source:
        """The bytes of the file."""
        return FileSource(self.path)

    @cached_property
    def start(self) -> bytes:
        """The first bytes of the file, up to 16."""
        return read_bytes(self.source, 0, min(16, self.source.size))

    # -- what it is ----------------------------------------------------------------------------

    @cached_property
    def is_safetensors(self) -> bool:
        """Whether it is a safetensors file, by its name or its first bytes."""
        if self._container is not None:
            return self._container == "safetensors"
        if self.path.name.endswith(".safetensors"):
            return True
        return self.start[8:9] == b"{" and not self.start.startswith((b"\x89HDF", b"PK"))

    @cached_property
    def is_hdf5(self) -> bool:
        """Whether it is an HDF5 file."""
        return self._is("hdf5", b"\x89HDF")

    @cached_property
    def is_torch(self) -> bool:
        """Whether it may be a file of `torch.save`: a zip archive, or a pickle."""
        return self._is("torch", b"PK", b"\x80")

    def _is(self, container: Container, *starts: bytes) -> bool:
        if self._container is not None:
            return self._container == container
        return not self.is_safetensors and self.start.startswith(starts)

    # -- what is in it -------------------------------------------------------------------------

    @cached_property
    def members(self) -> Mapping[str, Source]:
        """Name -> member of a zip archive; empty for any other file."""
        is_archive = self._container is None and self._is("torch", b"PK")
        return members(self.source) if is_archive else {}

    @cached_property
    def safetensors(self) -> tuple[dict[str, LazyTensor], dict[str, str]]:
        """The tensors and the metadata of a safetensors file."""
        return read_safetensors(self.path)

    @cached_property
    def hdf5(self) -> Group:
        """The root of an HDF5 file."""
        return read_hdf5(self.source, needed=KERAS_NAMES)

    @cached_property
    def torch(self) -> Any:
        """The value in a file of `torch.save`."""
        return read_torch(self.path, namespaces=_LOSS_SCALERS)
