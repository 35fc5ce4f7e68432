"""docs/layouts.md, from the layouts and the weight table: `python -m conversion.layouts_page`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from xlm_core.checkpoints.layouts import LAYOUTS, why_not
from xlm_core.config import XLMConfig
from xlm_core.weights import (
    ARCHITECTURES,
    ENCODER_DECODER,
    Dialect,
    is_transposed,
    name_of,
    tensors_of,
)

_SIZES = {
    "vocab_size": 64,
    "emb_dim": 16,
    "n_layers": 1,
    "n_heads": 4,
    "n_langs": 2,
    "max_position_embeddings": 8,
    "num_labels": 2,
}
# Title -> class and fields that decide whether it has a place.
_MODELS: dict[str, tuple[str, dict[str, object]]] = {
    **{name: (name, {}) for name in ARCHITECTURES},
    "XLMForSequenceClassification, another summary": (
        "XLMForSequenceClassification",
        {"summary_type": "mean"},
    ),
    "XLMWithLMHeadModel, untied": ("XLMWithLMHeadModel", {"tie_word_embeddings": False}),
    "XLMWithLMHeadModel, adaptive softmax": (
        "XLMWithLMHeadModel",
        {"asm": True, "asm_cutoffs": [8, 24], "asm_div_value": 2.0},
    ),
    "sinusoidal positions": ("XLMWithLMHeadModel", {"sinusoidal_embeddings": True}),
    "pruned heads": ("XLMWithLMHeadModel", {"pruned_heads": {0: [1]}}),
    "layer_norm_eps other than 1e-12": ("XLMWithLMHeadModel", {"layer_norm_eps": 1e-5}),
    f"{ENCODER_DECODER} (the original's translation models)": (ENCODER_DECODER, {}),
}
_HEAD = """# Layouts

Generated from the weight table by `python -m conversion.layouts_page`; a test holds it equal.

`xlm convert SRC DST --to LAYOUT` writes any of these. `from_pretrained` of both families, `xlm
inspect` and `xlm verify` read all of them, without either framework.

"""
_BETWEEN = """
## Which model has a place where

Every pair of layouts that both have "yes" in a row converts into each other and back, bit for
bit. Elsewhere a conversion is refused, with the reason.

"""
_NAMES = """
## The names of a tensor

One entry of the weight table, in every dialect. ᵀ: stored transposed. -: no place there.

"""


def layouts_page() -> str:
    """The text of docs/layouts.md."""
    return "".join((_HEAD, *_layouts(), _BETWEEN, *_places(), _NAMES, *_names()))


def _layouts() -> Iterator[str]:
    yield "| layout | what | in a folder | as one file | in several files | float dtypes |\n"
    yield "|---|---|---|---|---|---|\n"
    for layout in LAYOUTS.values():
        alone = f"`*{layout.alone}`" if layout.alone else "-"
        several = f"`{layout.index}`" if layout.sharded else "-"
        dtypes = ", ".join(layout.dtypes)
        what = f"`{layout.name}` | {layout.title} | `{layout.file}`"
        yield f"| {what} | {alone} | {several} | {dtypes} |\n"


def _places() -> Iterator[str]:
    reasons: list[str] = []
    yield f"| model | {' | '.join(f'`{name}`' for name in LAYOUTS)} |\n"
    yield f"|---|{'---|' * len(LAYOUTS)}\n"
    for title, (architecture, fields) in _MODELS.items():
        config = XLMConfig(**{**_SIZES, **fields})
        cells = []
        for layout in LAYOUTS.values():
            reason = why_not(layout, config, architecture)
            if reason is not None and reason not in reasons:
                reasons.append(reason)
            cells.append("yes" if reason is None else f"no ({reasons.index(reason) + 1})")
        yield f"| {title} | {' | '.join(cells)} |\n"
    yield "\n"
    yield from (f"{number}. {reason}.\n" for number, reason in enumerate(reasons, 1))


def _names() -> Iterator[str]:
    dialects: tuple[Dialect, ...] = ("torch", "tf", "facebook", "keras_file")
    yield "| PyTorch | TensorFlow of transformers | original | Keras 3 |\n|---|---|---|---|\n"
    for architecture in ARCHITECTURES:
        config = XLMConfig(**_SIZES)
        for spec in tensors_of(config, architecture):
            if spec.in_encoder and architecture != "XLMModel":
                continue
            names = []
            for dialect in dialects:
                name = name_of(spec, dialect, architecture)
                mark = " ᵀ" if is_transposed(spec, dialect) else ""
                names.append("-" if name is None else f"`{name}`{mark}")
            yield f"| {' | '.join(names)} |\n"


if __name__ == "__main__":
    sys.stdout.write(layouts_page())
