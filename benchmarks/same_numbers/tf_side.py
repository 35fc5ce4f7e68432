"""The calls of the Keras family."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import xlm_tf
from benchmarks.same_numbers.cases import (
    Arrays,
    Case,
    batch_of,
    head_mask_of,
    labels_of,
)

NO_DROPOUT = {"dropout": 0.0, "attention_dropout": 0.0, "summary_first_dropout": 0.0}
# Adam's epsilon: of the usual size, it makes large steps of gradients that are 0 but for rounding.
STEADY = 1e-2
ALL_OUTPUTS = {"output_attentions": True, "output_hidden_states": True}


class ForeignCache:
    """A cache of somebody else's: it has the two methods, and that is all."""

    def __init__(self) -> None:
        self.held: dict[int, tuple[tf.Tensor, tf.Tensor]] = {}

    def update(self, key: tf.Tensor, value: tf.Tensor, layer: int) -> tuple[tf.Tensor, tf.Tensor]:
        if layer in self.held:
            key = tf.concat((self.held[layer][0], key), 2)
            value = tf.concat((self.held[layer][1], value), 2)
        self.held[layer] = key, value
        return key, value

    def get_seq_length(self) -> int:
        return int(self.held[0][0].shape[2]) if self.held else 0


class TensorFlowSide:
    """Runs cases of the Keras family.

    Args:
        folder_of: Name of a model -> its folder.
    """

    package = xlm_tf

    def __init__(self, folder_of: dict[str, Path]) -> None:
        self.folder_of = folder_of
        self.models: dict[Any, Any] = {}
        tf.get_logger().setLevel("ERROR")  # of functions that are traced again

    def run(self, case: Case) -> Arrays:
        """Name of a result -> its values."""
        batch = batch_of(case)
        labels = self.tensors(labels_of(case, batch), case)
        return arrays_of(self.called(case, self.tensors(batch, case), labels))

    def called(self, case: Case, given: dict[str, Any], labels: dict[str, Any]) -> dict[str, Any]:
        """Name of a result -> tensor."""
        match case.call:
            case "eval":
                return outputs(self.model(case), given)
            case "labels":
                return outputs(self.model(case), given | labels)
            case "loss alone":
                return outputs(self.model(case), given | labels | {"output_logits": False})
            case "attentions":
                return outputs(self.model(case), given | ALL_OUTPUTS)
            case "hidden states":
                return outputs(self.model(case), given | {"output_hidden_states": True})
            case "head mask":
                mask = self.tensors(head_mask_of(case), case)
                return outputs(self.model(case), given | mask)
            case "formulas":
                with xlm_tf.plain_kernels():
                    return outputs(self.model(case), given)
            case "gradient by formulas":
                with xlm_tf.plain_kernels():
                    return gradients(self.model(case, **NO_DROPOUT), given | labels)
            case "gradient":
                return gradients(self.model(case, **NO_DROPOUT), given | labels)
            case "gradient of loss alone":
                alone = labels | {"output_logits": False}
                return gradients(self.model(case, **NO_DROPOUT), given | alone)
            case "gradient through all outputs":
                arguments = given | ALL_OUTPUTS
                return gradients(self.model(case, **NO_DROPOUT), arguments, every=True)
            case "dropout":
                return gradients(self.open(case), given | labels)
            case "hidden states, dropout":
                arguments = given | labels | {"output_hidden_states": True}
                return gradients(self.open(case), arguments, every=True)
            case "dropout, recomputed" | "gradient, recomputed":
                model = self.open(case, **(NO_DROPOUT if case.call.startswith("gra") else {}))
                model.gradient_checkpointing = True
                return gradients(model, given | labels)
            case "in a function" | "by XLA":
                return outputs(self.model(case), given | labels, case.call == "by XLA")
            case "gradient in a function":
                model, arguments = self.model(case, **NO_DROPOUT), given | labels
                return tf.function(lambda: gradients(model, arguments))()
            case "int8" | "int8 weights":
                model = self.open(case)
                return outputs(xlm_tf.quantize(model, activations=case.call == "int8"), given)
            case "steps of an optimizer":
                return steps(self.open(case, **NO_DROPOUT), given | labels)
            case "cache":
                return self.decoded(case, given, xlm_tf.KeyValueCache())
            case "cache, attentions":
                return self.decoded(case, given | ALL_OUTPUTS, xlm_tf.KeyValueCache())
            case "foreign cache":
                return self.decoded(case, given, ForeignCache())
            case "gradient through a cache":
                return self.gradient_through_cache(case, given)
        raise ValueError(f"no such call: {case.call}")

    def tensors(self, arrays: Arrays, case: Case) -> dict[str, Any]:
        """Floating ones in the dtype of the case."""
        return {
            name: tf.cast(tf.constant(array), case.dtype)
            if array.dtype.kind == "f"
            else tf.constant(array)
            for name, array in arrays.items()
        }

    def open(self, case: Case, **overrides: Any) -> Any:
        """A model of one's own, whose dropout begins at one seed."""
        keras.utils.set_random_seed(1)
        made = xlm_tf.MODEL_CLASSES[case.model.architecture]
        return made.from_pretrained(self.folder_of[case.model.name], dtype=case.dtype, **overrides)

    def model(self, case: Case, **overrides: Any) -> Any:
        """A model that all calls of a case share: they leave it as it was."""
        key = (case.model.name, case.dtype, bool(overrides))
        if key not in self.models:
            others = [k for k in self.models if k[:2] != key[:2]]
            for other in others:
                del self.models[other]
            self.models[key] = self.open(case, **overrides)
        return self.models[key]

    def decoded(self, case: Case, given: dict[str, Any], cache: Any) -> dict[str, Any]:
        """A prompt, then a few steps through a cache."""
        model, found = self.model(case), {}
        for step, (end, length) in enumerate(prefixes(given)):
            part = first_positions(given, end, length)
            for name, value in outputs(model, part | {"cache": cache}).items():
                found[f"step {step}: {name}"] = value
        return found

    def gradient_through_cache(self, case: Case, given: dict[str, Any]) -> dict[str, Any]:
        """Through the keys and values of all steps."""
        model, cache = self.model(case, **NO_DROPOUT), xlm_tf.KeyValueCache()
        objective: Any = 0.0
        with tf.GradientTape() as tape:
            for end, length in prefixes(given):
                part = first_positions(given, end, length)
                output = model(**part, cache=cache, return_dict=True)[0]
                objective = objective + weighted(output)
        return {"objective": objective} | gradients_of(model, tape, objective)


def prefixes(given: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """How many positions each step is given, and how many there are."""
    length = given["input_ids"].shape[1]
    for end in (5, 6, 7, 10, 11):
        yield end, length


def first_positions(given: dict[str, Any], end: int, length: int) -> dict[str, Any]:
    """All that has a value for each position, cut at `end`."""
    return {
        name: value[:, :end]
        if hasattr(value, "shape") and len(value.shape) > 1 and value.shape[1] == length
        else value
        for name, value in given.items()
    }


def flat(output: Any) -> dict[str, Any]:
    """hidden_states (a, b) as `hidden_states.0`, `hidden_states.1`."""
    found: dict[str, Any] = {}
    for name, value in dict(output).items():
        if isinstance(value, tuple):
            found |= {f"{name}.{index}": part for index, part in enumerate(value)}
        elif value is not None:
            found[name] = value
    return found


def outputs(model: Any, arguments: dict[str, Any], by_xla: bool | None = None) -> dict[str, Any]:
    """Evaluating: eagerly, in a function (False), or in one that XLA compiles (True)."""
    tensors = {name: value for name, value in arguments.items() if tf.is_tensor(value)}
    others = {name: value for name, value in arguments.items() if name not in tensors}

    def call(**tensors: tf.Tensor) -> dict[str, Any]:
        return flat(model(**tensors, **others, training=False, return_dict=True))

    function: Callable[..., Any] = call
    if by_xla is not None:
        function = tf.function(call, jit_compile=by_xla)
    return dict(function(**tensors))


def weighted(output: tf.Tensor) -> tf.Tensor:
    """A scalar in which each value has a weight of its own."""
    weights = np.sin(np.arange(int(np.prod(output.shape)), dtype=np.float64)).reshape(output.shape)
    return tf.reduce_sum(output * tf.cast(weights, output.dtype))


def objective_of(found: dict[str, Any], every: bool) -> tf.Tensor:
    """The loss; without one a weighted sum of the first output, or of all."""
    if every:
        return sum(weighted(value) for value in found.values() if value.dtype.is_floating)
    return found["loss"] if "loss" in found else weighted(next(iter(found.values())))


def gradients(model: Any, arguments: dict[str, Any], every: bool = False) -> dict[str, Any]:
    """Outputs, and the gradient of each variable and of inputs_embeds, in training."""
    embeds = arguments.get("inputs_embeds")
    with tf.GradientTape(persistent=embeds is not None) as tape:
        if embeds is not None:
            tape.watch(embeds)
        found = flat(model(**arguments, training=True, return_dict=True))
        objective = objective_of(found, every)
    result = found | gradients_of(model, tape, objective)
    if embeds is not None:
        result["gradient of inputs_embeds"] = tape.gradient(objective, embeds)
    return result


def gradients_of(model: Any, tape: tf.GradientTape, objective: tf.Tensor) -> dict[str, Any]:
    variables = model.trainable_variables
    found = tape.gradient(objective, [variable.value for variable in variables])
    named = zip(names_of(variables), found, strict=True)
    return {
        f"gradient of {name}": tf.convert_to_tensor(gradient)
        for name, gradient in named
        if gradient is not None
    }


def names_of(variables: list[Any]) -> list[str]:
    """Paths without the model's name, which counts models."""
    return [variable.path.partition("/")[2] for variable in variables]


def steps(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Losses and weights of three steps of AdamW, through Keras where there is a loss."""
    optimizer = xlm_tf.AdamW(1e-3, epsilon=STEADY)
    found: dict[str, Any] = {}
    if any(name in arguments for name in ("labels", "start_positions")):
        model.compile(optimizer=optimizer)
        for step in range(3):
            found[f"step {step}: objective"] = tf.constant(model.train_on_batch(arguments))
    else:
        variables = model.trainable_variables
        for step in range(3):
            with tf.GradientTape() as tape:
                output = flat(model(**arguments, training=True, return_dict=True))
                objective = objective_of(output, False)
            found[f"step {step}: objective"] = objective
            slopes = tape.gradient(objective, [variable.value for variable in variables])
            pairs = zip(slopes, variables, strict=True)
            optimizer.apply_gradients([(g, v) for g, v in pairs if g is not None])
    variables = model.trainable_variables
    named = zip(names_of(variables), variables, strict=True)
    return found | {f"after steps: {name}": variable.value for name, variable in named}


def arrays_of(found: dict[str, Any]) -> Arrays:
    """As numpy arrays; bfloat16 as float32, which holds it exactly."""
    arrays = {}
    for name, value in found.items():
        tensor = tf.convert_to_tensor(value)
        arrays[name] = (
            tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tensor
        ).numpy()
    return arrays


SIDE = TensorFlowSide
