"""Layouts whose weights are one file of a fixed name, or shards and an index."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path

from xlm_core.checkpoints.layouts.base import Layout
from xlm_core.checkpoints.shards import index_text, split
from xlm_core.checkpoints.weights import Weights
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.streaming import Progress


class ShardedLayout(Layout):
    """A layout that splits its weights over several files where one would be too large."""

    sharded = True

    def write_weights(
        self,
        folder: Path,
        weights: Weights,
        *,
        largest: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """See `Layout.write_weights`."""
        shards = split(self.named(weights), self.file, largest)
        if len(shards) == 1:
            self.write_file(folder / self.file, shards[0].tensors, weights.architecture, progress)
            return
        for shard in shards:
            self.write_shard(folder / shard.file, shard.tensors, progress)
        text = index_text(shards, self.index_prefix(weights.architecture))
        (folder / self.index).write_text(text, encoding="utf-8")

    def index_prefix(self, architecture: str) -> str:
        """What the index puts before the name of every tensor."""
        return ""

    def write_file(
        self,
        path: Path,
        tensors: Mapping[str, LazyTensor],
        architecture: str,
        progress: Progress | None,
    ) -> None:
        """Write the only file; as a shard, where the layout makes no difference."""
        self.write_shard(path, tensors, progress)

    @abstractmethod
    def write_shard(
        self, path: Path, tensors: Mapping[str, LazyTensor], progress: Progress | None
    ) -> None:
        """Write one of several files: name there -> tensor."""
