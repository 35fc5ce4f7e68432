"""Open a checkpoint in PyTorch or in TensorFlow, run a batch, and return numpy arrays.

Both run on the CPU without TensorFloat-32, free the model before they return, and leave the
frameworks' global settings as they were.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.opening.families import load_family
from conversion.verification.batch import Array, Batch
from xlm_core.errors import CheckpointError

_ASKED = {"output_hidden_states": True, "output_attentions": True, "return_dict": True}


@dataclass(frozen=True)
class Run:
    """What one family computed in one dtype.

    Attributes:
        tensors: Name -> array, in order of computation: hidden_states[0], attentions[0],
            hidden_states[1], ..., the outputs of the head, loss.
        open_seconds, run_seconds: Time to open the checkpoint, and to run the batch.
    """

    tensors: dict[str, Array]
    open_seconds: float
    run_seconds: float


def run_family(title: str, source: str, architecture: str, batch: Batch, dtype: str) -> Run:
    """Run the batch in a family, a key of `FAMILIES`; else as `run_torch` and `run_tf`."""
    return {"PyTorch": run_torch, "TensorFlow": run_tf}[title](source, architecture, batch, dtype)


def run_torch(source: str, architecture: str, batch: Batch, dtype: str) -> Run:
    """Run the batch in PyTorch.

    Args:
        source: A checkpoint of any layout.
        architecture: The class to open it in.
        batch: The batch, as `verification_batch` makes it.
        dtype: "float64" or "float32".

    Raises:
        XLMError: If it cannot be opened.
        MissingPackageError: If PyTorch is not installed.
    """
    family, torch = load_family("PyTorch")

    def call(model: Any, arguments: Mapping[str, Array]) -> Any:
        with torch.inference_mode():
            return model(**{n: torch.from_numpy(a) for n, a in arguments.items()}, **_ASKED)

    with _full_float32_in_torch(torch):
        return _run(family, source, architecture, batch, dtype, call, lambda t: t.numpy())


def run_tf(source: str, architecture: str, batch: Batch, dtype: str) -> Run:
    """Run the batch in TensorFlow; arguments and errors are those of `run_torch`."""
    family, tf = load_family("TensorFlow")

    def call(model: Any, arguments: Mapping[str, Array]) -> Any:
        return model(**{n: tf.convert_to_tensor(a) for n, a in arguments.items()}, **_ASKED)

    with _full_float32_in_tf(tf), tf.device("CPU:0"):
        return _run(family, source, architecture, batch, dtype, call, lambda t: t.numpy())


def _run(
    family: Any,
    source: str,
    architecture: str,
    batch: Batch,
    dtype: str,
    call: Callable[[Any, Mapping[str, Array]], Any],
    to_numpy: Callable[[Any], Array],
) -> Run:
    start = time.perf_counter()
    model = family.MODEL_CLASSES[architecture].from_pretrained(source, dtype=dtype)
    opened = time.perf_counter()
    labels = {
        name: array.astype(dtype) if array.dtype.kind == "f" else array
        for name, array in batch.labels.items()
    }
    # With labels the beam head returns its loss and no beams: it is called twice.
    together = labels if architecture != "XLMForQuestionAnswering" else {}
    output = call(model, {**batch.inputs, **together})
    loss = output.get("loss")
    if labels and not together:
        loss = call(model, {**batch.inputs, **labels}).get("loss")
    tensors = {name: np.array(to_numpy(tensor)) for name, tensor in in_order(output)}
    if labels:
        if loss is None:
            raise CheckpointError(f"{type(model).__name__} returned no loss for labels.")
        tensors["loss"] = np.array(to_numpy(loss))
    finished = time.perf_counter()
    del model, output, loss
    gc.collect()
    return Run(tensors, opened - start, finished - opened)


def in_order(output: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of an output under their names, in order of computation, but the loss."""
    for part in ("encoder_", "decoder_", ""):
        names = [f"{part}hidden_states", f"{part}attentions"]
        names += ["cross_attentions"] if part == "decoder_" else []
        states = {name: output.get(name) or () for name in names}
        for index in range(max(map(len, states.values()))):
            for name, of_layers in states.items():
                if index < len(of_layers):
                    yield f"{name}[{index}]", of_layers[index]
    for name, tensor in output.items():
        if name != "loss" and not isinstance(tensor, tuple):
            yield name, tensor


@contextmanager
def _full_float32_in_torch(torch: Any) -> Iterator[None]:
    """Multiply in full float32, without TensorFloat-32; restore the settings afterwards."""
    precision = torch.get_float32_matmul_precision()
    allowed = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cuda.matmul.allow_tf32 = False
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
        torch.set_float32_matmul_precision(precision)


@contextmanager
def _full_float32_in_tf(tf: Any) -> Iterator[None]:
    """Multiply in full float32, without TensorFloat-32; restore the setting afterwards."""
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    try:
        tf.config.experimental.enable_tensor_float_32_execution(False)
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)
