"""Eager calls as graphs, which TensorFlow's optimizer makes faster."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from xlm_tf.attention import MultiHeadAttention
from xlm_tf.cache import KeyValueCache
from xlm_tf.fast.rule import (
    code_of,
    have_their_methods,
    is_tracing,
    only_formulas,
    runs_its_class_alone,
)
from xlm_tf.feed_forward import TransformerFFN

# Making a graph takes half a second for 6 layers, which a narrower model would not win back soon.
SMALLEST_WIDTH = 128

# So many steps of generation of a narrow model take as long as making their graph.
_MANY_STEPS = 64

# Of one model: settings of generation come in endless variety.
_MOST_GRAPHS = 64

_SUBLAYERS = code_of(MultiHeadAttention, TransformerFFN)
_GRAPHS: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
# Steps that narrow models ran without a graph, by what the graph would be made for.
_STEPS: weakref.WeakKeyDictionary[Any, dict[Any, int]] = weakref.WeakKeyDictionary()
_GRAPHS_LOCK = threading.Lock()


def compiled(
    model: Any,
    method: str,
    tensors: Mapping[str, tf.Tensor | None],
    *,
    cache: Any = None,
    cached: int = 0,
    steps: int = 0,
    **options: Any,
) -> Any:
    """getattr(model, method)(tensors, **options), as one graph if called eagerly.

    A graph is made once for the kinds of tensors and the options, whatever the shapes. It reads
    the variables each time it runs; where one was replaced by another, a new graph is made. With
    layers of others inside, there is no graph: their code may do something else at each call.

    Args:
        model: Whose method it is; if it is wide enough for a graph to pay.
        method: Its name. It may depend on the arguments, on variables, and on what `_state` and
            `_FIELDS` name.
        tensors: By name.
        cache, cached: If there is one, the method gets both. The keys and values of a
            `KeyValueCache` go into a graph and come out of it as tensors, so that one graph serves
            all lengths; there is no graph for a cache of another kind.
        steps: Of generation, that this call runs. Even for a narrow model a graph pays where its
            calls of this kind, this one counted, run many.
        options: What is a tensor goes into the graph as one; all else is hashable.
    """
    layers = list(model._flatten_layers(include_self=False))
    if (
        not (steps or model.config.emb_dim >= SMALLEST_WIDTH)
        or not tf.executing_eagerly()
        or tf.config.functions_run_eagerly()
        or tf.distribute.has_strategy()
        or is_tracing()
        or only_formulas()
        or not (cache is None or type(cache) is KeyValueCache)
        or not all(map(_is_own, layers))
        or not have_their_methods(layers, _SUBLAYERS)
    ):
        if cache is not None:
            options |= {"cache": cache, "cached": cached}
        return getattr(model, method)(tensors, **options)
    call = _Call(method, tensors, options, cache)
    fields = tuple(getattr(model.config, name) for name in _FIELDS)
    own_layer = model.__dict__.get("_layer", getattr(type(model), "_layer", None))
    state = (own_layer, *map(_state, [model, *layers]))
    key = (*call.key, fields, state)
    if model.config.emb_dim < SMALLEST_WIDTH and not _are_many(model, key, steps):
        return getattr(model, method)(tensors, **options)
    with _GRAPHS_LOCK:
        graphs = _GRAPHS.setdefault(model, {})
        if key not in graphs:
            # Those of variables that are gone are of no more use.
            for other in [other for other in graphs if other[-1] != state]:
                del graphs[other]
            if len(graphs) >= _MOST_GRAPHS:
                del graphs[next(iter(graphs))]
            graphs[key] = call.graph(weakref.ref(model))
        graph = graphs[key]
    result, held = graph(*call.values)
    if cache is not None:
        cache._hold(held[0])
        cache._cross.update(held[1])
    return result


def _are_many(model: Any, key: Any, steps: int) -> bool:
    """Whether a narrow model runs many steps for which one graph would serve."""
    with _GRAPHS_LOCK:
        counts = _STEPS.setdefault(model, {})
        if key not in counts and len(counts) >= _MOST_GRAPHS:
            del counts[next(iter(counts))]
        counts[key] = counts.get(key, 0) + steps
        return counts[key] >= _MANY_STEPS


def forget_graphs(model: Any) -> None:
    """Drop the graphs of `model`: they hold variables that were replaced until the next call."""
    with _GRAPHS_LOCK:
        _GRAPHS.pop(model, None)
        _STEPS.pop(model, None)


def _is_own(layer: Any) -> bool:
    """Whether a layer is the library's, whose code does the same each time."""
    package = __name__.partition(".")[0]
    written_in = (type(layer).__module__, getattr(type(layer).call, "__module__", ""))
    return runs_its_class_alone(layer) and all(
        module.partition(".")[0] == package for module in written_in
    )


# What may change in a configuration and in a layer, as far as graphs depend on it.
_FIELDS = ("causal", "dropout", "pad_index", "chunk_size_feed_forward")
_ATTRIBUTES = (
    "compute_dtype",
    "generation",
    "eps",
    "padding_index",
    "rate",
    "n_heads",
    "chunk_size",
    "activation",
    "activations",
)


def _state(layer: Any) -> tuple[Any, ...]:
    return (type(layer), type(layer).call, *(getattr(layer, name, None) for name in _ATTRIBUTES))


class _Call:
    """One call of a method, split into what its graph takes and what the graph is made for.

    Attributes:
        values: The tensors that the graph takes.
        key: All that tells it from other graphs of the model.
    """

    def __init__(
        self,
        method: str,
        tensors: Mapping[str, tf.Tensor | None],
        options: Mapping[str, Any],
        cache: KeyValueCache | None,
    ) -> None:
        self.method, self.names = method, tuple(tensors)
        given = {name: x for name, x in tensors.items() if x is not None}
        given |= {name: x for name, x in options.items() if tf.is_tensor(x)}
        self.kinds = {name: _kind(name, x) for name, x in given.items()}
        self.options = {name: x for name, x in options.items() if name not in given}
        self.values = list(given.values())
        # Keys and values, (batch, heads, cached, head_dim), of each layer in turn, then those of
        # the source.
        self.cached_layers: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        held: list[tf.Tensor] = []
        if cache is not None:
            self.cached_layers = tuple(cache._layers), tuple(cache._cross)
            pairs = [*cache._layers.values(), *cache._cross.values()]
            held = [x for pair in pairs for x in pair]
        self.held_kinds = [
            tf.TensorSpec([None, x.shape[1], None, x.shape[3]], x.dtype) for x in held
        ]
        self.values += held

    @property
    def key(self) -> tuple[Any, ...]:
        """All that tells the graph from others of the model."""
        made_for = tuple(self.kinds.items()), tuple(self.options.items())
        return (self.method, *made_for, self.cached_layers, tuple(self.held_kinds))

    def graph(self, model: Callable[[], Any]) -> Any:
        """The graph, of the model that a weak reference gives.

        It returns what the method does, and the keys and values that the cache holds afterwards.
        """
        method, names, kinds, options = self.method, self.names, self.kinds, self.options
        cached_layers = self.cached_layers

        def run(*values: tf.Tensor) -> Any:
            given = dict(zip(kinds, values, strict=False))
            tensors = {name: given.pop(name, None) for name in names}
            arguments = {**options, **given}
            if cached_layers is None:
                return getattr(model(), method)(tensors, **arguments), ({}, {})
            held = iter(values[len(kinds) :])
            inside = KeyValueCache()
            own, of_source = cached_layers
            inside._layers = {layer: (next(held), next(held)) for layer in own}
            inside._cross = {layer: (next(held), next(held)) for layer in of_source}
            cached = tf.shape(values[len(kinds)])[2] if own else 0
            result = getattr(model(), method)(tensors, cache=inside, cached=cached, **arguments)
            return result, (inside._layers, inside._cross)

        # An object of its own for each graph: by the code of `run`, TensorFlow would count the
        # graphs of all models as one function that is made again and again, and warn of it.
        own = functools.partial(run)
        signature = [*kinds.values(), *self.held_kinds]
        return tf.function(own, input_signature=signature, autograph=False)


_OF_MODELS_WIDTH = (
    "inputs_embeds",
    "encoder_hidden_states",
    "hidden",
    "matrix",
    "embedding_matrix",
)


def _kind(name: str, tensor: tf.Tensor) -> tf.TensorSpec:
    """A tensor without the sizes that differ from call to call."""
    shape: list[int | None] = [None] * tensor.shape.rank
    if name in _OF_MODELS_WIDTH:
        shape[-1] = tensor.shape[-1]  # the model's width, which products must know
    return tf.TensorSpec(tensor.shape if name == "head_mask" else shape, tensor.dtype)
