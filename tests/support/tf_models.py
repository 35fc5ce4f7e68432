"""The Keras family run on one `Case`, in the terms of `tests.support.torch_reference`."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from tests.support.cases import Array, Case, random_weights
from tests.support.tf_internals import set_tensor
from tests.support.torch_reference import flatten
from xlm_tf import MODEL_CLASSES

FLAGS = {"output_hidden_states": True, "output_attentions": True}


def tf_model(case: Case, dtype: str = "float64", **overrides: Any) -> Any:
    """The family's model with the random weights of the case."""
    config = case.xlm_config(**overrides)
    weights = random_weights(config, case.architecture, case.rng)
    model = MODEL_CLASSES[case.architecture](config, dtype=dtype, initialize=False)
    for spec in model.tensor_specs():
        if spec.tied_to is None:
            set_tensor(model, spec, weights[spec.path])
    return model


def as_tf(arrays: dict[str, Array], dtype: str = "float64") -> dict[str, tf.Tensor]:
    """The arguments as tensors, floating ones in `dtype`."""
    return {
        name: tf.constant(array, dtype if np.asarray(array).dtype.kind == "f" else None)
        for name, array in arrays.items()
    }


def run_tf(model: Any, case: Case, dtype: str = "float64") -> dict[str, Any]:
    """Everything a model returns, flat: name -> tensor, with the loss if the case has labels.

    The beam head is called twice, since it returns either beams or a loss.
    """
    batch, labels = as_tf(case.batch, dtype), as_tf(case.labels, dtype)
    if case.architecture != "XLMForQuestionAnswering":
        return flatten(dict(model(**batch, **labels, **FLAGS)))
    hints = {name: labels[name] for name in ("cls_index",) if name in labels}
    result = dict(model(**batch, **hints, **FLAGS))
    result["loss"] = model(**batch, **labels, **FLAGS).loss
    return flatten(result)


def tf_gradients(model: Any, case: Case) -> dict[str, Array]:
    """Path -> float64 gradient, in PyTorch's orientation, of the loss (else of a weighted sum)."""
    return tf_outputs_and_gradients(model, case)[1]


def tf_outputs_and_gradients(model: Any, case: Case) -> tuple[dict[str, Any], dict[str, Array]]:
    """Those of `run_tf` and of `tf_gradients`, from one forward pass."""
    with tf.GradientTape() as tape:
        flat = run_tf(model, case)
        if "loss" in flat:
            objective = flat["loss"]
        else:
            output = flat.get("last_hidden_state", flat.get("logits"))
            count = int(np.prod(output.shape))
            weights = np.sin(np.arange(count, dtype=np.float64)).reshape(output.shape)
            objective = tf.reduce_sum(output * weights)
    specs = [s for s in model.tensor_specs() if s.tied_to is None and s.trainable]
    found = tape.gradient(objective, [model.variable_of(spec).value for spec in specs])
    gradients = {}
    for spec, gradient in zip(specs, found, strict=True):
        if gradient is None:
            gradients[spec.path] = np.zeros(spec.shape)
            continue
        array = tf.convert_to_tensor(gradient).numpy()
        gradients[spec.path] = array.T if spec.kind.value == "matrix" else array
    return flat, gradients
