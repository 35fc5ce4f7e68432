"""What a run goes on from: weights, the optimizer's state and that of random numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.safetensors import read_safetensors, write_safetensors
from xlm_core.errors import CheckpointError
from xlm_core.objectives import TrainingBatches
from xlm_core.objectives.settings import SETTING_NAMES
from xlm_core.whole_files import folder_written_whole

MODEL, OPTIMIZER, STATE = "model", "optimizer.safetensors", "training.json"


def state_of(batches: TrainingBatches, *, update: int, tokens: int, accumulate: int, ranks: int) -> (
    dict[str, Any]
):
    """What is the same in a run that goes on, and how far it came."""
    return {
        "update": update,
        "tokens": tokens,
        "seed": batches.seed,
        "tasks": [task.name for task in batches.tasks],
        "accumulate": accumulate,
        "ranks": ranks,
        "settings": {n: getattr(batches.settings, n) for n in SETTING_NAMES},
    }


def write_state(
    folder: Path, whole: Any, state: Mapping[str, Any], caller: Mapping[str, Any]
) -> None:
    """Write a folder from which a run goes on: whole, or not at all.

    Args:
        folder: Replaced if it exists.
        whole: A compiled `TFWithObjectives`.
        state: From `state_of`.
        caller: What the caller wants back, as JSON holds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder_written_whole(folder) as temporary:
        whole.model.save_pretrained(temporary / MODEL)
        tensors = {name: LazyTensor.of(_array(x)) for name, x in _variables(whole).items()}
        kind = {"optimizer": type(whole.updates.optimizer).__name__}
        write_safetensors(temporary / OPTIMIZER, tensors, kind)
        text = json.dumps({**state, "caller": dict(caller)}, indent=2) + "\n"
        (temporary / STATE).write_text(text, encoding="utf-8")


def read_state(folder: Path, whole: Any, expected: Mapping[str, Any]) -> dict[str, Any]:
    """Put back what `write_state` wrote.

    Args:
        folder: Where.
        whole: A compiled `TFWithObjectives` of the same model and optimizer.
        expected: From `state_of`.

    Returns:
        What was written: `state_of` then, and under "caller" what the caller gave.

    Raises:
        CheckpointError: If it is damaged, or of another run.
    """
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        how_far = {"update": state["update"], "tokens": state["tokens"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder} is no checkpoint of a run: {error}.") from error
    expected = {**expected, **how_far}
    differing = sorted(n for n in expected if expected[n] != state.get(n))
    if differing:
        found = ", ".join(f"{n} {state.get(n)!r} (here {expected[n]!r})" for n in differing)
        raise CheckpointError(f"{folder} is of another run: {found}.")
    tensors, kept = read_safetensors(folder / OPTIMIZER)
    variables = _variables(whole)
    kind = type(whole.updates.optimizer).__name__
    if kept.get("optimizer") != kind or any(
        name not in tensors or tensors[name].shape != tuple(x.shape)
        for name, x in variables.items()
    ):
        raise CheckpointError(
            f"{folder} is of another run: its optimizer ({kept.get('optimizer')}) has other states "
            f"than the {kind} here."
        )
    opened = type(whole.model).from_pretrained(folder / MODEL, dtype=whole.model.dtype_policy)
    for spec in whole.model._owned_specs():
        whole.model._set_variable(spec, opened._array_of(spec))
    for name, variable in variables.items():
        variable.assign(tensors[name].read())
    return dict(state)


def _variables(whole: Any) -> dict[str, Any]:
    """Of the optimizer and of the generators of random numbers, by their places: names differ
    between models of one class."""
    generators = [
        value
        for layer in whole._flatten_layers()
        for value in vars(layer).values()
        if isinstance(value, keras.random.SeedGenerator)
    ]
    optimizer = {f"{at}": x for at, x in enumerate(whole.updates.optimizer.variables)}
    return {
        **{f"optimizer/{name}": x for name, x in optimizer.items()},
        **{f"random/{at}": x.state for at, x in enumerate(generators)},
    }


def _array(variable: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(variable), order="C")
