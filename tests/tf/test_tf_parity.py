"""Random models and batches give what transformers' TensorFlow classes give, where they work."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import transformers

from tests.support.cases import Array, Case, random_case, random_weights
from tests.support.parity import assert_all_close, assert_close_to_largest
from tests.support.tf_models import as_tf, run_tf, tf_model
from tests.support.torch_reference import flatten
from xlm_core.weights import Kind, name_of, tensors_of

ARCHITECTURES = (
    "XLMModel",
    "XLMWithLMHeadModel",
    "XLMForSequenceClassification",
    "XLMForMultipleChoice",
    "XLMForTokenClassification",
    "XLMForQuestionAnsweringSimple",
)
SEEDS = range(6)
BOUND = 2e-6
FLAGS = {"output_hidden_states": True, "output_attentions": True}
# What transformers' TensorFlow classes do not have.
POSSIBLE: dict[str, Any] = {
    "asm": False,
    "sinusoidal_embeddings": False,
    "pruned_heads": {},
    "chunk_size_feed_forward": 0,
}


def possible_case(seed: int, architecture: str, **overrides: Any) -> Case:
    """A case that transformers can run in TensorFlow."""
    tied = {"tie_word_embeddings": True} if architecture == "XLMWithLMHeadModel" else {}
    case = random_case(seed, architecture, **{**POSSIBLE, **tied, **overrides})
    case.batch.pop("head_mask", None)
    if case.config["summary_activation"] == "leaky_relu":
        case.config["summary_activation"] = "tanh"
    if case.config["causal"] and "attention_mask" in case.batch:
        mask = case.batch.pop("attention_mask")  # right padding: lengths say the same
        if architecture == "XLMForMultipleChoice":  # where lengths are dropped
            case.config["causal"] = False
            case.batch["attention_mask"] = mask
        else:
            case.batch["lengths"] = mask.sum(-1)
    return case


def reference(case: Case, weights: dict[str, Array]) -> Any:
    """transformers' model, its variables filled by their names in the weight table."""
    values = {name: value for name, value in case.config.items() if value is not None}
    config = transformers.XLMConfig(**values, initializer_range=0.02)
    model = getattr(transformers, f"TF{case.architecture}")(config)
    model.build_in_name_scope()
    variables = {v.name.partition("/")[2]: v for v in model.weights}
    for spec in tensors_of(case.xlm_config(), case.architecture):
        name = name_of(spec, "tf", case.architecture)
        if name is not None:
            array = weights[spec.path]
            variables.pop(name).assign(array.T if spec.kind is Kind.MATRIX else array)
    assert not variables, f"names that the table does not know: {sorted(variables)}"
    return model


def call_reference(model: Any, case: Case, labels: dict[str, tf.Tensor] | None = None) -> Any:
    batch = as_tf(case.batch, "float32")
    return model(batch.pop("input_ids", None), **batch, **(labels or {}), **FLAGS, return_dict=True)


def comparable(flat: dict[str, Any], case: Case) -> dict[str, Array]:
    """As arrays, without the attention of padding under causal attention, which nothing reads."""
    arrays = {name: value.numpy() for name, value in flat.items() if name != "loss"}
    if case.config["causal"]:
        queries = case.tokens[:, None, :, None]
        arrays |= {n: a * queries for n, a in arrays.items() if n.startswith("attentions.")}
    return arrays


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("seed", SEEDS)
def test_float32_outputs(seed: int, architecture: str) -> None:
    case = possible_case(seed, architecture)
    theirs = reference(case, random_weights(case.xlm_config(), architecture, case.rng))
    expected = comparable(flatten(dict(call_reference(theirs, case))), case)
    actual = comparable(run_tf(tf_model(case, "float32"), case, "float32"), case)
    # float64 judges both: where the largest of a few logits is small, their roundings, each within
    # the bound, may point apart, which depends on the processor.
    exact = comparable(run_tf(tf_model(case, "float64"), case, "float64"), case)
    assert_all_close(expected, exact, BOUND)
    assert_all_close(actual, exact, BOUND)


@pytest.mark.parametrize(
    ("architecture", "values", "name"),
    [
        ("XLMForSequenceClassification", {"num_labels": 3, "problem_type": None}, "labels"),
        ("XLMForSequenceClassification", {"num_labels": 1, "problem_type": None}, "labels"),
        ("XLMForMultipleChoice", {}, "labels"),
        ("XLMForTokenClassification", {"num_labels": 3}, "labels"),
        ("XLMForQuestionAnsweringSimple", {}, "start_positions"),
    ],
)
def test_losses_are_the_means_of_those_of_transformers(
    architecture: str, values: dict[str, Any], name: str
) -> None:
    case = possible_case(
        1, architecture, **values, summary_use_proj=True, summary_proj_to_labels=True
    )
    labels = {key: tf.constant(array) for key, array in case.labels.items()}
    if name == "start_positions":  # transformers clips none that are beyond the sequence
        labels = {key: tf.clip_by_value(tensor, 0, 5) for key, tensor in labels.items()}
    theirs = reference(case, random_weights(case.xlm_config(), architecture, case.rng))
    expected = tf.reduce_mean(call_reference(theirs, case, labels).loss)
    model = tf_model(case, "float32")
    actual = model(**as_tf(case.batch, "float32"), **labels).loss
    assert actual.shape == ()
    assert_close_to_largest(actual, expected, BOUND)


@cache
def _language_models() -> tuple[Case, Any, Any]:
    case = possible_case(3, "XLMWithLMHeadModel", causal=False)
    theirs = reference(case, random_weights(case.xlm_config(), case.architecture, case.rng))
    return case, theirs, tf_model(case, "float32")


def test_the_tied_matrix_is_one_variable_in_both() -> None:
    _, theirs, ours = _language_models()
    count = sum(int(np.prod(variable.shape)) for variable in theirs.trainable_weights)
    assert ours.num_parameters() == ours.num_parameters(only_trainable=True) == count
    assert sum(int(np.prod(variable.shape)) for variable in ours.trainable_weights) == count


def test_the_comparison_can_fail() -> None:
    case, theirs, ours = _language_models()
    expected = comparable(flatten(dict(call_reference(theirs, case))), case)
    bias = ours.transformer.ffns[0].lin2.bias
    before = bias.numpy()
    bias.assign(before * np.float32(1.001))
    with pytest.raises(AssertionError, match="differs by"):
        assert_all_close(comparable(run_tf(ours, case, "float32"), case), expected, BOUND)
    bias.assign(before)
    assert_all_close(comparable(run_tf(ours, case, "float32"), case), expected, BOUND)


def test_cases_cover_what_they_promise() -> None:
    cases = [possible_case(seed, name) for seed in SEEDS for name in ARCHITECTURES]
    for name, wanted in {
        "causal": {True, False},
        "use_lang_emb": {True, False},
        "gelu_activation": {True, False},
        "summary_type": {"first", "last", "mean", "cls_index"},
    }.items():
        assert wanted <= {case.config[name] for case in cases}, name
    inputs = {name for case in cases for name in case.batch}
    assert inputs >= {"input_ids", "inputs_embeds", "attention_mask", "lengths", "langs"}
    assert inputs >= {"token_type_ids", "position_ids"}
