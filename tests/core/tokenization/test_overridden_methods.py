"""A subclass that overrides a method is asked wherever the tokenizer itself uses that method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.core.tokenization.conftest import small
from tests.support import overriding_tokenizers as overriding
from tests.support.tokenizer_parts import set_batches
from xlm_core import XLMTokenizer
from xlm_core.tokenization.workers.pool import TokenizerPool

TEXTS = ["The cat sat.", "le chat <special1> x", "", "the house , the mat"]
MODES = pytest.mark.parametrize("mode", ["v4", "v5", "original"])


def new(kind: type[XLMTokenizer], **settings: Any) -> XLMTokenizer:
    return kind(*small(), **settings)


def ids_of(tokenizer: XLMTokenizer, workers: int = 1) -> dict[str, Any]:
    return dict(tokenizer(TEXTS, TEXTS[::-1], workers=workers, padding=True))


@MODES
def test_convert_tokens_to_string(mode: str) -> None:
    plain, shouting = new(XLMTokenizer, mode=mode), new(overriding.Shouting, mode=mode)
    ids = plain("the cat sat", add_special_tokens=False).input_ids
    assert shouting.decode(ids) == plain.decode(ids).upper() + "!" == "THE CAT SAT!"
    assert shouting.batch_decode([ids, ids[:1]]) == ["THE CAT SAT!", "THE!"]
    assert shouting.decode(ids, clean_up_tokenization_spaces=True) == "THE CAT SAT!"
    framed = plain("the cat").input_ids
    assert "THE CAT" in shouting.decode(framed)
    assert shouting.decode(framed, skip_special_tokens=True) == "THE CAT!"


@MODES
def test_build_inputs_with_special_tokens(mode: str) -> None:
    """Asked by name alone: calls frame whole batches at once, as their mode says."""
    plain, framing = new(XLMTokenizer, mode=mode), new(overriding.Framing, mode=mode)
    assert framing.build_inputs_with_special_tokens([20], [21]) == [7, 20, 21, 8]
    assert ids_of(framing) == ids_of(plain)
    assert framing.prepare_for_model([20], [21]) == plain.prepare_for_model([20], [21])
    assert framing.encode("the cat") == plain.encode("the cat")


@MODES
def test_a_method_of_transformers_that_is_not_of_ours(mode: str) -> None:
    plain, splitting = new(XLMTokenizer, mode=mode), new(overriding.Splitting, mode=mode)
    assert ids_of(splitting) == ids_of(plain)
    assert splitting.tokenize(TEXTS[0]) == plain.tokenize(TEXTS[0])


def test_masks_rooms_and_tokens() -> None:
    plain, masking = new(XLMTokenizer), new(overriding.Masking)
    found = masking("the cat", return_special_tokens_mask=True, padding="max_length", max_length=9)
    assert found["special_tokens_mask"] == [0, 0, 0, 0, 1, 1, 1, 1, 1]
    assert found["token_type_ids"] == [0, 0, 0, 0, 3, 3, 3, 3, 3]
    assert found.tokens()[1] == "<the</w>>"
    short = masking("the cat sat on the mat", truncation=True, max_length=6)["input_ids"]
    assert short == plain("the")["input_ids"]
    assert masking.encode(["THE</w>"]) == plain.encode(["the</w>"])
    assert masking.max_len_single_sentence == masking.model_max_length - 5
    assert masking.decode([0])[0] == "<"


def test_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    set_batches(monkeypatch, characters_a_worker=1, texts=1)
    for kind in (overriding.Shouting, overriding.Framing, overriding.Splitting):
        tokenizer = new(kind)
        assert ids_of(tokenizer, workers=2) == ids_of(tokenizer) == ids_of(new(XLMTokenizer))
    with TokenizerPool(new(overriding.Shouting), 1) as pool:
        assert list(pool.run(XLMTokenizer.decode, [[20]])) == [
            new(overriding.Shouting).decode([20])
        ]


# What the tokenizer does -> the public methods that it asks itself for.
ASKED = {
    "one text": {"num_special_tokens_to_add"},
    "batch": {"num_special_tokens_to_add"},
    "processes": {"num_special_tokens_to_add"},
    "pairs, everything": {
        "num_special_tokens_to_add",
        "get_special_tokens_mask",
        "convert_ids_to_tokens",
    },
    "words": {"num_special_tokens_to_add"},
    "tokens": {"num_special_tokens_to_add", "convert_tokens_to_ids"},
    "encode": {"num_special_tokens_to_add", "encode_plus"},
    "prepare_for_model": {"num_special_tokens_to_add"},
    "pad": set(),
    "tokenize": set(),
    "decode": {"convert_ids_to_tokens", "convert_tokens_to_string"},
    "batch_decode": {"decode", "convert_ids_to_tokens", "convert_tokens_to_string"},
    "save_pretrained": {"save_vocabulary"},
}


@MODES
def test_which_methods_are_asked(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, notes = overriding.recorder()
    t = new(kind, mode=mode, clean_up_tokenization_spaces=False)
    everything = {
        f"return_{name}": True
        for name in ("special_tokens_mask", "offsets_mapping", "length", "token_type_ids")
    }
    paths = {
        "one text": lambda: t("the cat"),
        "batch": lambda: t(TEXTS, padding=True),
        "pairs, everything": lambda: t(TEXTS, TEXTS, **everything),
        "words": lambda: t([["the", "cat"]], is_split_into_words=True),
        "tokens": lambda: t.encode_plus(["the</w>"]),
        "encode": lambda: t.encode("the cat"),
        "prepare_for_model": lambda: t.prepare_for_model([20]),
        "pad": lambda: t.pad({"input_ids": [[20], [21, 22]]}),
        "tokenize": lambda: t.tokenize("the cat"),
        "decode": lambda: t.decode([20, 0], clean_up_tokenization_spaces=True),
        "batch_decode": lambda: t.batch_decode([[20]]),
        "save_pretrained": lambda: t.save_pretrained(tmp_path),
        "processes": lambda: t(TEXTS, workers=2),
    }
    assert paths.keys() == ASKED.keys()
    for path, ask in paths.items():
        notes.clear()
        ask()
        direct = {path} if path in dir(t) else set()
        direct |= {"encode_plus"} if path == "tokens" else set()
        assert set(notes) - direct - {"get_vocab"} == ASKED[path] - direct, path
