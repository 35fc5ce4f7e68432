"""On masked models, greedy and beam search give the ids of transformers' generate."""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest
import torch
import transformers

from tests.torch.generation.conftest import VOCABULARY, prompts
from xlm_core.errors import XLMWarning
from xlm_torch import XLMConfig, XLMWithLMHeadModel

FULL = os.environ.get("XLM_FULL") == "1"
MODELS = 110 if FULL else 20
WAYS: list[dict[str, Any]] = [
    {},
    {"num_beams": 3, "num_return_sequences": 3},
    {"num_beams": 2, "eos_token_id": 7, "length_penalty": 0.7},
    {"num_beams": 4, "eos_token_id": [7, 9], "early_stopping": True, "num_return_sequences": 2},
    {"num_beams": 3, "eos_token_id": 7, "early_stopping": "never", "length_penalty": 1.5},
    {"eos_token_id": 7, "min_length": 8},
    {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "eos_token_id": 9},
    {"num_beams": 2, "repetition_penalty": 0.6, "bad_words_ids": [[8], [11, 12], [20, 21, 22]]},
    {"no_repeat_ngram_size": 1, "min_new_tokens": 3, "eos_token_id": 7},
]


def pair(seed: int) -> tuple[Any, Any]:
    torch.manual_seed(seed)
    fields: dict[str, Any] = {
        "vocab_size": VOCABULARY, "emb_dim": 12, "n_layers": 2, "n_heads": 3,
        "n_langs": 1 + seed % 3, "init_std": 0.7, "embed_init_std": 1.0, "lang_id": seed % 2,
        "max_position_embeddings": 32, "mask_token_id": 5, "tie_word_embeddings": False,
        "gelu_activation": seed % 2 == 0,
    }  # fmt: skip
    if fields["n_langs"] == 1:
        fields["lang_id"] = 0
    theirs = transformers.XLMWithLMHeadModel(transformers.XLMConfig(**fields)).double().eval()
    ours = XLMWithLMHeadModel(XLMConfig(**fields)).double().eval()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def ranks_tie(scores: tuple[torch.Tensor, ...]) -> bool:
    """Whether some step's best scores are closer than float32 can tell."""
    best = [step.flatten().topk(8)[0].double() for step in scores]
    return any(bool((each[:-1] - each[1:] < 1e-5).any()) for each in best)


@pytest.mark.filterwarnings("ignore::xlm_core.XLMWarning")
def test_the_ids_are_transformers_own() -> None:
    tied = 0
    for seed in range(MODELS):
        ours, theirs = pair(seed)
        ids = prompts(seed, rows=2)
        # Greedy and beam search for each model, and in turn what changes them.
        others = WAYS[2:] if FULL else [WAYS[2 + seed % (len(WAYS) - 2)]]
        for way in [*WAYS[:2], *others]:
            found = ours.generate(ids, max_new_tokens=7, **way)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = theirs.generate(
                    ids, max_new_tokens=7, use_cache=False, return_dict_in_generate=True,
                    output_scores=True, **way,
                )  # fmt: skip
            if torch.equal(found, expected.sequences):
                continue
            assert ranks_tie(expected.scores), (seed, way, found, expected.sequences)
            tied += 1
    assert tied <= MODELS // 10, f"{tied} ties are set aside"


def test_a_masked_model_warns_once() -> None:
    ours, _ = pair(0)
    with pytest.warns(XLMWarning, match="masked language model"):
        ours.generate(prompts(0), max_new_tokens=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours.generate(prompts(0), max_new_tokens=1)


def test_scores_are_transformers_own() -> None:
    ours, theirs = pair(3)
    options: dict[str, Any] = {
        "max_new_tokens": 4,
        "return_dict_in_generate": True,
        "output_scores": True,
    }
    for way in ({}, {"num_beams": 3, "num_return_sequences": 2}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = ours.generate(prompts(3), **options, **way)
            expected = theirs.generate(prompts(3), use_cache=False, **options, **way)
        assert torch.equal(found.sequences, expected.sequences)
        assert len(found.scores) == len(expected.scores) == 4
        for ours_of_step, theirs_of_step in zip(found.scores, expected.scores, strict=True):
            torch.testing.assert_close(ours_of_step.float(), theirs_of_step, rtol=1e-5, atol=1e-5)
        if way:
            torch.testing.assert_close(
                found.sequences_scores.float(), expected.sequences_scores, rtol=1e-5, atol=1e-5
            )
