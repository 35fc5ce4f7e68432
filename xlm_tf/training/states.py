"""What a run goes on from: weights, the optimizer's state and that of random numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.errors import CheckpointError
from xlm_core.training.saved import MODEL, RANDOM, read_run, run_written_whole


def write_run(
    folder: str | os.PathLike[str],
    whole: Any,
    state: Mapping[str, Any],
    beside: Mapping[str, LazyTensor] | None = None,
    add_to_model: Callable[[Path], object] | None = None,
) -> None:
    """Write a folder from which a run goes on: whole, or not at all.

    Args:
        folder: Replaced if it exists.
        whole: A compiled `TFWithObjectives`.
        state: What the run does and where it stands, as JSON holds it.
        beside: Tensors that `read_into` leaves where they are.
        add_to_model: Writes into the model's folder what belongs beside it.

    Raises:
        CheckpointFileError: If it cannot be written.
    """
    optimizer = whole.updates.optimizer
    described = {"class": type(optimizer).__name__, "variables": len(optimizer.variables)}
    tensors = {name: LazyTensor.of(_array(x)) for name, x in _variables(whole).items()}
    tensors |= beside or {}
    with run_written_whole(folder, {**state, "optimizer": described}, tensors) as model:
        whole.model.save_pretrained(model)
        if add_to_model is not None:
            add_to_model(model)


def hyperparameters_of(optimizer: Any) -> dict[str, Any]:
    """What an optimizer computes with, by name, as its configuration has it."""
    try:
        values: dict[str, Any] = optimizer.get_config()
    except NotImplementedError:  # of somebody's own schedule
        return {"learning_rate": type(optimizer._learning_rate).__name__}
    return {name: value for name, value in values.items() if name != "name"}


def read_into(
    folder: str | os.PathLike[str], whole: Any, expected: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Put back what `write_run` wrote.

    Args:
        folder: Where.
        whole: A compiled `TFWithObjectives` of the same model and optimizer.
        expected: What the state has to say.

    Returns:
        The state.

    Raises:
        CheckpointError: If it is damaged, or of another run; model and optimizer are as they were.
    """
    saved = read_run(folder)
    optimizer, variables = whole.updates.optimizer, _variables(whole)
    found, kind = saved.state.get("optimizer"), type(optimizer).__name__
    if not isinstance(found, dict) or found.get("class") != kind:
        raise CheckpointError(
            f"{saved.folder} has the state of another optimizer: {found!r:.80}, and this run has "
            f"{kind}."
        )
    saved.check_same(expected)
    if found.get("variables") != len(optimizer.variables):
        raise CheckpointError(
            f"{saved.folder} has {found.get('variables')!r:.20} variables of {kind}, and this run "
            f"{len(optimizer.variables)}: were other layers frozen, or is it of another model?"
        )
    for name, variable in variables.items():
        shape = saved.tensors[name].shape if name in saved.tensors else None
        if shape != tuple(variable.shape):
            raise CheckpointError(
                f"{saved.folder}: {name} has shape {shape}, expected {tuple(variable.shape)}."
            )
        if (dtype := saved.tensors[name].dtype) != keras.backend.standardize_dtype(variable.dtype):
            raise CheckpointError(
                f"{saved.folder} is of a run with other dtypes: {name} is {dtype}, and here "
                f"{keras.backend.standardize_dtype(variable.dtype)}."
            )
    model = whole.model
    opened = type(model).from_pretrained(saved.folder / MODEL, dtype=model.dtype_policy)
    specs = model._owned_specs()
    if [(s.path, s.shape) for s in opened._owned_specs()] != [(s.path, s.shape) for s in specs]:
        raise CheckpointError(f"{saved.folder} is of another model: its tensors differ.")
    for spec in specs:
        model._set_variable(spec, opened._array_of(spec))
    for name, variable in variables.items():
        variable.assign(saved.tensors[name].read())
    return saved.state


def seed_generators(whole: Any) -> list[keras.random.SeedGenerator]:
    """What dropout is drawn from, in the order of the layers."""
    return [
        value
        for layer in whole._flatten_layers()
        for value in vars(layer).values()
        if isinstance(value, keras.random.SeedGenerator)
    ]


def _variables(whole: Any) -> dict[str, Any]:
    """Of the optimizer and of random numbers, by their places: paths differ between models."""
    optimizer, generators = whole.updates.optimizer, seed_generators(whole)
    return {
        **{f"optimizer/{at}": x for at, x in enumerate(optimizer.variables)},
        **{f"{RANDOM}{at}": x.state for at, x in enumerate(generators)},
    }


def _array(variable: Any) -> np.ndarray[Any, Any]:
    return np.asarray(keras.ops.convert_to_numpy(variable), order="C")
