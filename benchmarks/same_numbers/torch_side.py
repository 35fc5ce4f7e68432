"""The calls of the PyTorch family."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import xlm_torch
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
        self.held: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, key: Tensor, value: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        if layer in self.held:
            key = torch.cat((self.held[layer][0], key), 2)
            value = torch.cat((self.held[layer][1], value), 2)
        self.held[layer] = key, value
        return key, value

    def get_seq_length(self) -> int:
        return self.held[0][0].shape[2] if self.held else 0


class TorchSide:
    """Runs cases of the PyTorch family.

    Args:
        folder_of: Name of a model -> its folder.
    """

    package = xlm_torch

    def __init__(self, folder_of: dict[str, Path]) -> None:
        self.folder_of = folder_of
        self.models: dict[Any, Any] = {}

    def run(self, case: Case) -> Arrays:
        """Name of a result -> its values."""
        torch.manual_seed(1)
        batch = batch_of(case)
        labels = self.tensors(labels_of(case, batch), case)
        given = self.tensors(batch, case)
        if "labels" in labels and labels["labels"].is_floating_point():
            labels["labels"] = labels["labels"].to(getattr(torch, case.dtype))
        return arrays_of(self.called(case, given, labels))

    def called(self, case: Case, given: dict[str, Any], labels: dict[str, Any]) -> dict[str, Any]:
        """Name of a result -> tensor."""
        match case.call:
            case "eval":
                return self.outputs(case, given)
            case "labels":
                return self.outputs(case, given | labels)
            case "loss alone":
                return self.outputs(case, given | labels | {"output_logits": False})
            case "attentions":
                return self.outputs(case, given | ALL_OUTPUTS)
            case "hidden states":
                return self.outputs(case, given | {"output_hidden_states": True})
            case "head mask":
                mask = self.tensors(head_mask_of(case), case)
                return self.outputs(case, given | mask)
            case "formulas":
                with xlm_torch.plain_kernels():
                    return self.outputs(case, given)
            case "gradient by formulas":
                with xlm_torch.plain_kernels():
                    return gradients(self.model(case, **NO_DROPOUT).train(), given | labels)
            case "gradient":
                return gradients(self.model(case, **NO_DROPOUT).train(), given | labels)
            case "gradient of loss alone":
                alone = labels | {"output_logits": False}
                return gradients(self.model(case, **NO_DROPOUT).train(), given | alone)
            case "gradient through all outputs":
                arguments = given | ALL_OUTPUTS
                return gradients(self.model(case, **NO_DROPOUT).train(), arguments, every=True)
            case "dropout":
                return gradients(self.model(case).train(), given | labels)
            case "hidden states, dropout":
                arguments = given | labels | {"output_hidden_states": True}
                return gradients(self.model(case).train(), arguments, every=True)
            case "dropout, recomputed" | "gradient, recomputed":
                rates = NO_DROPOUT if case.call.startswith("gradient") else {}
                model = self.model(case, **rates).train()
                with recomputing(model):
                    return gradients(model, given | labels)
            case "second derivatives":
                return second_derivatives(self.model(case, **NO_DROPOUT).train(), given | labels)
            case "int8" | "int8 weights":
                model = xlm_torch.quantize(self.open(case), activations=case.call == "int8")
                return outputs(model.eval(), given)
            case "packed":
                model = self.open(case).eval()
                with torch.no_grad():
                    xlm_torch.pack_weights(model)
                return outputs(model, given)
            case "steps of an optimizer":
                return steps(self.open(case, **NO_DROPOUT).train(), given | labels)
            case "cache":
                return self.decoded(case, given, xlm_torch.KeyValueCache())
            case "cache, attentions":
                return self.decoded(case, given | ALL_OUTPUTS, xlm_torch.KeyValueCache())
            case "foreign cache":
                return self.decoded(case, given, ForeignCache())
            case "gradient through a cache":
                return self.gradient_through_cache(case, given)
        raise ValueError(f"no such call: {case.call}")

    def tensors(self, arrays: Arrays, case: Case) -> dict[str, Any]:
        """Floating ones in the dtype of the case."""
        dtype = getattr(torch, case.dtype)
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        return {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}

    def open(self, case: Case, **overrides: Any) -> Any:
        """A model of one's own."""
        made = xlm_torch.MODEL_CLASSES[case.model.architecture]
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

    def outputs(self, case: Case, arguments: dict[str, Any]) -> dict[str, Any]:
        """Evaluating, without a graph of derivatives."""
        return outputs(self.model(case).eval(), arguments)

    def decoded(self, case: Case, given: dict[str, Any], cache: Any) -> dict[str, Any]:
        """A prompt, then a few steps through a cache."""
        model, found = self.model(case).eval(), {}
        for step, (end, length) in enumerate(prefixes(given)):
            part = first_positions(given, end, length)
            for name, value in outputs(model, part | {"cache": cache}).items():
                found[f"step {step}: {name}"] = value
        return found

    def gradient_through_cache(self, case: Case, given: dict[str, Any]) -> dict[str, Any]:
        """Through the keys and values of all steps."""
        model, cache = self.model(case, **NO_DROPOUT).train(), xlm_torch.KeyValueCache()
        objective: Any = 0.0
        for end, length in prefixes(given):
            part = first_positions(given, end, length)
            objective = objective + weighted(model(**part, cache=cache, return_dict=True)[0])
        return {"objective": objective} | gradients_of(model, objective)


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


@contextlib.contextmanager
def recomputing(model: Any) -> Iterator[None]:
    """With gradient checkpointing."""
    model.gradient_checkpointing = True
    try:
        yield
    finally:
        model.gradient_checkpointing = False


def flat(output: Any) -> dict[str, Any]:
    """hidden_states (a, b) as `hidden_states.0`, `hidden_states.1`."""
    found: dict[str, Any] = {}
    for name, value in dict(output).items():
        if isinstance(value, tuple):
            found |= {f"{name}.{index}": part for index, part in enumerate(value)}
        elif value is not None:
            found[name] = value
    return found


def outputs(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    with torch.no_grad():
        return flat(model(**arguments, return_dict=True))


def weighted(output: Tensor) -> Tensor:
    """A scalar in which each value has a weight of its own."""
    return (
        output * torch.sin(torch.arange(output.numel(), dtype=output.dtype)).view_as(output)
    ).sum()


def objective_of(found: dict[str, Any], every: bool) -> Tensor:
    """The loss; without one a weighted sum of the first output, or of all."""
    if every:
        return sum(weighted(value) for value in found.values() if value.is_floating_point())
    return found["loss"] if "loss" in found else weighted(next(iter(found.values())))


def gradients(model: Any, arguments: dict[str, Any], every: bool = False) -> dict[str, Any]:
    """Outputs, and the gradient of each parameter and of inputs_embeds."""
    embeds = arguments.get("inputs_embeds")
    if embeds is not None:
        embeds = embeds.requires_grad_()
    found = flat(model(**arguments, return_dict=True))
    result = found | gradients_of(model, objective_of(found, every))
    if embeds is not None:
        result["gradient of inputs_embeds"] = embeds.grad
    return result


def gradients_of(model: Any, objective: Tensor) -> dict[str, Any]:
    model.zero_grad()
    objective.backward()
    found = {
        f"gradient of {name}": parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    model.zero_grad()
    return found


def second_derivatives(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Gradients of the sum of all squared gradients."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    objective = objective_of(flat(model(**arguments, return_dict=True)), False)
    first = torch.autograd.grad(objective, parameters, create_graph=True, allow_unused=True)
    squares: Any = sum(g.square().sum() for g in first if g is not None)
    return {"squares": squares} | gradients_of(model, squares)


def steps(model: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Losses and weights of three steps of AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, eps=STEADY)
    found: dict[str, Any] = {}
    for step in range(3):
        optimizer.zero_grad()
        objective = objective_of(flat(model(**arguments, return_dict=True)), False)
        objective.backward()
        optimizer.step()
        found[f"step {step}: objective"] = objective
    return found | {f"after steps: {n}": p for n, p in model.named_parameters()}


def arrays_of(found: dict[str, Any]) -> Arrays:
    """As numpy arrays; bfloat16 as float32, which holds it exactly."""
    arrays = {}
    for name, value in found.items():
        tensor = value.detach()
        arrays[name] = np.array(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
    return arrays


SIDE = TorchSide
