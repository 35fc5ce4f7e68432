"""Heads that look at a few positions: the last layer is computed for these alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.parity import assert_close_to_largest, assert_same_results
from tests.support.torch_fast_paths import MASK, results, small_batch, small_model, take_fast_paths
from tests.support.torch_internals import formulas_only, on_last_layer
from xlm_core.errors import InputError
from xlm_torch import (
    XLMForMultipleChoice,
    XLMForSequenceClassification,
    XLMModel,
    XLMWithLMHeadModel,
)

WHOLE = torch.ones_like(MASK)


@pytest.fixture
def lasts(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """How many rows each call kept; None for all."""
    take_fast_paths(monkeypatch)
    computed: list[int | None] = []
    on_last_layer(monkeypatch, computed.append)
    return computed


def _results(model: Any, batch: dict[str, Any], **options: Any) -> dict[str, Tensor]:
    """As `results`, without hidden states, which ask for all rows."""
    model.config.output_hidden_states = False
    return results(_Quiet(model), batch, **options)


class _Quiet:
    """A model that is not asked for hidden states."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, *, output_hidden_states: bool, **batch: Any) -> Any:
        return self.model(**batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


def _case(name: str, mask: Tensor) -> tuple[Any, dict[str, Any], int]:
    """A model in float64, its batch, and how many rows its last layer needs."""
    batch = small_batch(mask, labels=name.startswith("language"))
    if name.startswith("language"):
        adaptive = (
            {"asm": True, "asm_cutoffs": [10, 30], "asm_div_value": 2.0} if "asm" in name else {}
        )
        model = small_model(XLMWithLMHeadModel, causal=name.endswith("causal"), **adaptive)
        batch["output_logits"] = False
        return model.double(), batch, int(((batch["labels"] != -100) & (mask != 0)).sum())
    kind, _, summary = name.partition(", ")
    rows = int(mask[:, 0 if summary == "first" else -1].sum())
    model_class = XLMForSequenceClassification if kind == "sequence" else XLMForMultipleChoice
    if kind == "choices":
        batch = {name: value[None] for name, value in batch.items()}
    model = small_model(model_class, summary_type=summary, summary_first_dropout=0.0)
    return model.double(), batch, rows


NAMES = [
    "language model",
    "language model, causal",
    "language model, asm",
    "sequence, first",
    "sequence, last",
    "sequence, cls_index",
    "choices, first",
    "choices, cls_index",
]


@pytest.mark.parametrize("mask", [MASK, WHOLE], ids=["padded", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_function(lasts: list[int | None], name: str, mask: Tensor) -> None:
    model, batch, rows = _case(name, mask)
    expected = _results(model, batch, plain=True)
    assert lasts == []
    actual = _results(model, batch)
    assert lasts == [rows]
    assert_same_results(actual, expected, 1e-12)
    model.gradient_checkpointing_enable()
    assert_same_results(_results(model, batch), expected, 1e-12)


def test_with_dropout(lasts: list[int | None]) -> None:
    """The same gradients on average; here: finite, for all parameters, and less of them noise."""
    model = small_model(dropout=0.3, attention_dropout=0.3)
    found = _results(model, {**small_batch(labels=True), "output_logits": False})
    assert lasts[0]
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert len(found) > 30


def test_no_label_at_all(lasts: list[int | None]) -> None:
    model = small_model().double()
    batch = {**small_batch(labels=True), "output_logits": False}
    batch["labels"].fill_(-100)
    output = model(**batch)
    output.loss.backward()
    assert float(output.loss.detach()) == 0
    assert lasts == [0]


def _hooked(module: Any) -> None:
    module.register_forward_hook(lambda *_: None)


def _wrapped(model: Any) -> None:
    class Scaled(XLMModel):
        def forward(self, *arguments: Any, **options: Any) -> Any:
            output = super().forward(*arguments, **options)
            output.last_hidden_state = output.last_hidden_state - 1
            return output

    model.transformer.__class__ = Scaled


ALL_ROWS: dict[str, Any] = {
    "hidden states": lambda m: setattr(m.config, "output_hidden_states", True),
    "attentions": lambda m: setattr(m.config, "output_attentions", True),
    "a hook on the encoder": lambda m: _hooked(m.transformer),
    "a hook in the encoder": lambda m: _hooked(m.transformer.ffns[1].lin2),
    "another encoder": _wrapped,
    "a hook on the summary": lambda m: _hooked(m.sequence_summary),
    "another summary": lambda m: setattr(m, "sequence_summary", _Last()),
    "mean": lambda m: setattr(m.sequence_summary, "summary_type", "mean"),
}


class _Last(nn.Module):
    def forward(self, hidden: Tensor) -> Tensor:
        return hidden[:, 1, :2]


@pytest.mark.parametrize("name", ALL_ROWS)
def test_all_rows_where_somebody_may_look(lasts: list[int | None], name: str) -> None:
    model = small_model(XLMForSequenceClassification).double().eval()
    ALL_ROWS[name](model)
    batch = small_batch()
    with torch.no_grad():
        with formulas_only():
            expected = model(**batch)
        actual = model(**batch)
    assert set(lasts) <= {None}
    assert_close_to_largest(actual.logits, expected.logits, 1e-12)


def test_all_rows_with_logits_and_for_the_encoder_itself(lasts: list[int | None]) -> None:
    model = small_model()
    batch = small_batch(labels=True)
    model(**batch)
    model.transformer(**small_batch())
    assert lasts == [None, None]
    # Nor does what a head asked for outlive its call.
    model(**batch, output_logits=False)
    model.transformer(**small_batch())
    assert lasts[2:] == [int(((batch["labels"] != -100) & (MASK != 0)).sum()), None]


def test_another_encoder_that_runs_meanwhile_is_not_asked(lasts: list[int | None]) -> None:
    head, other, seen = small_model(XLMForSequenceClassification), small_model(XLMModel), []
    batch = small_batch()
    expected = other(**batch).last_hidden_state
    hook = head.transformer.ffns[0].register_forward_hook(
        lambda *_: seen.append(other(**batch).last_hidden_state)
    )
    head(**batch)
    assert_close_to_largest(seen[0], expected, 0.0)
    hook.remove()
    # Nor is the same one, when it is called once more.
    whole = head.transformer(**batch).last_hidden_state
    seen.clear()

    def again(*_: Any) -> None:
        hook.remove()
        seen.append(head.transformer(**batch).last_hidden_state)

    hook = head.transformer.attentions[1].register_forward_hook(again)
    lasts.clear()
    head(**batch)
    assert_close_to_largest(seen[0], whole, 1e-6)
    assert set(lasts) <= {None}


@pytest.mark.parametrize("labels", [np.full(MASK.shape, 7), [[1]]])
def test_labels_that_are_no_tensors(lasts: list[int | None], labels: Any) -> None:
    with pytest.raises(InputError, match="labels"):
        small_model()(**small_batch(), labels=labels, output_logits=False)


def test_labels_that_do_not_fit_are_refused_as_ever(lasts: list[int | None]) -> None:
    model = small_model()
    for labels in (torch.zeros(3, 4, dtype=torch.long), torch.full(MASK.shape, 10**6)):
        with pytest.raises(ValueError, match="labels"):
            model(**small_batch(), labels=labels, output_logits=False)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "beyond the sequence": ({"output_positions": 6}, "is 6: expected .* among the 6 new"),
    "a bool": ({"output_positions": True}, "is a bool"),
    "a name": ({"output_positions": "first"}, "is a str"),
    "integers": ({"output_positions": torch.ones_like(MASK)}, "holds integers"),
    "another width": ({"embedding_matrix": torch.zeros(53, 5)}, "embedding_matrix has shape"),
    "a matrix of integers": ({"embedding_matrix": torch.zeros(53, 12).long()}, "embedding_matrix"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_requests_that_cannot_be_met_are_refused(wrong: str) -> None:
    given, message = WRONG[wrong]
    with pytest.raises(InputError, match=message):
        small_model(XLMModel)(**small_batch(), **given)


@pytest.mark.parametrize("position", [0, 5, -1, -6])
def test_one_position_of_the_encoder(lasts: list[int | None], position: int) -> None:
    model, batch = small_model(XLMModel).double().eval(), small_batch()
    whole = model(**batch).last_hidden_state
    found = model(**batch, output_positions=position).last_hidden_state
    assert_close_to_largest(found[:, position], whole[:, position], 1e-12)
    assert lasts[-1] == int(MASK[:, position].sum())
