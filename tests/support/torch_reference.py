"""transformers' XLM as the oracle, and both PyTorch implementations run on one `Case`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
import transformers
from torch import Tensor

import xlm_torch
from tests.support.cases import Array, Case, random_weights
from tests.support.parity import assert_all_close, assert_same_choices
from xlm_core import XLMConfig
from xlm_core.weights import name_of, tensors_of
from xlm_torch import MODEL_CLASSES

INDEX_NAMES = ("start_top_index", "end_top_index")


@contextlib.contextmanager
def exact_float64() -> Iterator[None]:
    """Take out the rounding of the attention softmax to float32 that transformers always does."""
    with mock.patch.object(Tensor, "float", lambda self: self):
        yield


def state_dict_of(
    weights: dict[str, Array], config: XLMConfig, architecture: str
) -> dict[str, Tensor]:
    """Names of the published PyTorch files -> float64 tensors, tied ones included."""
    return {
        str(name_of(spec, "torch", architecture)): torch.from_numpy(
            weights[spec.tied_to or spec.path]
        ).clone()
        for spec in tensors_of(config, architecture)
    }


def reference_model(config: dict[str, Any], architecture: str) -> Any:
    """transformers' model with fresh weights, evaluating."""
    values = {name: value for name, value in config.items() if value is not None}
    return getattr(transformers, architecture)(transformers.XLMConfig(**values)).eval()


def pair(case: Case, dtype: torch.dtype = torch.float64, **overrides: Any) -> tuple[Any, Any]:
    """This project's model and transformers', with the same random weights, evaluating."""
    config = case.xlm_config(**overrides)
    state = state_dict_of(
        random_weights(config, case.architecture, case.rng), config, case.architecture
    )
    ours = MODEL_CLASSES[case.architecture](config)
    theirs = reference_model({**case.config, **overrides}, case.architecture)
    for model in (ours, theirs):
        model.load_state_dict(state, strict=True)
        model.to(dtype).eval()
    return ours, theirs


def our_model(case: Case, dtype: torch.dtype = torch.float64, **overrides: Any) -> Any:
    """This project's model of `pair`."""
    config = case.xlm_config(**overrides)
    weights = random_weights(config, case.architecture, case.rng)
    model = MODEL_CLASSES[case.architecture](config)
    model.load_state_dict(state_dict_of(weights, config, case.architecture), strict=True)
    return model.to(dtype).eval()


def as_tensors(arrays: dict[str, Array], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """The arguments as tensors, floating ones in `dtype`."""
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def run(model: Any, case: Case, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """Everything a model returns, flat: name -> tensor, with the loss if the case has labels.

    The beam head is called twice, since it returns either beams or a loss.
    """
    reference = not isinstance(model, xlm_torch.XLMPreTrainedModel)
    batch, labels = as_tensors(case.batch, dtype), as_tensors(case.labels, dtype)
    flags = {"output_hidden_states": True, "output_attentions": True}
    with exact_float64() if dtype == torch.float64 and reference else contextlib.nullcontext():
        if reference and case.config["asm"]:
            return _adaptive_reference(model, batch, labels, flags)
        if case.architecture == "XLMForQuestionAnswering":
            result = dict(model(**batch, **_only_cls(labels), **flags, return_dict=True))
            loss = model(**batch, **labels, **flags, return_dict=True).loss
            result["loss"] = loss
        else:
            result = dict(model(**batch, **labels, **flags, return_dict=True))
    return flatten(result)


def _only_cls(labels: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: labels[name] for name in ("cls_index",) if name in labels}


def _adaptive_reference(
    model: Any, batch: dict[str, Tensor], labels: dict[str, Tensor], flags: dict[str, bool]
) -> dict[str, Any]:
    """transformers' adaptive softmax, which only takes flat inputs and labels that all count."""
    result = dict(model.transformer(**batch, **flags, return_dict=True))
    hidden = result.pop("last_hidden_state")
    flat = hidden.flatten(0, 1)
    projection = model.pred_layer.proj
    result["logits"] = projection.log_prob(flat).unflatten(0, hidden.shape[:2])
    wanted = labels["labels"].flatten()
    result["loss"] = projection(flat[wanted != -100], wanted[wanted != -100]).loss
    return flatten(result)


def flatten(result: dict[str, Any]) -> dict[str, Any]:
    """`hidden_states` (h0, h1) as `hidden_states.0`, `hidden_states.1`, and so on."""
    flat: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, tuple):
            flat |= {f"{name}.{index}": part for index, part in enumerate(value)}
        elif value is not None:
            flat[name] = value
    return flat


def assert_same_outputs(
    actual: dict[str, Any], expected: dict[str, Any], case: Case, bound: float
) -> dict[str, float]:
    """Compare two results of `run`.

    Under causal attention, rows of attention whose query is padding are left out: transformers
    lets padding attend to padding there, and nothing reads them.
    """
    values = [
        {name: value for name, value in result.items() if name not in INDEX_NAMES}
        for result in (actual, expected)
    ]
    for result in values:
        for name in result:
            if name.startswith("attentions.") and case.config["causal"]:
                queries = torch.from_numpy(case.tokens)[:, None, :, None]
                result[name] = result[name] * queries
    for name in set(INDEX_NAMES) & (actual.keys() | expected.keys()):
        hidden = expected[f"hidden_states.{case.config['n_layers']}"]
        assert_same_choices(actual[name], expected[name], case.tokens, name, hidden)
    return assert_all_close(*values, bound)


def gradients(model: Any, case: Case) -> dict[str, Tensor]:
    """Name -> float64 gradient of the loss (of a weighted sum of outputs where there is none)."""
    return outputs_and_gradients(model, case)[1]


def outputs_and_gradients(model: Any, case: Case) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Those of `run` and of `gradients`, from one forward pass."""
    model.zero_grad()
    flat = run(model, case)
    if "loss" in flat:
        flat["loss"].backward()
    else:
        output = flat.get("last_hidden_state", flat.get("logits"))
        weights = torch.sin(torch.arange(output.numel(), dtype=output.dtype)).view_as(output)
        (output * weights).sum().backward()
    return flat, {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
