"""What Keras' callbacks count from epoch to epoch, as a checkpoint keeps it.

Keras resets them when `fit` begins: patience, and what was best, would begin anew.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError, XLMWarning

# Attributes that change while `fit` runs; all others are what the callback was made with.
_COUNTED: dict[type[Any], tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    keras.callbacks.ReduceLROnPlateau: ("wait", "best", "cooldown_counter"),
    keras.callbacks.ModelCheckpoint: (
        "best",
        "_batches_seen_since_last_saving",  # with save_freq=
        "_last_batch_seen",
    ),
    # Whether weights and their averages have changed places.
    keras.callbacks.SwapEMAWeights: ("_ema_weights_in_model",),
}
_WEIGHTS = "best_weights"  # of EarlyStopping, which puts them back at the end if asked to


def counting(callbacks: Iterable[Any]) -> dict[str, Any]:
    """Those of the callbacks that count, by names that equal callbacks of another process have."""
    found: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for callback in callbacks:
        if _attributes(callback):
            name = f"{type(callback).__name__}({getattr(callback, 'monitor', '')})"
            found[f"{name}/{seen[name]}"] = callback
            seen[name] += 1
    return found


def counted(callbacks: Iterable[Any]) -> tuple[dict[str, Any], dict[str, LazyTensor]]:
    """What callbacks have counted, as JSON holds it; and weights that they keep."""
    numbers: dict[str, Any] = {}
    tensors: dict[str, LazyTensor] = {}
    for name, callback in counting(callbacks).items():
        values = {key: getattr(callback, key, None) for key in _attributes(callback)}
        numbers[name] = {
            key: value if value is None or type(value) is int else float(value)
            for key, value in values.items()
        }
        for place, array in enumerate(getattr(callback, _WEIGHTS, None) or ()):
            tensors[f"{name}/{_WEIGHTS}/{place}"] = LazyTensor.of(np.asarray(array))
    return numbers, tensors


def count_on(
    callbacks: Iterable[Any],
    numbers: Mapping[str, Any],
    tensors: Mapping[str, LazyTensor],
    source: object,
) -> None:
    """Let callbacks go on from what `counted` found; those that it does not know begin anew.

    Args:
        callbacks: After `fit` has begun, when Keras resets them.
        numbers, tensors: What `counted` returned; the latter among others.
        source: What messages call the checkpoint.

    Raises:
        CheckpointError: If it is damaged.
    """
    for name, callback in counting(callbacks).items():
        values = numbers.get(name, {})
        keys = {*_attributes(callback)}
        if not isinstance(values, dict) or not all(
            key in keys and (value is None or type(value) in (int, float))
            for key, value in values.items()
        ):
            raise CheckpointError(f"{source} is damaged: the state of {name:.80}.")
        for key, value in values.items():
            setattr(callback, key, value)
        if values.get("stopped_epoch"):
            warnings.warn(
                f"{source} is of a run that {name.partition('(')[0]} had ended: it trains on, for "
                "an epoch at least.",
                XLMWarning,
                stacklevel=2,
            )
        kept: list[LazyTensor] = []
        while (lazy := tensors.get(f"{name}/{_WEIGHTS}/{len(kept)}")) is not None:
            kept.append(lazy)
        if kept:
            shapes = [tuple(x.shape) for x in callback.model.weights]
            if [x.shape for x in kept] != shapes:
                raise CheckpointError(f"{source} is damaged: the weights of {name:.80}.")
            callback.best_weights = [x.read() for x in kept]


def _attributes(callback: Any) -> tuple[str, ...]:
    return next((names for kind, names in _COUNTED.items() if isinstance(callback, kind)), ())
