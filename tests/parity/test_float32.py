"""float32, judged by float64: rounding, and no more of it than transformers' PyTorch has.

The error of a family is the difference of its float32 result from its own float64 result, over
all hidden states and the head's scores together, so that no single lucky number decides.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.cases import Array, Case, random_case
from tests.support.parity import as_array, difference_to_largest
from tests.support.tf_models import run_tf, tf_model
from tests.support.torch_reference import our_model, pair, run
from xlm_core.weights import ARCHITECTURES

SCORES = ("logits", "start_logits", "end_logits")
SEEDS = range(4)
CASES = [(architecture, seed) for architecture in ARCHITECTURES for seed in SEEDS]


@cache
def results(architecture: str, seed: int) -> tuple[Case, dict[str, dict[str, Any]]]:
    """Family and dtype -> what it returned, for a case that transformers can run."""
    case = random_case(seed, architecture, asm=False, n_layers=3)
    ours, theirs = pair(case, torch.float32)
    return case, {
        "torch64": run(our_model(case), case),
        "tf64": run_tf(tf_model(case), case),
        "torch32": run(ours, case, torch.float32),
        "tf32": run_tf(tf_model(case, "float32"), case, "float32"),
        "peer32": run(theirs, case, torch.float32),
    }


def values_of(result: dict[str, Any]) -> dict[str, Array]:
    return {
        name: as_array(value).astype(np.float64)
        for name, value in result.items()
        if name in SCORES or name.startswith("hidden_states.")
    }


def errors(result: dict[str, Any], judge: dict[str, Any]) -> tuple[float, float]:
    """Root mean square and largest error, each tensor's as a share of its largest value."""
    found, exact = values_of(result), values_of(judge)
    assert found.keys() == exact.keys()
    gaps = np.concatenate([((found[n] - exact[n]) / np.abs(exact[n]).max()).ravel() for n in exact])
    return float(np.sqrt((gaps**2).mean())), float(np.abs(gaps).max())


def test_errors_are_about_those_of_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    """At most 1.2 times in the median, for the mean and for the largest error; never above 2.5."""
    for family in ("torch", "tf"):
        ratios = []
        for architecture, seed in CASES:
            _, found = results(architecture, seed)
            own = errors(found[f"{family}32"], found[f"{family}64"])
            peer = errors(found["peer32"], found["torch64"])
            ratios.append((own[0] / peer[0], own[1] / peer[1]))
        median, worst = np.median(ratios, axis=0), np.max(ratios, axis=0)
        with capsys.disabled():
            print(
                f"\nfloat32 error of {family}, as a multiple of transformers' PyTorch, "
                f"{len(ratios)} configs: rms median {median[0]:.2f}, worst {worst[0]:.2f}; "
                f"largest error median {median[1]:.2f}, worst {worst[1]:.2f}"
            )
        assert (median <= 1.2).all()
        assert (worst <= 2.5).all()


@pytest.mark.parametrize(("architecture", "seed"), CASES)
def test_families_agree_on_scores(architecture: str, seed: int) -> None:
    """Within 2e-6 of the largest logit; the same argmax unless the two best are closer."""
    _, found = results(architecture, seed)
    for name in SCORES:
        if name not in found["torch32"]:
            continue
        torch_scores, tf_scores = as_array(found["torch32"][name]), as_array(found["tf32"][name])
        if torch_scores.size >= 50:  # of fewer, the largest may be next to nothing
            assert difference_to_largest(tf_scores, torch_scores) <= 2e-6
        best = np.sort(as_array(found["torch64"][name]), axis=-1)
        if best.shape[-1] > 1:
            clear = best[..., -1] - best[..., -2] > 2e-6 * np.abs(best).max()
            same = torch_scores.argmax(-1) == tf_scores.argmax(-1)
            assert same[clear].all()


def test_float64_rounded_to_float32_is_bitwise_equal() -> None:
    """At least 99.999 % of all logits: the two families are one function up to 1e-16."""
    equal = total = 0
    for seed in range(12):
        case = random_case(seed, "XLMWithLMHeadModel", vocab_size=997, asm=False)
        first = as_array(run(our_model(case), case)["logits"]).astype(np.float32)
        second = as_array(run_tf(tf_model(case), case)["logits"]).astype(np.float32)
        equal += int((first.view(np.uint32) == second.view(np.uint32)).sum())
        total += first.size
    assert total > 100_000
    assert equal / total >= 0.99999
