"""safetensors, as transformers 4's TensorFlow writes it: the names and orientation of Keras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xlm_core.checkpoints.layouts.base import Content
from xlm_core.checkpoints.layouts.safetensors import metadata_lost
from xlm_core.checkpoints.layouts.tf import TFLayout
from xlm_core.checkpoints.layouts.weights_file import WeightsFile
from xlm_core.containers.lazy_tensors import FLOAT_DTYPES, LazyTensor
from xlm_core.containers.safetensors import write_safetensors
from xlm_core.containers.streaming import Progress


class TFSafetensorsLayout(TFLayout):
    """model.safetensors whose metadata says that its format is TensorFlow's."""

    name = "tf-safetensors"
    title = "safetensors, as transformers 4's TensorFlow writes it"
    file = "model.safetensors"
    container = "safetensors"
    dtypes = FLOAT_DTYPES

    def recognises(self, file: WeightsFile) -> bool:
        """Only if its metadata says so; any other safetensors file is PyTorch's."""
        return file.is_safetensors and file.safetensors[1].get("format") == "tf"

    def read(self, file: WeightsFile) -> Content:
        """See `Layout.read`."""
        tensors, metadata = file.safetensors
        return Content(tensors, dropped=metadata_lost(metadata, tensors))

    def write_file(
        self,
        path: Path,
        tensors: Mapping[str, LazyTensor],
        architecture: str,
        progress: Progress | None,
    ) -> None:
        """See `ShardedLayout.write_file`."""
        self.write_shard(path, tensors, progress)

    def write_shard(
        self, path: Path, tensors: Mapping[str, LazyTensor], progress: Progress | None
    ) -> None:
        """See `ShardedLayout.write_shard`."""
        write_safetensors(path, tensors, {"format": "tf"}, progress)
