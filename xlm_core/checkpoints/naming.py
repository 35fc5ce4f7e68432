"""Translate the names in a file into those of the weight table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xlm_core.config import XLMConfig
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError
from xlm_core.weights import (
    ARCHITECTURES,
    ENCODER_DECODER,
    Dialect,
    TensorSpec,
    is_transposed,
    name_of,
    tensors_of,
)

# A module of a head -> the class that has it; the first that is there decides.
_HEADS = {
    "pred_layer.": "XLMWithLMHeadModel",
    "logits_proj.": "XLMForMultipleChoice",
    "sequence_summary.": "XLMForSequenceClassification",
    "classifier.": "XLMForTokenClassification",
    "qa_outputs.start_logits.": "XLMForQuestionAnswering",
    "qa_outputs.": "XLMForQuestionAnsweringSimple",
}
# Beyond it, layers are counted against the tensors before names are made up for them.
_MANY_LAYERS, _PER_LAYER = 100, 16


def classes_named(config: XLMConfig) -> list[str]:
    """The classes that a configuration names, without the prefix `TF`."""
    return [name.removeprefix("TF") for name in config.architectures or ()]


def architecture_in(names: Iterable[str]) -> str | None:
    """The class that some names in the PyTorch dialect belong to, or None."""
    names = [*names]
    if any(name.startswith("decoder.") for name in names):
        return ENCODER_DECODER
    for start, architecture in _HEADS.items():
        if any(name.startswith(start) for name in names):
            return architecture
    return "XLMModel" if any(name.endswith("embeddings.weight") for name in names) else None


def canonical_names(
    tensors: Mapping[str, LazyTensor], dialect: Dialect, config: XLMConfig, source: str
) -> dict[str, LazyTensor]:
    """The tensors of a file under their PyTorch names, in PyTorch's orientation.

    Args:
        tensors: Name in the file -> tensor.
        dialect: The dialect of these names.
        config: The configuration, which determines the names that can occur.
        source: What messages call the file.

    Returns:
        Name -> tensor; names that no model has are kept as they are.

    Raises:
        CheckpointError: If the configuration has more layers than the file has tensors for.
    """
    _refuse_many_layers(tensors, config, source)
    table = _table(dialect, config, tensors)
    result: dict[str, LazyTensor] = {}
    for name, tensor in tensors.items():
        spec, path = table.get(name, (None, name))
        transposed = spec is not None and is_transposed(spec, dialect) and len(tensor.shape) == 2
        result[path] = tensor.transposed() if transposed else tensor
    return result


def already_canonical(
    tensors: Mapping[str, LazyTensor], config: XLMConfig, source: str
) -> dict[str, LazyTensor]:
    """As `canonical_names`, for a file in the PyTorch dialect, which needs no look-up."""
    _refuse_many_layers(tensors, config, source)
    return dict(tensors)


def _refuse_many_layers(tensors: Mapping[str, LazyTensor], config: XLMConfig, source: str) -> None:
    names = ("n_layers", "encoder_layers", "decoder_layers")
    name = max(names, key=lambda each: getattr(config, each) or 0)
    layers = getattr(config, name)
    if layers > _MANY_LAYERS and _PER_LAYER * layers > len(tensors):
        raise CheckpointError(
            f"{source}: its configuration says {name}={layers}, but there are only "
            f"{len(tensors)} tensors. Check that config.json belongs to these weights."
        )


def _table(
    dialect: Dialect, config: XLMConfig, names: Iterable[str]
) -> dict[str, tuple[TensorSpec, str]]:
    """Map every name of a file that some class has to its entry in the table and PyTorch name."""
    present = frozenset(names)
    declared = classes_named(config)
    tables: list[tuple[tuple[bool, int], dict[str, tuple[TensorSpec, str]]]] = []
    for variant in variants(config):
        for architecture in (*ARCHITECTURES, ENCODER_DECODER):
            table, absent = {}, 0
            for spec in tensors_of(variant, architecture):
                name = name_of(spec, dialect, architecture)
                path = name_of(spec, "torch", architecture)
                if name in present and name is not None and path is not None:
                    table[name] = (spec, path)
                else:
                    absent += 1
            tables.append(((architecture in declared, len(table) - absent), table))
    # Several classes share names: the one that the configuration names decides what they are,
    # else the one that fits best.
    result: dict[str, tuple[TensorSpec, str]] = {}
    for _, table in sorted(tables, key=lambda entry: entry[0]):
        result |= table
    return result


def variants(config: XLMConfig) -> list[XLMConfig]:
    """Configurations whose heads together have every name that a file for `config` may hold."""
    plain = config.copy(asm=False, summary_use_proj=True)
    return [plain, config] if config.asm else [plain]
