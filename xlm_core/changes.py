"""What resizing and pruning do to a configuration; the families then change their tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError


def new_vocabulary_size(
    config: XLMConfig,
    architecture: str,
    new_num_tokens: int | None,
    pad_to_multiple_of: int | None,
) -> int:
    """The size that `resize_token_embeddings` was asked for.

    Raises:
        ConfigError: If the size is impossible, or the output is an adaptive softmax, whose
            clusters follow word frequency.
    """
    size = config.vocab_size if new_num_tokens is None else new_num_tokens
    if pad_to_multiple_of:
        size = -(-size // pad_to_multiple_of) * pad_to_multiple_of
    if size != config.vocab_size and config.asm and architecture == "XLMWithLMHeadModel":
        raise ConfigError("asm is True: an adaptive softmax cannot be resized.")
    config.copy(vocab_size=size)  # raises where the size is impossible
    return size


def prune(config: XLMConfig, heads_to_prune: Mapping[int, Iterable[int]]) -> dict[int, list[int]]:
    """Remove heads from the configuration, in the numbering of the unpruned model.

    Returns:
        Layer -> places, among the heads that it had until now, of those that stay; only the
        layers that change.

    Raises:
        ConfigError: For a layer or a head that does not exist, or a layer's last head; then the
            configuration is as before.
    """
    merged = {layer: list(heads) for layer, heads in (config.pruned_heads or {}).items()}
    for layer, heads in heads_to_prune.items():
        merged[layer] = sorted({*merged.get(layer, ()), *heads})
    after = config.copy(pruned_heads=merged)
    kept = {}
    for layer in merged:
        old, new = config.heads_of(layer), after.heads_of(layer)
        if new != old:
            kept[layer] = [old.index(head) for head in new]
    config.pruned_heads = merged
    return kept
