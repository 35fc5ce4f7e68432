"""What resizing and pruning do to a configuration; the families then change their tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any, NoReturn

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError
from xlm_core.weights import ENCODER_DECODER


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
    if pad_to_multiple_of is not None and (
        not isinstance(pad_to_multiple_of, int) or pad_to_multiple_of < 0
    ):
        raise ConfigError(
            f"pad_to_multiple_of is {pad_to_multiple_of!r}: expected an integer of at least 1, or "
            "None to leave the size as it is."
        )
    if pad_to_multiple_of:
        size = -(-size // pad_to_multiple_of) * pad_to_multiple_of
    if (
        size != config.vocab_size
        and config.asm
        and architecture
        in (
            "XLMWithLMHeadModel",
            ENCODER_DECODER,
        )
    ):
        raise ConfigError("asm is True: an adaptive softmax cannot be resized.")
    config.copy(vocab_size=size)  # raises where the size is impossible
    return size


def check_embeddings(config: XLMConfig, shape: tuple[int, ...]) -> None:
    """Raise `ConfigError` if the word embeddings have another shape than the configuration says.

    Args:
        config: The model's.
        shape: Of the matrix; anything but two dimensions is passed over, for a matrix that a tool
            keeps elsewhere between calls has none of its own.
    """
    expected = (config.vocab_size, config.emb_dim)
    if len(shape) == 2 and shape != expected:
        what = (
            f"resize_token_embeddings({shape[0]}) of the whole model, which changes all that "
            "follows the vocabulary"
            if shape[1] == config.emb_dim
            else "set_input_embeddings() of the whole model with a matrix of this width"
        )
        raise ConfigError(
            f"the word embeddings have shape {shape}, and vocab_size and emb_dim of the "
            f"configuration say {expected}: call {what}."
        )


def check_output(config: XLMConfig, rows: int, *, is_embeddings: bool) -> None:
    """Raise `ConfigError` if a language model's output does not go with its embeddings.

    So it is after the embeddings were resized or replaced through the encoder, which knows nothing
    of the head.

    Args:
        config: The model's.
        rows: Words that the output predicts.
        is_embeddings: Whether its matrix is the word embeddings', where the two are to be tied.
    """
    size = config.vocab_size
    if rows != size and config.asm:
        raise ConfigError(
            f"the adaptive softmax predicts {rows} words, and there are {size} word embeddings: it "
            f"cannot be resized. Undo it: call transformer.resize_token_embeddings({rows})."
        )
    if rows != size:
        raise ConfigError(
            f"the output predicts {rows} words, and there are {size} word embeddings: call "
            f"resize_token_embeddings({size}) of the model with the head, not of its encoder."
        )
    if config.ties_output and not is_embeddings:
        refuse_untied()


def refuse_untied() -> NoReturn:
    """Raise `ConfigError` for a tied output that has a matrix of its own."""
    raise ConfigError(
        "tie_word_embeddings is True, and the matrix of the output is no longer that of the word "
        "embeddings, of which one was replaced: call tie_weights() to make them one, or set "
        "config.tie_word_embeddings = False to keep both."
    )


def check_new_output(
    config: XLMConfig, shape: tuple[int, ...] | None, *, is_embeddings: bool
) -> None:
    """Raise `ConfigError` unless an output projection may take the place of a language model's.

    Args:
        config: The model's.
        shape: Of its matrix, in PyTorch's orientation; None: it has none of that name.
        is_embeddings: Whether its matrix is the word embeddings'.
    """
    expected = (config.vocab_size, config.emb_dim)
    if config.asm:
        raise ConfigError("asm is True: the adaptive softmax cannot be replaced.")
    if shape is not None and shape != expected:
        raise ConfigError(
            f"the new output's matrix has shape {shape}: expected vocab_size and emb_dim, "
            f"{expected}. To change the size of the vocabulary, call resize_token_embeddings() "
            "first."
        )
    if config.ties_output and not is_embeddings:
        raise ConfigError(
            "tie_word_embeddings is True, so that the output's matrix is that of the word "
            "embeddings: replace it with set_input_embeddings(), or set "
            "config.tie_word_embeddings = False first."
        )


def prune(config: XLMConfig, heads_to_prune: Mapping[int, Iterable[int]]) -> dict[int, list[int]]:
    """Remove heads from the configuration, in the numbering of the unpruned model.

    Args:
        config: Is changed.
        heads_to_prune: Layer -> heads; layer -1 is the last.

    Returns:
        Layer -> places, among the heads that it had until now, of those that stay; only the
        layers that change.

    Raises:
        ConfigError: For a layer or a head that does not exist, or a layer's last head; then the
            configuration is as before.
    """
    given: Any = heads_to_prune
    try:  # of JSON, keys are text; of numpy and tensors, numbers have types of their own
        asked = {
            int(layer) if isinstance(layer, str) else index(layer): [*map(index, heads)]
            for layer, heads in given.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the heads to prune are {heads_to_prune!r:.80}: expected a table from layer to a "
            "list of heads."
        ) from error
    merged: dict[int, list[int]] = {}
    for table in (config.pruned_heads or {}, asked):
        for layer, heads in table.items():
            named = layer + config.n_layers if -config.n_layers <= layer < 0 else layer
            merged[named] = sorted({*merged.get(named, ()), *heads})
    after = config.copy(pruned_heads=merged)
    kept = {}
    for layer in merged:
        old, new = config.heads_of(layer), after.heads_of(layer)
        if new != old:
            kept[layer] = [old.index(head) for head in new]
    config.pruned_heads = merged
    return kept
