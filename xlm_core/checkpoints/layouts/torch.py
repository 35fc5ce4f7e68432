"""PyTorch's pickle, as transformers 4 writes it: a table of tensors in a file of `torch.save`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xlm_core.checkpoints.layouts.base import Content
from xlm_core.checkpoints.layouts.sharded import ShardedLayout
from xlm_core.checkpoints.layouts.weights_file import WeightsFile
from xlm_core.checkpoints.naming import already_canonical
from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.streaming import Progress
from xlm_core.containers.torch_files import write_torch
from xlm_core.errors import CheckpointError
from xlm_core.weights import ENCODER_DECODER


class TorchLayout(ShardedLayout):
    """pytorch_model.bin: names and orientation of PyTorch, tied tensors under both names."""

    name = "torch"
    title = "PyTorch's pickle, as transformers 4 writes it"
    dialect = "torch"
    file = "pytorch_model.bin"
    container = "torch"
    repeats_tied = True
    prefixes_are_taken_off = True

    def recognises(self, file: WeightsFile) -> bool:
        """Any file of `torch.save`."""
        return file.is_torch

    def read(self, file: WeightsFile) -> Content:
        """See `Layout.read`."""
        content = file.torch
        is_table = isinstance(content, Mapping) and all(
            isinstance(name, str) and isinstance(tensor, LazyTensor)
            for name, tensor in content.items()
        )
        if not is_table or not content:
            raise CheckpointError(
                f"{file} holds a {type(content).__name__} that is neither a table of tensors nor "
                "a checkpoint of the original (with model, or encoder and decoder)."
            )
        return Content(dict(content))

    def canonical(
        self, tensors: Mapping[str, LazyTensor], config: XLMConfig, source: str
    ) -> dict[str, LazyTensor]:
        """See `Layout.canonical`."""
        return already_canonical(tensors, config, source)

    def refuses(self, config: XLMConfig, architecture: str) -> str | None:
        """See `Layout.refuses`."""
        if architecture == ENCODER_DECODER:
            return "transformers' PyTorch pickle has no decoder: no class of transformers has one"
        return None

    def write_shard(
        self, path: Path, tensors: Mapping[str, LazyTensor], progress: Progress | None
    ) -> None:
        """See `ShardedLayout.write_shard`."""
        write_torch(path, tensors, progress=progress)
