"""Causal models and decoders against plain loops without a cache, alone and in batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import plain_generation as plain
from tests.support.parity import assert_close_to_largest
from tests.torch.generation.conftest import prompts, random_model
from xlm_core.generation import uniform_numbers
from xlm_torch import XLMForConditionalGeneration, formulas_only

SEEDS = range(60 if os.environ.get("XLM_FULL") == "1" else 5)
EOS, PAD = 1, 2


def plain_logits(model: Any, source: Tensor | None = None) -> plain.Logits:
    """Of one sentence, by the formulas, in languages 1 (what is read) and 2 (what comes)."""

    def logits_of(ids: list[int]) -> np.ndarray[Any, Any]:
        target = torch.tensor([ids])
        with torch.no_grad(), formulas_only():
            if source is None:
                output = model(target, langs=torch.full_like(target, 2))
            else:
                output = model(
                    source[None], langs=torch.full_like(source[None], 1), decoder_input_ids=target,
                    decoder_langs=torch.full_like(target, 2),
                )  # fmt: skip
        return output.logits[0, -1].numpy()  # type: ignore[no-any-return]

    return logits_of


def cut(row: Tensor, start: int) -> list[int]:
    """What was generated, without the padding after the end."""
    ids: list[int] = row[start:].tolist()
    return ids[: ids.index(EOS) + 1] if EOS in ids else ids


def closed(ids: list[int], limit: int) -> list[int]:
    """A translation, whose last token is its end."""
    return ids if ids[-1] == EOS else [*ids[: limit - 1], EOS]


@pytest.mark.parametrize("seed", SEEDS)
def test_greedy_search(seed: int) -> None:
    model, ids = random_model(seed), prompts(seed)
    found = model.generate(ids, tgt_lang="fr", max_new_tokens=12)
    assert torch.equal(found[:, :4], ids)
    for row, prompt in zip(found, ids.tolist(), strict=True):
        assert cut(row, 4) == plain.greedy(plain_logits(model), prompt, 12, EOS)
    translator = random_model(seed, XLMForConditionalGeneration, causal=False)
    found = translator.generate(ids, src_lang=1, tgt_lang=2)
    for row, source in zip(found, ids, strict=True):
        expected = plain.greedy(plain_logits(translator, source), [EOS], 15, EOS)
        assert row[0] == EOS
        assert cut(row, 1) == closed(expected, 15)  # int(1.5 * 4 + 10) with the first one


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("penalty", "early"), [(1.0, False), (0.5, True)])
def test_beams_of_the_original(seed: int, penalty: float, early: bool) -> None:
    options = {"length_penalty": penalty, "early_stopping": early}
    model, ids = random_model(seed, init_std=0.4), prompts(seed, rows=2)
    found = model.generate(
        ids, tgt_lang=2, max_new_tokens=6, num_beams=3, num_return_sequences=3,
        return_dict_in_generate=True, **options,
    )  # fmt: skip
    rows = zip(found.sequences, found.sequences_scores.tolist(), strict=True)
    for prompt in ids.tolist():
        expected = plain.beams_of_original(plain_logits(model), prompt, 6, EOS, beams=3, **options)
        for score, sequence in expected:
            row, found_score = next(rows)
            assert cut(row, 4) == sequence
            assert found_score == pytest.approx(score, rel=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_sampling(seed: int) -> None:
    model, ids = random_model(seed), prompts(seed)
    for options in ({"top_k": 0}, {"top_k": 5, "temperature": 0.7}, {"top_k": 0, "top_p": 0.6}):
        found = model.generate(
            ids, tgt_lang=2, max_new_tokens=6, do_sample=True, seed=seed, num_return_sequences=2,
            **options,
        )  # fmt: skip
        numbers = uniform_numbers(seed, rows=6, steps=6)
        for place, row in enumerate(found):
            prompt = ids[place // 2].tolist()
            expected = plain.sampled(plain_logits(model), prompt, numbers[place], EOS, **options)
            assert cut(row, 4) == expected


WAYS: list[dict[str, Any]] = [
    {},
    {"num_beams": 3, "num_return_sequences": 2},
    {"num_beams": 2, "beam_scoring": "transformers", "early_stopping": "never"},
    {"do_sample": True, "seed": 3},
    {"repetition_penalty": 2.0, "no_repeat_ngram_size": 2, "bad_words_ids": [[9], [9, 10]]},
    {"min_length": 9},
    {"max_length": 12},
]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_padded_prompt_gets_what_it_gets_alone(causal: Any, side: str, way: Any) -> None:
    lengths, width = [5, 2, 7], 7
    limit = {} if "max_length" in way else {"max_new_tokens": 8}
    ids = torch.full((3, width), PAD)
    for row, length in enumerate(lengths):
        place = slice(width - length, None) if side == "left" else slice(length)
        ids[row, place] = prompts(row, 1, length)[0]
    copies = way.get("num_return_sequences", 1)
    for given in ({}, {"attention_mask": (ids != PAD).long()}):
        found = causal.generate(ids, tgt_lang=["fr", "de", "en"], **limit, **way, **given)
        assert torch.equal(found[:, :width], ids.repeat_interleave(copies, 0))
        for row, length in enumerate(lengths):
            if way.get("do_sample") and row:
                continue  # its random numbers are those of its row
            alone = causal.generate(
                prompts(row, 1, length), tgt_lang=["fr", "de", "en"][row], **limit, **way
            )
            for copy in range(copies):
                of_batch = found[row * copies + copy, width:].tolist()
                of_alone = alone[copy, length:].tolist()
                more = len(of_batch) - len(of_alone)
                assert of_batch == of_alone + [PAD] * more, (row, copy)


def test_neighbours_that_end_change_nothing(causal: Any) -> None:
    ids = prompts(5, rows=6)
    for way in ({}, {"do_sample": True, "seed": 1}, {"num_beams": 3}):
        options = {"tgt_lang": 0, "max_new_tokens": 15, "eos_token_id": [1, 7, 8, 9, 20, 21, 30]}
        leaving = causal.generate(ids, **options, **way)
        staying = causal.generate(
            ids, **options, **way, output_scores=True, return_dict_in_generate=True
        )
        assert torch.equal(leaving, staying.sequences)
        assert len({int((row != PAD).sum()) for row in leaving}) > 1
        assert {len(step) for step in staying.scores} == {18 if "num_beams" in way else 6}


def test_logits_of_a_cache_are_those_of_a_whole_pass(causal: Any, translator: Any) -> None:
    ids = prompts(7)
    options: dict[str, Any] = {
        "tgt_lang": 2, "max_new_tokens": 10, "eos_token_id": None, "output_scores": True,
        "return_dict_in_generate": True,
    }  # fmt: skip
    found = causal.generate(ids, **options)
    with torch.no_grad():
        whole = causal(found.sequences, langs=torch.full_like(found.sequences, 2)).logits
    for step, scores in enumerate(found.scores):
        assert_close_to_largest(scores, whole[:, 3 + step], 1e-12)
    found = translator.generate(ids, src_lang=0, **options)
    with torch.no_grad():
        whole = translator(
            ids, langs=torch.zeros_like(ids), decoder_input_ids=found.sequences,
            decoder_langs=torch.full_like(found.sequences, 2),
        ).logits  # fmt: skip
    for step, scores in enumerate(found.scores):
        assert_close_to_largest(scores, whole[:, step], 1e-12)


@contextmanager
def hooked(module: Any) -> Iterator[list[None]]:
    """Count the calls of a module, which then has to be called."""
    calls: list[None] = []
    hook = module.register_forward_hook(lambda *_: calls.append(None))
    yield calls
    hook.remove()


def test_by_the_formulas_and_with_modules_of_others(causal: Any, translator: Any) -> None:
    ids = prompts(8)
    for model, langs in ((causal, {}), (translator, {"src_lang": 0})):
        for way in ({}, {"num_beams": 3}):
            options = {"tgt_lang": 1, "max_new_tokens": 8, **langs, **way}
            expected = model.generate(ids, **options)
            with formulas_only():
                assert torch.equal(model.generate(ids, **options), expected)
            body = model.transformer if model is causal else model.decoder
            for module in (body, body.attentions[0]):
                with hooked(module) as calls:
                    assert torch.equal(model.generate(ids, **options), expected)
                assert calls


def test_how_a_translation_begins(translator: Any) -> None:
    ids = prompts(9)
    options = {"src_lang": 0, "tgt_lang": 2}
    expected = translator.generate(ids, **options, max_length=12)
    begun = expected[:, :4]
    found = translator.generate(ids, decoder_input_ids=begun, **options, max_length=12)
    assert torch.equal(found, expected)
    encoded = translator.encoder(ids, langs=torch.zeros_like(ids))
    for outputs in (encoded, encoded.to_tuple()):
        found = translator.generate(encoder_outputs=outputs, tgt_lang=2, max_length=12)
        assert torch.equal(found, expected)
    found = translator.generate(
        inputs=ids, langs=torch.zeros_like(ids), decoder_langs=torch.full((3, 7), 2), max_length=12,
        labels=ids, synced_gpus=False, use_cache=True, num_beams=None,
    )  # fmt: skip
    assert torch.equal(found, expected)
    forced = translator.generate(ids, **options, forced_bos_token_id=17)
    assert (forced[:, 1] == 17).all()
