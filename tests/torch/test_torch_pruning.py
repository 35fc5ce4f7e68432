"""Head pruning: equal to silencing the heads, and to what transformers prunes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tests.support.cases import Case, random_case
from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.support.torch_reference import as_tensors, assert_same_outputs, our_model, pair, run
from xlm_core import ConfigError
from xlm_core.weights import ARCHITECTURES
from xlm_torch import MODEL_CLASSES

PRUNED = {0: [2], 2: [0, 3]}


def _case(architecture: str = "XLMWithLMHeadModel", **values: Any) -> Case:
    sizes = {"n_heads": 4, "emb_dim": 20, "n_layers": 3, "pruned_heads": {}, "asm": False}
    values = {**sizes, "problem_type": None, "num_labels": 2, **values}
    case = random_case(1, architecture, **values)
    case.batch.pop("head_mask", None)
    return case


def _silenced(pruned: dict[int, list[int]]) -> torch.Tensor:
    mask = torch.ones(3, 4, dtype=torch.float64)
    for layer, heads in pruned.items():
        mask[layer, heads] = 0
    return mask


def test_pruning_is_silencing() -> None:
    case = _case()
    model, batch = our_model(case), as_tensors(case.batch)
    expected = model(**batch, head_mask=_silenced(PRUNED)).logits
    assert not torch.allclose(expected, model(**batch).logits)
    model.prune_heads(PRUNED)
    assert_close_to_largest(model(**batch).logits, expected, 1e-13)
    shapes = [tuple(a.q_lin.weight.shape) for a in model.transformer.attentions]
    assert shapes == [(15, 20), (20, 20), (10, 20)]
    assert model.config.pruned_heads == PRUNED


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pruned_like_transformers(architecture: str) -> None:
    case = _case(architecture, tie_word_embeddings=True)
    ours, theirs = pair(case)
    for model in (ours, theirs):
        model.prune_heads(PRUNED)
    theirs.double()  # pruning in transformers makes float32 of what it prunes
    assert_all_close(ours.state_dict(), theirs.state_dict(), 0.0)
    with torch.no_grad():
        assert_same_outputs(run(ours, case), run(theirs, case), case, 1e-12)


def test_pruning_step_by_step_counts_heads_of_the_whole_model() -> None:
    at_once, in_steps = (our_model(_case()) for _ in range(2))
    at_once.prune_heads({1: [0, 1, 3]})
    in_steps.prune_heads({1: [1]})
    in_steps.prune_heads({1: [0, 1]})  # one is gone already
    in_steps.prune_heads({1: (3,), 0: []})
    assert_all_close(in_steps.state_dict(), at_once.state_dict(), 0.0)
    assert in_steps.config.heads_of(1) == [2]
    assert in_steps.config.heads_of(0) == [0, 1, 2, 3]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_opened_pruned(architecture: str, tmp_path: Path) -> None:
    case = _case(architecture)
    model = our_model(case, torch.float32)
    model.prune_heads(PRUNED)
    model.save_pretrained(tmp_path)
    again = MODEL_CLASSES[architecture].from_pretrained(tmp_path)
    assert again.config.pruned_heads == PRUNED
    with torch.no_grad():
        actual = run(again, case, torch.float32)
        assert_all_close(actual, run(model, case, torch.float32), 0.0)
    again.prune_heads({0: [0], 1: [1]})  # goes on in the same numbering
    assert again.config.pruned_heads == {0: [0, 2], 1: [1], 2: [0, 3]}
    theirs = getattr(transformers, architecture).from_pretrained(tmp_path)
    with torch.no_grad():
        assert_same_outputs(actual, run(theirs, case, torch.float32), case, 2e-6)


def test_pruned_by_transformers_and_saved(tmp_path: Path) -> None:
    case = _case("XLMForTokenClassification")
    _, theirs = pair(case, torch.float32)
    theirs.prune_heads(PRUNED)
    theirs.save_pretrained(tmp_path)
    ours = MODEL_CLASSES["XLMForTokenClassification"].from_pretrained(tmp_path)
    with torch.no_grad():
        actual, expected = (run(model, case, torch.float32) for model in (ours, theirs))
    assert_same_outputs(actual, expected, case, 2e-6)


def test_pruned_models_train_and_frozen_ones_stay_frozen() -> None:
    case = _case()
    model = our_model(case)
    model.transformer.attentions[0].q_lin.requires_grad_(False)
    model.prune_heads(PRUNED)
    assert not model.transformer.attentions[0].q_lin.weight.requires_grad
    model(**as_tensors(case.batch), labels=as_tensors(case.labels)["labels"]).loss.backward()
    for parameter in model.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad


@pytest.mark.parametrize(
    ("heads", "text"),
    [
        ({3: [0]}, "layer 3 is outside the 3 layers"),
        ({-4: [0]}, "layer -4 is outside"),
        ({0: [4]}, "layer 0 has the heads 0 to 3 only"),
        ({0: [0, 1, 2, 3]}, "layer 0 must keep at least one"),
    ],
)
def test_impossible_pruning_changes_nothing(heads: dict[int, list[int]], text: str) -> None:
    model = our_model(_case())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError, match=text):
        model.prune_heads({1: [0], **heads})
    assert model.config.pruned_heads == {}
    assert_all_close(model.state_dict(), before, 0.0)


def test_forms_of_the_table() -> None:
    """Out of JSON, keys are text; of an argsort, heads are numpy's."""
    expected, model = (our_model(_case()) for _ in range(2))
    expected.prune_heads({1: [0, 3]})
    model.prune_heads({"1": np.array([0, 3])})
    assert model.config.pruned_heads == expected.config.pruned_heads
    for wrong in ({1: 1}, [0], {1: [1.5]}, {"a": [1]}):
        with pytest.raises(ConfigError, match="expected a table from layer to a list of heads"):
            model.prune_heads(wrong)
