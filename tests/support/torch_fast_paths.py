"""PyTorch's fast paths on small models: opened, counted, and compared with the plain formulas."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import make_config
from tests.support.cases import Case
from tests.support.torch_internals import (
    ANY_ROWS,
    ONEDNN,
    EmbeddingRows,
    FlashAttention,
    Unpadding,
    VocabularyLoss,
    formulas_only,
    on_unpadding,
    positions_of,
    prefer_onednn,
    replace_onednn,
    set_sentence_cost,
    set_smallest_matrix,
    set_smallest_reused,
)
from tests.support.torch_reference import as_tensors, flatten
from xlm_torch import XLMWithLMHeadModel

needs_onednn = pytest.mark.skipif(
    ONEDNN is None or not torch.backends.mkldnn.is_available(),
    reason="this PyTorch has no oneDNN",
)


@dataclass
class Taken:
    """What ran since it was last cleared.

    Attributes:
        products: Shapes of what oneDNN's products returned.
        attentions: Calls of the fused attention that has gradients.
        losses: Calls of the loss that picks rows.
        look_ups: Calls of the look-up with a sparse gradient.
        unpaddings: What was decided to compute of each batch.
    """

    products: list[tuple[int, ...]] = field(default_factory=list)
    attentions: int = 0
    losses: int = 0
    look_ups: int = 0
    unpaddings: list[Unpadding] = field(default_factory=list)

    def clear(self) -> None:
        self.__init__()

    @property
    def nothing(self) -> bool:
        """Whether all that ran are the plain formulas."""
        return self == Taken()

    @property
    def unpadded(self) -> int:
        """Batches of which padding was left out."""
        return sum(positions_of(each) is not None for each in self.unpaddings)


class _CountedProduct:
    """oneDNN's product, noting what it returns."""

    def __init__(self, taken: Taken) -> None:
        self.taken = taken

    def __call__(self, *arguments: Any) -> Tensor:
        result: Tensor = ONEDNN(*arguments)
        self.taken.products.append(tuple(result.shape))
        return result

    def binary(self, *arguments: Any) -> Tensor:
        result: Tensor = ONEDNN.binary(*arguments)
        self.taken.products.append(tuple(result.shape))
        return result


def take_fast_paths(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Let models of any size take every fast path that the machine has, and count."""
    taken = Taken()
    set_smallest_matrix(monkeypatch, 0)
    set_smallest_reused(monkeypatch, 0)
    set_sentence_cost(monkeypatch, 0)
    if ONEDNN is not None and torch.backends.mkldnn.is_available():
        prefer_onednn(monkeypatch, dict.fromkeys((torch.float32, torch.bfloat16), ANY_ROWS))
        replace_onednn(monkeypatch, _CountedProduct(taken))
    for function, name in (
        (FlashAttention, "attentions"),
        (VocabularyLoss, "losses"),
        (EmbeddingRows, "look_ups"),
    ):
        _count(monkeypatch, function, taken, name)

    def note(unpadding: Unpadding) -> Unpadding:
        taken.unpaddings.append(unpadding)
        return unpadding

    on_unpadding(monkeypatch, note)
    return taken


def _count(
    monkeypatch: pytest.MonkeyPatch,
    function: type[torch.autograd.Function],
    taken: Taken,
    name: str,
) -> None:
    forward = function.forward

    def counted(*arguments: Any) -> Any:
        setattr(taken, name, getattr(taken, name) + 1)
        return forward(*arguments)

    monkeypatch.setattr(function, "forward", staticmethod(counted))


# -- models and batches ----------------------------------------------------------------------------

MASK = torch.tensor(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1], [0, 1, 0, 1, 1, 0], [0] * 6]
)


def small_model(model_class: Any = XLMWithLMHeadModel, **values: Any) -> Any:
    """A model without dropout whose biases and norms are random too, training."""
    torch.manual_seed(0)
    values = {"dropout": 0.0, "attention_dropout": 0.0, "num_labels": 2, **values}
    model = model_class(make_config(**values))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    return model.train()


def small_batch(mask: Tensor = MASK, *, labels: bool = False) -> dict[str, Tensor]:
    """input_ids, attention_mask and langs for `small_model`, some labels on padding too."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(6, 53, mask.shape, generator=generator)
    langs = torch.randint(0, 5, mask.shape, generator=generator)
    batch = {"input_ids": ids.where(mask != 0, 2), "attention_mask": mask, "langs": langs}
    if labels:
        ignored = torch.rand(mask.shape, generator=generator) < 0.6
        batch["labels"] = ids.masked_fill(ignored, -100)
    return batch


# -- results ---------------------------------------------------------------------------------------


def results(model: Any, batch: dict[str, Any], *, plain: bool = False) -> dict[str, Tensor]:
    """Outputs, hidden states and all gradients of the loss, or of a weighted sum without one."""
    model.zero_grad()
    with formulas_only() if plain else contextlib.nullcontext():
        output = flatten(dict(model(**batch, output_hidden_states=True)))
        objective = output.get("loss")
        if objective is None:
            objective = sum(
                (value * torch.sin(torch.arange(value.numel()) + 1.0).view_as(value)).sum()
                for value in output.values()
                if value.requires_grad
            )
        objective.backward()
    gradients = {
        f"gradient of {name}": parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    return {**{name: value.detach() for name, value in output.items()}, **gradients}


def arguments_of(case: Case, dtype: torch.dtype) -> dict[str, Tensor]:
    """Its batch and labels, without what asks for the plain layer."""
    tensors = {**as_tensors(case.batch, dtype), **as_tensors(case.labels, dtype)}
    tensors.pop("head_mask", None)
    return tensors
