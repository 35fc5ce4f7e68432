"""The layouts, one file each: how a checkpoint may lie in files, as objects with behaviour."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from xlm_core.checkpoints.layouts.base import Layout
from xlm_core.checkpoints.layouts.facebook import FacebookLayout
from xlm_core.checkpoints.layouts.keras import KerasLayout
from xlm_core.checkpoints.layouts.safetensors import SafetensorsLayout
from xlm_core.checkpoints.layouts.tf import TFLayout
from xlm_core.checkpoints.layouts.tf_safetensors import TFSafetensorsLayout
from xlm_core.checkpoints.layouts.torch import TorchLayout
from xlm_core.checkpoints.layouts.weights_file import Container, WeightsFile
from xlm_core.config import XLMConfig
from xlm_core.errors import CheckpointError

# Files are recognised by the last that claims them: what is a special case of another layout's
# container stands after it.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        SafetensorsLayout(),
        TorchLayout(),
        TFLayout(),
        TFSafetensorsLayout(),
        FacebookLayout(),
        KerasLayout(),
    )
}
# Of a folder or a repository, the first of these that is there is opened.
WEIGHT_FILES = tuple(
    dict.fromkeys(
        name
        for layout in LAYOUTS.values()
        if not layout.patterns
        for name in ((layout.file, layout.index) if layout.sharded else (layout.file,))
    )
)
# In a folder without any of them, the only one of these.
PATTERNS = tuple(pattern for layout in reversed(LAYOUTS.values()) for pattern in layout.patterns)


def container_of_shards(file: str) -> Container | None:
    """What the shards of a file have to be, by the end of its name; PyTorch's, if of no layout."""
    suffixes = {Path(known.file).suffix: known for known in LAYOUTS.values() if known.sharded}
    layout = suffixes.get(Path(file).suffix)
    return "torch" if layout is None else layout.container


def layout_of(file: WeightsFile) -> Layout:
    """The layout of a file.

    Raises:
        CheckpointError: If it is none of `LAYOUTS`, or damaged.
    """
    for layout in reversed(LAYOUTS.values()):
        if layout.recognises(file):
            return layout
    raise CheckpointError(
        f"{file} is no checkpoint of a layout that this library knows, or damaged: it begins with "
        f"{file.start!r}."
    )


def why_not(
    layout: Layout, config: XLMConfig, architecture: str, dtypes: Collection[str] = ()
) -> str | None:
    """Why a model has no place in a layout, or None where it has one.

    Args:
        layout: One of `LAYOUTS`.
        config: The configuration of the model.
        architecture: The name of its class, such as "XLMModel".
        dtypes: Names of the dtypes of its tensors.
    """
    return layout.why_not(config, architecture, dtypes)
