"""What `generate` takes, refuses and returns; files, callables, modes and dtypes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.torch.generation.conftest import VOCABULARY, prompts, random_model
from xlm_core.errors import (
    ConfigError,
    InputError,
    UnknownArgumentError,
    UnknownLanguageError,
    XLMWarning,
)
from xlm_core.generation import GenerationConfig
from xlm_core.outputs import GenerateOutput
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel, quantize

IDS = prompts(0)
PADDED = torch.tensor([[1, 9, 8], [2, 2, 2]])

REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"max_lenght": 4}, UnknownArgumentError, "'max_lenght'.*Did you mean 'max_length'"),
    ({"num_beam_groups": 2}, UnknownArgumentError, "num_beam_groups=2, which transformers does"),
    ({"output_attentions": True}, UnknownArgumentError, "output_attentions"),
    ({"inputs_embeds": torch.ones(3, 4, 12)}, UnknownArgumentError, "give input_ids"),
    ({"logits_processor": [len]}, UnknownArgumentError, "docs/generation.md"),
    ({"max_length": 9, "max_new_tokens": 4}, InputError, "max_length=9 and max_new_tokens=4"),
    ({"max_length": 41}, InputError, "41 tokens, but the model has 40 positions"),
    ({"max_new_tokens": 40}, InputError, "but the model has 40 positions"),
    ({"max_length": 4}, InputError, "max_length is 4, and sentence 0 has 4 tokens already"),
    ({"min_length": 30}, InputError, "at least 26 tokens and at most 20"),
    ({"min_new_tokens": 9, "max_new_tokens": 3}, InputError, "at least 9 tokens and at most 3"),
    ({"num_beams": 0}, InputError, "num_beams is 0: expected a whole number of at least 1"),
    ({"num_beams": 22}, InputError, "twice as many candidates .* of 43 tokens"),
    ({"num_beams": 2, "do_sample": True}, InputError, "Give one of them"),
    ({"num_return_sequences": 2}, InputError, "there is 1 beam"),
    ({"num_return_sequences": 3, "num_beams": 2}, InputError, "there are 2 beams"),
    ({"num_beams": 2, "early_stopping": "never"}, InputError, "beam_scoring=\"transformers\""),
    ({"early_stopping": "often"}, InputError, 'expected True, False or "never"'),
    ({"beam_scoring": "other"}, InputError, '"original" or "transformers"'),
    ({"temperature": 0.0, "do_sample": True}, InputError, "temperature is 0.0"),
    ({"top_p": 1.5, "do_sample": True}, InputError, "top_p is 1.5"),
    ({"do_sample": True, "seed": -1}, InputError, "seed is -1"),
    ({"bad_words_ids": [3]}, InputError, "a list of words, each a list of ids"),
    ({"bad_words_ids": [[3, 43]]}, InputError, r"bad_words_ids holds 43.*\[0, 43\)"),
    ({"eos_token_id": 43}, InputError, "eos_token_id is 43"),
    ({"forced_bos_token_id": 7}, InputError, "put it into the prompt"),
    ({"forced_eos_token_id": 1}, InputError, "Leave it out"),
    ({"tgt_lang": None}, InputError, "tgt_lang was not given.*one of de, en, fr"),
    ({"tgt_lang": "french"}, UnknownLanguageError, "expected one of de, en, fr"),
    ({"tgt_lang": 3}, UnknownLanguageError, r"in \[0, 3\)"),
    ({"tgt_lang": ["fr", "de"]}, InputError, "2 languages for 3 sentences"),
    ({"tgt_lang": True}, InputError, "tgt_lang is True"),
    ({"langs": torch.zeros(3, 3, dtype=torch.long)}, InputError, "langs has shape"),
    ({"langs": IDS * 0, "src_lang": 0}, InputError, "langs and src_lang were given"),
    ({"decoder_input_ids": IDS}, UnknownArgumentError, "a language model has no decoder"),
    ({"inputs": IDS}, UnknownArgumentError, "input_ids and inputs"),
    ({"streamer": object()}, InputError, r"without put\(\)"),
    ({"stopping_criteria": [1]}, InputError, "expected callables"),
    ({"generation_config": {"num_beam_groups": 2}}, UnknownArgumentError, "by its generation"),
    ({"generation_config": 3}, InputError, "generation_config is a int"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED)
def test_what_is_refused(causal: Any, arguments: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        causal.generate(IDS, **({"tgt_lang": 0} | arguments))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, "got no input_ids"),
        (torch.zeros(2, 0, dtype=torch.long), "must not be empty"),
        (PADDED, "nothing but padding for sentence 1"),
        (torch.full((1, 41), 9), "has 41 positions, but the model has 40"),
        (torch.full((1, 40), 9), "has 40 tokens already of 40 positions"),
        (IDS[0], "expected \\(batch, sequence\\)"),
        (IDS.double(), "expected integer"),
        (IDS + VOCABULARY, "the vocabulary"),
        ([[1, 2]], "expected a torch.Tensor"),
    ],
)
def test_prompts_that_are_refused(causal: Any, ids: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        causal.generate(ids, tgt_lang=0)


def test_translations_that_are_refused(translator: Any) -> None:
    def refuses(message: str, ids: Any = IDS, error: Any = InputError, **arguments: Any) -> None:
        with pytest.raises(error, match=message):
            translator.generate(ids, **({"src_lang": 0, "tgt_lang": 1} | arguments))

    refuses("tgt_lang was not given", tgt_lang=None)
    refuses("src_lang was not given", src_lang=None)
    refuses("nothing but padding for sentence 1", PADDED)
    refuses("has 41 positions", torch.full((1, 41), 9))
    refuses("must not be empty", torch.zeros(1, 0, dtype=torch.long))
    refuses("41 tokens, but the model has 40 positions", max_length=41)
    refuses("max_length is 1, and sentence 0 has 1 tokens already", max_length=1)
    refuses("decoder_langs and tgt_lang", decoder_langs=IDS * 0)
    refuses("one language in each row", tgt_lang=None, decoder_langs=IDS % 3)
    refuses("without decoder_input_ids", decoder_attention_mask=IDS)
    refuses("begins 1 translations of 3 sources", decoder_input_ids=IDS[:1])
    refuses("Leave it out", forced_eos_token_id=4)
    assert translator.generate(IDS, src_lang=0, tgt_lang=1, forced_eos_token_id=1).shape[0] == 3


def test_the_longest_translation_is_of_each_source(translator: Any) -> None:
    ids = torch.full((2, 9), 2)
    ids[0], ids[1, :4] = prompts(1, 1, 9), prompts(2, 1, 4)
    found = translator.generate(ids, src_lang=0, tgt_lang=1, eos_token_id=[1], min_new_tokens=15)
    assert [int((row != 2).sum()) for row in found] == [23, 16]
    assert (found[0, -1], found[1, 15]) == (1, 1)
    longest = translator.generate(torch.full((1, 40), 9), src_lang=0, tgt_lang=1, min_length=40)
    assert longest.shape == (1, 40)  # int(1.5 * 40 + 10) is more than there are positions


def test_an_end_that_never_comes(causal: Any, translator: Any) -> None:
    found = causal.generate(IDS, tgt_lang=0, max_new_tokens=9, eos_token_id=None)
    assert found.shape == (3, 13)
    longest = causal.generate(IDS, tgt_lang=0, max_length=40, eos_token_id=None, num_beams=2)
    assert longest.shape == (3, 40)
    open_end = translator.generate(IDS, src_lang=0, tgt_lang=0, max_length=9, eos_token_id=None)
    assert open_end.shape == (3, 9)


def test_an_output_that_no_longer_goes_with_the_embeddings_is_refused() -> None:
    model = random_model(0, causal=True)
    model.transformer.resize_token_embeddings(VOCABULARY + 3)
    with pytest.raises(ConfigError, match="resize_token_embeddings"):
        model.generate(IDS, tgt_lang=0)


def test_what_changes_nothing(causal: Any) -> None:
    expected = causal.generate(IDS, tgt_lang=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = causal.generate(
            inputs=IDS, tgt_lang=0, labels=IDS, synced_gpus=True, use_cache=False, max_length=None,
            num_beams=None, num_beam_groups=1, diversity_penalty=0.0, typical_p=1.0, min_p=None,
            output_attentions=False, logits_processor=[], stopping_criteria=None, streamer=None,
            temperature=1.0, top_k=50, length_penalty=1.0, guidance_scale=1,
        )  # fmt: skip
    assert torch.equal(found, expected)
    with pytest.warns(XLMWarning, match="temperature, length_penalty, which nothing follows"):
        causal.generate(IDS, tgt_lang=0, temperature=0.3, length_penalty=2.0)


def test_what_comes_back(causal: Any) -> None:
    options: dict[str, Any] = {"tgt_lang": 0, "max_new_tokens": 3, "return_dict_in_generate": True}
    greedy = causal.generate(IDS, **options)
    assert type(greedy) is GenerateOutput
    assert list(greedy) == ["sequences"]
    assert greedy.sequences.dtype == torch.int64
    beams = causal.generate(IDS, **options, num_beams=4, num_return_sequences=2, output_scores=True)
    assert list(beams) == ["sequences", "sequences_scores", "scores"]
    assert beams.sequences.shape[0] == beams.sequences_scores.shape[0] == 6
    assert {tuple(step.shape) for step in beams.scores} == {(12, VOCABULARY)}
    scores = beams.sequences_scores.view(3, 2)
    assert (scores[:, 0] >= scores[:, 1]).all()


def test_seeds(causal: Any) -> None:
    options: dict[str, Any] = {"tgt_lang": 0, "do_sample": True, "max_new_tokens": 8}
    first = causal.generate(IDS, seed=4, **options)
    assert torch.equal(causal.generate(IDS, seed=4, **options), first)
    assert not torch.equal(causal.generate(IDS, seed=5, **options), first)
    torch.manual_seed(0)
    drawn = causal.generate(IDS, **options)
    assert not torch.equal(causal.generate(IDS, **options), drawn)
    torch.manual_seed(0)
    assert torch.equal(causal.generate(IDS, **options), drawn)


class Streamed:
    def __init__(self) -> None:
        self.got: list[Any] = []

    def put(self, ids: torch.Tensor) -> None:
        self.got.append(ids.tolist())

    def end(self) -> None:
        self.got.append("end")


def test_callables(causal: Any) -> None:
    streamer = Streamed()
    options: dict[str, Any] = {"tgt_lang": 0, "max_new_tokens": 4, "eos_token_id": None}
    ids = causal.generate(IDS[:1], streamer=streamer, **options)
    assert streamer.got == [IDS[:1].tolist(), *([token] for token in ids[0, 4:].tolist()), "end"]
    with pytest.raises(InputError, match="only known at the end"):
        causal.generate(IDS, streamer=streamer, num_beams=2, **options)

    seen: list[tuple[int, ...]] = []

    def second_row_at_six(given: torch.Tensor, scores: Any) -> torch.Tensor:
        seen.append(tuple(given.shape))
        assert scores is None
        return torch.tensor([given.shape[1] == 6 and row == 1 for row in range(len(given))])

    found = causal.generate(IDS, stopping_criteria=second_row_at_six, **options)
    expected = causal.generate(IDS, **options)
    assert seen == [(3, 5), (3, 6), (3, 7), (3, 8)]
    assert found[1].tolist() == [*expected[1, :6].tolist(), 2, 2]
    assert torch.equal(found[[0, 2]], expected[[0, 2]])
    limit = transformers.StoppingCriteriaList([transformers.MaxLengthCriteria(max_length=6)])
    for way in ({}, {"num_beams": 2, "beam_scoring": "transformers"}):
        short = causal.generate(IDS, stopping_criteria=limit, **options, **way)
        shorter = causal.generate(IDS, **(options | {"max_new_tokens": 2}), **way)
        assert torch.equal(short, shorter)


def test_configurations(causal: Any, tmp_path: Path) -> None:
    expected = causal.generate(IDS, tgt_lang=0, num_beams=3, max_new_tokens=5)
    for given in (
        GenerationConfig(num_beams=3, max_new_tokens=5),
        transformers.GenerationConfig(num_beams=3, max_new_tokens=5),
        {"num_beams": 3, "max_new_tokens": 5},
    ):
        assert torch.equal(causal.generate(IDS, given, tgt_lang=0), expected)
    greedy = causal.generate(IDS, given, tgt_lang=0, num_beams=1, max_length=7)
    assert torch.equal(greedy, causal.generate(IDS, tgt_lang=0, max_length=7))

    causal.save_pretrained(tmp_path / "none")
    assert not (tmp_path / "none/generation_config.json").exists()
    file = tmp_path / "none/generation_config.json"
    file.write_text(json.dumps({"num_beams": 3, "max_new_tokens": 5, "num_beam_groups": 1}))
    opened = XLMWithLMHeadModel.from_pretrained(tmp_path / "none", dtype="float64")
    assert opened.generation_config.num_beams == 3
    assert torch.equal(opened.generate(IDS, tgt_lang=0), expected)
    opened.generation_config.num_beams = 2
    opened.save_pretrained(save_directory=tmp_path / "two")
    written = json.loads((tmp_path / "two/generation_config.json").read_text())
    assert written == {"num_beams": 2, "max_new_tokens": 5, "num_beam_groups": 1}
    with pytest.raises(UnknownArgumentError, match="Did you mean 'num_beams'"):
        opened.generation_config.num_beamz = 2
    file.write_text(json.dumps({"num_beams": 0}))
    with pytest.raises(ConfigError, match=r"generation_config.json: num_beams is 0"):
        XLMWithLMHeadModel.from_pretrained(tmp_path / "none")
    file.write_text("{")
    with pytest.raises(ConfigError, match="cannot be read as JSON"):
        XLMWithLMHeadModel.from_pretrained(tmp_path / "none")
    file.write_text(json.dumps({"num_beans": 3}))
    with pytest.warns(XLMWarning, match="'num_beans' Did you mean 'num_beams'"):
        XLMWithLMHeadModel.from_pretrained(tmp_path / "none")


def test_training_goes_on_as_it_was() -> None:
    model = random_model(4, dropout=0.5)
    expected = model.generate(IDS, tgt_lang=0, max_new_tokens=5)
    model.train()
    model.pred_layer.eval()
    assert torch.equal(model.generate(IDS, tgt_lang=0, max_new_tokens=5), expected)
    assert model.training
    assert model.transformer.ffns[0].training
    assert not model.pred_layer.training


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype: torch.dtype) -> None:
    for kind, fields in (
        (XLMWithLMHeadModel, {}),
        (XLMForConditionalGeneration, {"causal": False}),
    ):
        model = random_model(6, kind, **fields).float()
        options: dict[str, Any] = {"tgt_lang": 0, "max_new_tokens": 6, "min_new_tokens": 6}
        options |= {"src_lang": 1}
        for way in ({}, {"num_beams": 2}, {"do_sample": True, "seed": 0}):
            with torch.autocast("cpu", dtype):
                assert model.generate(IDS, **options, **way).shape[0] == 3
            assert model.to(dtype).generate(IDS, **options, **way).shape[0] == 3
            model.float()


def test_int8() -> None:
    torch.manual_seed(0)
    model = random_model(6, emb_dim=48, n_heads=4).float()
    exact = model.generate(IDS, tgt_lang=0, max_new_tokens=6)
    quantize(model)
    whole = model.generate(IDS, tgt_lang=0, max_new_tokens=6, output_scores=True,
                           return_dict_in_generate=True)  # fmt: skip
    assert whole.sequences.shape[0] == len(exact)
    with torch.no_grad():
        uncached = model(whole.sequences, langs=whole.sequences * 0).logits
    for step, scores in enumerate(whole.scores[:2]):
        assert torch.allclose(scores, uncached[:, 3 + step], atol=1e-3)
