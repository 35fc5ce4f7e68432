"""When a fast path may stand in for a layer: where calling it would run its own code alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FunctionType
from typing import Any

import tensorflow as tf
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

_FORMULAS_ONLY: ContextVar[bool] = ContextVar("formulas_only", default=False)
_TRACED: ContextVar[bool] = ContextVar("traced", default=False)


@contextmanager
def formulas_only() -> Iterator[None]:
    """Run models by their formulas alone inside this block: to compare, and to look for errors.

    Graphs that were made before stay as they are.
    """
    token = _FORMULAS_ONLY.set(True)
    try:
        yield
    finally:
        _FORMULAS_ONLY.reset(token)


def only_formulas() -> bool:
    """Whether this call runs inside a `formulas_only` block."""
    return _FORMULAS_ONLY.get()


# -- who looks at this call ------------------------------------------------------------------------


@contextmanager
def tracing() -> Iterator[None]:
    """Make graphs for elsewhere inside this block: shapes in them follow those of their inputs."""
    token = _TRACED.set(True)
    try:
        yield
    finally:
        _TRACED.reset(token)


def is_tracing() -> bool:
    """Whether this call runs inside a `tracing` block."""
    return _TRACED.get()


def are_traced() -> bool:
    """Whether this call makes a graph whose shapes must not depend on values.

    XLA and exports ask for that; `tf.function`, `fit` and `predict` do not.
    """
    if is_tracing():
        return True
    return not tf.executing_eagerly() and GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


# -- unmodified layers -----------------------------------------------------------------------------

Code = dict[type[Any], dict[str, Any]]


def code_of(*classes: type[Any]) -> Code:
    """Remember the methods of these classes as they are now, so that a later patch is seen."""
    return {each: _methods(each) for each in classes}


def _methods(of: type[Any]) -> dict[str, Any]:
    """`call`, and every other method that the class defines itself."""
    own = {name: each for name, each in vars(of).items() if isinstance(each, FunctionType)}
    own.pop("build", None)  # which Keras wraps in every layer
    return own | {"call": of.call}


def are_unmodified(layers: Iterable[Any], code: Code) -> bool:
    """Whether calling each of `layers` would run the remembered code of its class alone.

    So it has no activity regularizer, and nothing in the place of its `call`. Never inside
    `formulas_only`.

    Args:
        layers: Any.
        code: The classes that count, from `code_of`.
    """
    return not only_formulas() and all(
        type(layer) in code
        and code[type(layer)]["call"] is type(layer).call
        and runs_its_class_alone(layer)
        for layer in layers
    )


def have_their_methods(layers: Iterable[Any], code: Code) -> bool:
    """Whether nothing is in the place of any other method of `layers` either.

    Args:
        layers: Of any classes; those in `code` are looked at.
        code: From `code_of`.
    """
    return all(
        getattr(each, name, None) is method
        for each, methods in code.items()
        for name, method in methods.items()
    ) and all(code.get(type(layer), {}).keys().isdisjoint(layer.__dict__) for layer in layers)


def runs_its_class_alone(layer: Any) -> bool:
    """Whether calling `layer` runs the `call` of its class and nothing else."""
    return "call" not in layer.__dict__ and layer.activity_regularizer is None
