"""What share of a machine a run uses: its products of matrices beside the fastest there are."""

from __future__ import annotations

import time
from typing import Any

from xlm_core.config import XLMConfig
from xlm_core.training.engine import Engine, Update

# Rows and columns of the product that is measured, on a CPU and on an accelerator.
_SIZES = {False: 1024, True: 8192}
_SECONDS = 0.3


def operations_of(update: Update, config: XLMConfig) -> float:
    """Floating-point operations of an update's products with weights, there and back.

    Each token goes through the weights of its layers, each label through the output layer, each
    weight is multiplied with three times, and a product is two operations. Behind the attention of
    the last layer, language models compute labelled positions alone. What attention computes
    between positions is left out (of 256 tokens and a width of 1,024, a twenty-fifth).
    """
    width = config.emb_dim
    encoder = 12 * width * width * (config.encoder_layers or config.n_layers)
    decoder = 16 * width * width * (config.decoder_layers or config.n_layers)
    # Half the tokens of a translation are read by each part.
    layers = [
        (encoder + decoder) / 2 if name.startswith("MT") else encoder for name in update.losses
    ]
    mean = sum(layers) / max(len(layers), 1)
    modelling = sum(not name.startswith("MT") for name in update.losses) / max(len(layers), 1)
    skipped = 9 * width * width * modelling * max(update.tokens - update.predicted, 0)
    products = mean * update.tokens - skipped + width * config.vocab_size * update.predicted
    return 6.0 * products


def fastest_of_all(engine: Engine, framework: str, library: Any, precision: str) -> float:
    """`fastest_product` of all ranks together; a process of TensorFlow may have several devices."""
    told = engine.of_all_ranks(fastest_product(framework, library, precision))
    return sum(told) * engine.ranks / len(told)


def fastest_product(framework: str, library: Any, precision: str) -> float:
    """Floating-point operations a second of a large product of matrices, the best of several.

    Args:
        framework: "torch" or "tf".
        library: torch or tensorflow.
        precision: Of the run.
    """
    multiply = (_of_torch if framework == "torch" else _of_tensorflow)(library, precision)
    size, product = multiply
    product()
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        begin = time.perf_counter()
        product()
        best = min(best, time.perf_counter() - begin)
    return 2.0 * size**3 / best


def _of_torch(torch: Any, precision: str) -> tuple[int, Any]:
    on_gpu = torch.cuda.is_available()
    size = _SIZES[on_gpu]
    device = "cuda" if on_gpu else "cpu"
    matrix = torch.ones(size, size, dtype=getattr(torch, precision), device=device)

    def product() -> None:
        torch.mm(matrix, matrix)
        if on_gpu:
            torch.cuda.synchronize()

    return size, product


def _of_tensorflow(tf: Any, precision: str) -> tuple[int, Any]:
    size = _SIZES[bool(tf.config.list_physical_devices("GPU"))]
    matrix = tf.ones((size, size), dtype=precision)

    def product() -> None:
        tf.linalg.matmul(matrix, matrix)[0, 0].numpy()

    return size, product
