"""The parity checks can fail: a wrong mapping of any single weight is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.cases import random_case
from tests.support.parity import assert_all_close
from tests.support.tf_models import run_tf, tf_gradients, tf_model
from tests.support.torch_reference import gradients, our_model, run
from xlm_core.weights import ARCHITECTURES, Kind, name_of, tensors_of

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
    causal=False,
)


def _swap(first: Any, second: Any) -> None:
    one, other = first.numpy(), second.numpy()
    first.assign(other)
    second.assign(one)


def _transpose(variable: Any) -> None:
    variable.assign(variable.numpy().T)


def _zero(variable: Any) -> None:
    variable.assign(0 * variable.numpy())


MUTATIONS = {
    "query and key swapped": lambda m: _swap(
        m.transformer.attentions[0].q_lin.kernel, m.transformer.attentions[0].k_lin.kernel
    ),
    "query bias and value bias swapped": lambda m: _swap(
        m.transformer.attentions[1].q_lin.bias, m.transformer.attentions[1].v_lin.bias
    ),
    "a bias dropped": lambda m: _zero(m.transformer.ffns[1].lin2.bias),
    "the query bias dropped": lambda m: _zero(m.transformer.attentions[1].q_lin.bias),
    "the output bias dropped": lambda m: _zero(m.pred_layer.proj.bias),
    "a square matrix not transposed": lambda m: _transpose(
        m.transformer.attentions[1].out_lin.kernel
    ),
    "the value matrix not transposed": lambda m: _transpose(
        m.transformer.attentions[0].v_lin.kernel
    ),
    "norms of a layer swapped": lambda m: _swap(
        m.transformer.layer_norm1[1].gamma, m.transformer.layer_norm2[1].gamma
    ),
    "layers swapped": lambda m: _swap(
        m.transformer.ffns[0].lin1.kernel, m.transformer.ffns[1].lin1.kernel
    ),
    "languages left out": lambda m: _zero(m.transformer.lang_embeddings.embeddings),
}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    """What the PyTorch family gives for the case."""
    return run(our_model(CASE), CASE)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_weight_is_seen(mutation: str, expected: dict[str, Any]) -> None:
    model = tf_model(CASE)
    assert_all_close(run_tf(model, CASE), expected, 1e-12)
    MUTATIONS[mutation](model)
    with pytest.raises(AssertionError, match="differs by"):
        assert_all_close(run_tf(model, CASE), expected, 1e-3)


@pytest.mark.parametrize(
    "mutation",
    ["query and key swapped", "a square matrix not transposed", "the query bias dropped"],
)
def test_a_wrong_weight_is_seen_in_float32(mutation: str, expected: dict[str, Any]) -> None:
    model = tf_model(CASE, "float32")
    assert_all_close(run_tf(model, CASE, "float32"), expected, 5e-6)
    MUTATIONS[mutation](model)
    with pytest.raises(AssertionError, match="differs by"):
        assert_all_close(run_tf(model, CASE, "float32"), expected, 1e-3)


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
    model = tf_model(case)
    expected = run_tf(model, case)
    for spec in tensors_of(case.xlm_config(), architecture):
        variable = model.variable_of(spec)
        kept = variable.numpy()
        variable.assign(-kept)
        unseen = spec.path in UNSEEN
        try:
            assert_all_close(run_tf(model, case), expected, 1e-6)
        except AssertionError:
            assert not unseen, spec.path
        else:
            assert unseen, f"{spec.path} may be anything"
        variable.assign(kept)


def test_a_wrong_gradient_is_seen() -> None:
    model = tf_model(CASE)
    actual, in_torch = tf_gradients(model, CASE), gradients(our_model(CASE), CASE)
    names = {s.path: str(name_of(s, "torch", CASE.architecture)) for s in model.tensor_specs()}
    expected = {path: in_torch[names[path]] for path in actual}
    assert_all_close(actual, expected, 1e-12, one_scale=True)
    path = "attentions.0.k_lin.weight"
    actual[path] = actual[path].T
    with pytest.raises(AssertionError, match=r"k_lin\.weight: differs"):
        assert_all_close(actual, expected, 1e-4, one_scale=True)


def test_kinds_of_tensors_are_all_mutated() -> None:
    assert {spec.kind for spec in tensors_of(CASE.xlm_config(), CASE.architecture)} == set(Kind)
