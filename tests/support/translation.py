"""Encoder-decoders for tests: golden batches of the original, and small random ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.golden import Array
from tests.support.parity import as_array, assert_close_to_largest
from xlm_core import XLMConfig

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "emb_dim": 16,
    "n_layers": 2,
    "n_heads": 4,
    "n_langs": 2,
    "max_position_embeddings": 24,
    "is_encoder_decoder": True,
    "is_encoder": False,
}


def small_config(**fields: Any) -> XLMConfig:
    """A small encoder-decoder's configuration."""
    return XLMConfig(**{**SIZES, **fields})


def small_batch(seed: int = 0) -> dict[str, Array]:
    """Sources and labels of several lengths, with the languages of both."""
    rng = np.random.default_rng(seed)
    source, labels = rng.integers(6, 60, (4, 9)), rng.integers(6, 60, (4, 7))
    for row, (one, other) in enumerate(((9, 2), (3, 7), (1, 1), (6, 5))):
        source[row, one:] = 2
        labels[row, other:] = -100
    return {
        "input_ids": source,
        "langs": np.zeros_like(source),
        "labels": labels,
        "decoder_langs": np.ones_like(labels),
    }


def golden_batch(name: str, shared: Callable[[str], Path]) -> tuple[Path, dict[str, Array], Any]:
    """A golden translation model's file, arguments of a call, and the original's outputs."""
    folder = shared(f"golden/facebook/{name}")
    with np.load(folder / "expected.npz") as arrays:
        expected = dict(arrays)
    source, target = (np.ascontiguousarray(expected[key].T) for key in ("x", "tgt_x"))
    batch = {
        "input_ids": source,
        "lengths": expected["lengths"],
        "langs": np.full_like(source, expected["src_lang"]),
        "decoder_input_ids": target,
        "decoder_langs": np.full_like(target, expected["tgt_lang"]),
        "decoder_attention_mask": np.arange(target.shape[1]) < expected["tgt_lengths"][:, None],
    }
    return next(folder.glob("*.pth")), batch, expected


def assert_golden(output: Any, batch: dict[str, Array], expected: Any, bound: float) -> None:
    """What the original encoded, decoded and scored, where there are tokens."""
    source = np.arange(batch["input_ids"].shape[1]) < batch["lengths"][:, None]
    target = batch["decoder_attention_mask"]
    found = {
        "encoded": (output.encoder_last_hidden_state, source),
        "decoded": (output.decoder_hidden_states[-1], target),
        "scores": (output.logits, target),
    }
    for name, (tensor, tokens) in found.items():
        theirs = np.swapaxes(expected[f"{name}_f64"], 0, 1)[tokens]
        assert_close_to_largest(as_array(tensor)[tokens], theirs, bound, name)
