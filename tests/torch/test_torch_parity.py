"""Random models and batches give what transformers gives: outputs, losses, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.cases import Case, random_case, random_weights
from tests.support.parity import assert_all_close, difference_to_largest
from tests.support.torch_reference import (
    as_tensors,
    assert_same_outputs,
    exact_float64,
    gradients,
    pair,
    run,
    state_dict_of,
)
from xlm_core.config_rules import PROBLEM_TYPES
from xlm_core.weights import ARCHITECTURES

SEEDS = range(140)  # twenty of each architecture


@pytest.mark.parametrize("seed", SEEDS)
def test_float64_outputs_losses_and_gradients(seed: int) -> None:
    case = random_case(seed)
    ours, theirs = pair(case)
    with torch.no_grad():
        assert_same_outputs(run(ours, case), run(theirs, case), case, 1e-12)
    assert_all_close(gradients(ours, case), gradients(theirs, case), 1e-12, one_scale=True)


@pytest.mark.parametrize("seed", SEEDS)
def test_float32_outputs(seed: int) -> None:
    case = random_case(seed)
    ours, theirs = pair(case, torch.float32)
    with torch.no_grad():
        actual, expected = run(ours, case, torch.float32), run(theirs, case, torch.float32)
    assert_same_outputs(actual, expected, case, 2e-6)


def test_float32_error_is_no_larger_than_that_of_transformers() -> None:
    ratios = []
    for seed in range(1000, 1042):
        case = random_case(seed)
        errors = []
        for model in pair(case):
            with torch.no_grad():
                exact = _main_output(run(model, case))
                rounded = _main_output(run(model.to(torch.float32), case, torch.float32))
            errors.append(difference_to_largest(rounded, exact))
        ratios.append(errors[0] / errors[1])
    print(
        f"float32 error, ours / transformers', over {len(ratios)} configurations: median "
        f"{np.median(ratios):.3f}, smallest {min(ratios):.3f}, largest {max(ratios):.3f}"
    )
    assert np.median(ratios) <= 1.2
    assert max(ratios) <= 2.5


def _main_output(flat: dict[str, torch.Tensor]) -> torch.Tensor:
    names = ("last_hidden_state", "logits", "start_logits", "end_top_log_probs")
    return next(flat[name] for name in names if name in flat)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_state_dict_goes_both_ways(architecture: str) -> None:
    for seed in (3, 11, 12):
        case = random_case(seed, architecture)
        ours, theirs = pair(case)
        assert list(ours.state_dict()) == list(theirs.state_dict())
        config = case.xlm_config()
        weights = random_weights(config, architecture, np.random.default_rng(seed))
        theirs.load_state_dict(state_dict_of(weights, config, architecture), strict=True)
        ours.load_state_dict(theirs.state_dict(), strict=True)
        with torch.no_grad():
            assert_same_outputs(run(ours, case), run(theirs, case), case, 1e-12)
        ours.load_state_dict(
            state_dict_of(random_weights(config, architecture, case.rng), config, architecture)
        )
        theirs.load_state_dict(ours.state_dict(), strict=True)
        with torch.no_grad():
            assert_same_outputs(run(ours, case), run(theirs, case), case, 1e-12)


def test_state_dict_of_an_adaptive_softmax_is_that_of_transformers() -> None:
    case = _adaptive_case()
    ours, theirs = pair(case)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert any(name.startswith("pred_layer.proj.tail.1") for name in ours.state_dict())


def _adaptive_case() -> Case:
    return next(
        case
        for seed in range(100)
        if (case := random_case(seed, "XLMWithLMHeadModel")).config["asm"]
    )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tuples_are_those_of_transformers(architecture: str) -> None:
    case = random_case(5, architecture, asm=False, num_labels=2, problem_type=None)
    ours, theirs = pair(case)
    for labels in ({}, as_tensors(case.labels)):
        arguments = {**as_tensors(case.batch), **labels, "output_hidden_states": True}
        with torch.no_grad(), exact_float64():
            actual = ours(**arguments, return_dict=False)
            expected = theirs(**arguments, return_dict=False)
        assert type(actual) is tuple
        assert [type(value) for value in actual] == [type(value) for value in expected]
        assert len(actual[-1]) == case.config["n_layers"] + 1
        named = ours(**arguments)
        assert named.to_tuple()[0].shape == actual[0].shape
        shown = theirs(**arguments, return_dict=True)
        assert list(named) == list(shown)


def test_cases_cover_what_they_promise() -> None:
    """The seeds above reach every option, or they would prove less than they seem to."""
    cases = [random_case(seed) for seed in SEEDS]
    for name, wanted in {
        "n_langs": {1, 2, 15},
        "use_lang_emb": {True, False},
        "causal": {True, False},
        "sinusoidal_embeddings": {True, False},
        "gelu_activation": {True, False},
        "asm": {True, False},
        "tie_word_embeddings": {True, False},
        "summary_type": {"first", "last", "mean", "cls_index"},
        "problem_type": {*PROBLEM_TYPES, None},
    }.items():
        found = {case.config.get(name) for case in cases}
        assert wanted <= found, f"{name}: {wanted - found} never drawn"
    arguments = ("input_ids", "inputs_embeds", "attention_mask", "lengths", "langs", "p_mask")
    arguments += ("token_type_ids", "position_ids", "head_mask")
    assert set(arguments) == {name for case in cases for name in case.batch}
    head_masks = [c.batch["head_mask"].ndim for c in cases if "head_mask" in c.batch]
    assert {1, 2} <= set(head_masks)
    assert any(case.config.get("pruned_heads") for case in cases)
    assert any(case.config["chunk_size_feed_forward"] > 1 for case in cases)
    assert any(not case.tokens[:, 0].all() for case in cases), "no left padding"
    assert any((case.tokens.sum(-1) == 1).any() for case in cases), "no row of one token"
    assert any(case.tokens.all() for case in cases), "no full rows"
    squares = [c for c in cases if c.config["vocab_size"] == c.config["emb_dim"]]
    assert squares
    assert len(squares) < len(cases) / 2
    assert any(case.config["summary_activation"] for case in cases)
