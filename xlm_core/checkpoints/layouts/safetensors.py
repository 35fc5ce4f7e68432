"""safetensors, as transformers' PyTorch and this library write it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xlm_core.checkpoints.layouts.base import Content
from xlm_core.checkpoints.layouts.sharded import ShardedLayout
from xlm_core.checkpoints.layouts.weights_file import WeightsFile
from xlm_core.checkpoints.naming import already_canonical
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.safetensors import write_safetensors
from xlm_core.containers.streaming import Progress


def metadata_lost(
    metadata: Mapping[str, str], tensors: Mapping[str, LazyTensor]
) -> tuple[str, ...]:
    """What a file's metadata says beside its format and the names of tied tensors, in words."""
    lost = [key for key, value in metadata.items() if key != "format" and value not in tensors]
    return (f"metadata of the file: {', '.join(sorted(lost))}",) if lost else ()


class SafetensorsLayout(ShardedLayout):
    """The layout of `save_pretrained`: model.safetensors, names and orientation of PyTorch."""

    name = "safetensors"
    title = "safetensors, as transformers' PyTorch and this library write it"
    dialect = "torch"
    file = "model.safetensors"
    container = "safetensors"
    prefixes_are_taken_off = True

    def recognises(self, file: WeightsFile) -> bool:
        """Any safetensors file."""
        return file.is_safetensors

    def read(self, file: WeightsFile) -> Content:
        """See `Layout.read`."""
        tensors, metadata = file.safetensors
        # `safetensors.torch.save_model` stores tensors that share memory once, and notes the
        # other names of each.
        aliases = {
            name: kept for name, kept in metadata.items() if kept in tensors and name not in tensors
        }
        notes = tuple(f"{name} is stored as {kept}" for name, kept in aliases.items())
        lost = metadata_lost(metadata, tensors)
        tensors = tensors | {name: tensors[kept] for name, kept in aliases.items()}
        return Content(tensors, notes=notes, dropped=lost)

    def config_beside(self, file: Path) -> XLMConfig:
        """The configuration of the folder, as `XLMConfig.save_pretrained` writes it."""
        return XLMConfig.from_json_file(file.parent / "config.json")

    def canonical(
        self, tensors: Mapping[str, LazyTensor], config: XLMConfig, source: str
    ) -> dict[str, LazyTensor]:
        """See `Layout.canonical`."""
        return already_canonical(tensors, config, source)

    def write_shard(
        self, path: Path, tensors: Mapping[str, LazyTensor], progress: Progress | None
    ) -> None:
        """See `ShardedLayout.write_shard`."""
        write_safetensors(path, tensors, {"format": "pt"}, progress)
