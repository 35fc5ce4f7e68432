"""The parity checks can fail: a wrong mapping of any single weight is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.support.cases import random_case
from tests.support.parity import assert_all_close
from tests.support.torch_reference import assert_same_outputs, gradients, pair, run
from xlm_core.weights import ARCHITECTURES, Kind, tensors_of

CASE = random_case(
    0,
    "XLMWithLMHeadModel",
    asm=False,
    tie_word_embeddings=False,
    pruned_heads={},
    n_langs=2,
    use_lang_emb=True,
    n_layers=2,
    sinusoidal_embeddings=False,
)


def _swap(model: Any, first: str, second: str) -> None:
    one, other = model.get_parameter(first).data, model.get_parameter(second).data
    kept = one.clone()
    one.copy_(other)
    other.copy_(kept)


def _transpose(model: Any, name: str) -> None:
    data = model.get_parameter(name).data
    data.copy_(data.T.clone())


MUTATIONS = {
    "query and key swapped": lambda m: _swap(
        m, "transformer.attentions.0.q_lin.weight", "transformer.attentions.0.k_lin.weight"
    ),
    "query bias and value bias swapped": lambda m: _swap(
        m, "transformer.attentions.1.q_lin.bias", "transformer.attentions.1.v_lin.bias"
    ),
    "a bias dropped": lambda m: m.get_parameter("transformer.ffns.1.lin2.bias").data.zero_(),
    "the query bias dropped": lambda m: m.get_parameter(
        "transformer.attentions.1.q_lin.bias"
    ).data.zero_(),
    "the output bias dropped": lambda m: m.get_parameter("pred_layer.proj.bias").data.zero_(),
    "a square matrix not transposed": lambda m: _transpose(
        m, "transformer.attentions.1.out_lin.weight"
    ),
    "the value matrix not transposed": lambda m: _transpose(
        m, "transformer.attentions.0.v_lin.weight"
    ),
    "norms of a layer swapped": lambda m: _swap(
        m, "transformer.layer_norm1.1.weight", "transformer.layer_norm2.1.weight"
    ),
    "layers swapped": lambda m: _swap(
        m, "transformer.ffns.0.lin1.weight", "transformer.ffns.1.lin1.weight"
    ),
    "languages left out": lambda m: m.get_parameter(
        "transformer.lang_embeddings.weight"
    ).data.zero_(),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_weight_is_seen(mutation: str) -> None:
    ours, theirs = pair(CASE)
    with torch.no_grad():
        expected = run(theirs, CASE)
        assert_same_outputs(run(ours, CASE), expected, CASE, 1e-12)
        MUTATIONS[mutation](ours)
        with pytest.raises(AssertionError, match="differs by"):
            assert_same_outputs(run(ours, CASE), expected, CASE, 1e-3)


UNSEEN = (
    "attentions.0.k_lin.bias",
    "qa_outputs.start_logits.dense.bias",
    "qa_outputs.end_logits.LayerNorm.bias",
    "qa_outputs.end_logits.dense_1.bias",
)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_tensor_matters(architecture: str) -> None:
    """Negating any one tensor is seen, but for biases that a softmax takes out.

    The key bias adds the same to all scores of a query, and the biases of the beam head the same
    to all positions.
    """
    case = random_case(
        1,
        architecture,
        num_labels=2,
        problem_type=None,
        pruned_heads={},
        n_layers=1,
        n_langs=2,
        use_lang_emb=True,
        causal=False,
        summary_proj_to_labels=True,
        summary_use_proj=True,
        n_heads=1,
        tie_word_embeddings=False,
        asm=False,
    )
    inputs = {"input_ids", "langs", "attention_mask"}
    case = replace(case, batch={n: array for n, array in case.batch.items() if n in inputs})
    assert "input_ids" in case.batch
    ours, _ = pair(case)
    with torch.no_grad():
        expected = run(ours, case)
        for spec in tensors_of(case.xlm_config(), architecture):
            parameter = ours.get_parameter(ours._name(spec))
            kept = parameter.clone()
            parameter.neg_()
            unseen = spec.path in UNSEEN
            try:
                assert_same_outputs(run(ours, case), expected, case, 1e-6)
            except AssertionError:
                assert not unseen, spec.path
            else:
                assert unseen, f"{spec.path} may be anything"
            parameter.copy_(kept)


def test_a_wrong_gradient_is_seen() -> None:
    ours, theirs = pair(CASE)
    expected = gradients(theirs, CASE)
    actual = gradients(ours, CASE)
    assert_all_close(actual, expected, 1e-12, one_scale=True)
    kept = actual["transformer.attentions.0.k_lin.weight"]
    actual["transformer.attentions.0.k_lin.weight"] = kept.T.clone()
    with pytest.raises(AssertionError, match=r"k_lin\.weight: differs"):
        assert_all_close(actual, expected, 1e-4, one_scale=True)


def test_kinds_of_tensors_are_all_mutated() -> None:
    assert {spec.kind for spec in tensors_of(CASE.xlm_config(), CASE.architecture)} == set(Kind)
