"""How far logits with a cache are from those of one pass without, by dtype, in both families.

    python benchmarks/generation_error.py [--framework torch|tf]

A causal model and a decoder of 6 layers, width 256, 2,000 words, with random weights, generate 40
tokens greedily, with the cache and the fast paths of `generate`. Printed for each dtype: the
largest difference of their logits from those of one pass over the same tokens in the same dtype,
and from those in float64, both relative to the largest logit.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from xlm_core import XLMConfig

TOKENS = 40
SIZES: dict[str, Any] = {"vocab_size": 2000, "emb_dim": 256, "n_layers": 6, "n_heads": 8}
KINDS = {
    "causal": ("XLMWithLMHeadModel", {"causal": True}),
    "decoder": ("XLMForConditionalGeneration", {"is_encoder_decoder": True}),
}
Array = np.ndarray[Any, Any]


def prompts(kind: str) -> Array:
    """4 rows of 16 tokens, framed."""
    ids = np.random.default_rng(0).integers(5, 2000, (4, 16))
    ids[:, 0] = 1
    if kind == "decoder":
        ids[:, -1] = 1
    return ids


def logits_of(model: Any, kind: str, tensor: Callable[[Array], Any]) -> tuple[Array, Array, Any]:
    """Logits by steps with a cache and by one pass without, and the tokens."""
    ids = tensor(prompts(kind))
    found = model.generate(
        ids, max_new_tokens=TOKENS, eos_token_id=None, output_scores=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    return np.stack([_array(step) for step in found.scores], axis=1), *whole(
        model, kind, ids, found
    )


def whole(model: Any, kind: str, ids: Any, found: Any) -> tuple[Array, Any]:
    """Logits of one pass over the tokens that were generated, and these."""
    sequences = found.sequences
    inputs = (sequences,) if kind == "causal" else (ids,)
    decoder = {} if kind == "causal" else {"decoder_input_ids": sequences}
    logits = _array(model(*inputs, **decoder).logits)
    return logits[:, -TOKENS - 1 : -1], sequences


def _array(tensor: Any) -> Array:
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().double()
    return np.asarray(tensor.numpy(), dtype=np.float64)


def in_torch(kind: str) -> None:
    """PyTorch's rows."""
    import torch

    import xlm_torch

    name, fields = KINDS[kind]
    torch.manual_seed(0)
    model = xlm_torch.MODEL_CLASSES[name](XLMConfig(**SIZES, **fields)).double().eval()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    ids = torch.from_numpy(prompts(kind))
    for dtype, autocast in (
        (torch.float64, None),
        (torch.float32, None),
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.float16),
        (torch.bfloat16, None),
        (torch.float16, None),
    ):
        model.to(dtype).load_state_dict(weights)
        use = torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None)
        with torch.no_grad(), use:
            steps, at_once, sequences = logits_of(model, kind, torch.from_numpy)
        model.double().load_state_dict(weights)
        with torch.no_grad():
            exact, _ = whole(model, kind, ids, _Tokens(sequences))
        label = str(dtype).removeprefix("torch.")
        if autocast is not None:
            label = f"autocast {str(autocast).removeprefix('torch.')}"
        report("PyTorch", kind, label, steps, at_once, exact)


def in_tf(kind: str) -> None:
    """TensorFlow's rows."""
    import keras
    import tensorflow as tf

    import xlm_tf

    name, fields = KINDS[kind]
    keras.utils.set_random_seed(0)
    judge = xlm_tf.MODEL_CLASSES[name](XLMConfig(**SIZES, **fields), dtype="float64")
    weights = judge.get_weights()
    for dtype in ("float64", "float32", "mixed_bfloat16", "mixed_float16", "bfloat16", "float16"):
        model = xlm_tf.MODEL_CLASSES[name](XLMConfig(**SIZES, **fields), dtype=dtype)
        model.set_weights(weights)
        steps, at_once, sequences = logits_of(model, kind, tf.constant)
        exact, _ = whole(judge, kind, tf.constant(prompts(kind)), _Tokens(sequences))
        report("TensorFlow", kind, dtype, steps, at_once, exact)


class _Tokens:
    def __init__(self, sequences: Any) -> None:
        self.sequences = sequences


def report(family: str, kind: str, dtype: str, steps: Array, at_once: Array, exact: Array) -> None:
    """Print one row."""
    largest = np.abs(exact).max()
    differences = (np.abs(steps - other).max() / largest for other in (at_once, exact))
    print(f"{family:10} {kind:8} {dtype:18}", *(f"{each:8.1e}" for each in differences), flush=True)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--framework", choices=("torch", "tf"), help="default: both")
    chosen = parser.parse_args().framework
    print("                                    uncached  float64")
    for framework, rows in (("torch", in_torch), ("tf", in_tf)):
        if chosen in (None, framework):
            for kind in KINDS:
                rows(kind)


if __name__ == "__main__":
    main()
