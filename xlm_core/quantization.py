"""What int8 covers, for both families."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xlm_core.errors import ConfigError

LARGEST = 127  # so that a value and its negative are equally far from what they stand for


def linear_layers(model: Any) -> Iterator[tuple[str, Any, str]]:
    """Name, owner and attribute of each linear layer of a model's encoder.

    Args:
        model: An encoder, a head with one as its `transformer`, or an encoder-decoder.

    Raises:
        ConfigError: If there is no such encoder.
    """
    if hasattr(model, "decoder"):
        for part in ("encoder", "decoder"):
            for name, parent, attribute in linear_layers(getattr(model, part)):
                yield f"{part}.{name}", parent, attribute
        return
    encoder = getattr(model, "transformer", model)
    attention = ("q_lin", "k_lin", "v_lin", "out_lin")
    modules = {"attentions": attention, "ffns": ("lin1", "lin2")}
    if hasattr(encoder, "encoder_attn"):
        modules["encoder_attn"] = attention
    for module, names in modules.items():
        if not hasattr(encoder, module):
            raise ConfigError(
                f"{type(model).__name__} is no model of this library: quantize() looks for "
                "attentions and ffns."
            )
        for index, parent in enumerate(getattr(encoder, module)):
            for name in names:
                yield f"{module}.{index}.{name}", parent, name
