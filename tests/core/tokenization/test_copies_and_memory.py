"""A tokenizer as an object: copied, pickled, shared by threads, with caches that stay small."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.core.tokenization.conftest import new_ours
from tests.support.fuzz_text import fuzz_texts
from tests.support.tokenizer_parts import entries, held
from xlm_core import AddedToken, XLMTokenizer
from xlm_core.errors import UnknownLanguageError
from xlm_core.tokenization.words.memory import Memory

TEXTS = [
    "The House of Mr. Smith isn't 'new', is it? <special1> newtok<ent> a.b.c. 'x' ,5",
    "Le chat « est » dans la maison. ΟΔΟΣ кошка ... , ' \" the house, the cat.",
    *fuzz_texts(60, seed=21),
]


def ids_of(tokenizer: XLMTokenizer, texts: list[str] = TEXTS) -> list[list[int]]:
    return tokenizer(texts).input_ids


def prepared(**settings: Any) -> XLMTokenizer:
    tokenizer = new_ours(**settings)
    tokenizer.add_tokens(["newtok", AddedToken("<ent>", lstrip=True, special=True)])
    return tokenizer


@pytest.mark.parametrize("mode", ["v4", "v5", "original"])
@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda tokenizer: pickle.loads(pickle.dumps(tokenizer))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies(duplicate: Callable[[Any], Any], mode: str) -> None:
    tokenizer = prepared(mode=mode, lang="fr", lang2id={"fr": 1, "en": 0}, model_max_length=10**6)
    expected = ids_of(tokenizer)
    again = duplicate(tokenizer)
    assert ids_of(again) == expected
    assert repr(again) == repr(tokenizer)
    assert again.get_vocab() == tokenizer.get_vocab()
    assert again.added_tokens_decoder == tokenizer.added_tokens_decoder
    assert vars(again).keys() == vars(tokenizer).keys()


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_is_independent(duplicate: Callable[[Any], Any]) -> None:
    tokenizer = prepared(lang2id={"en": 0}, model_input_names=["input_ids"])
    before = tokenizer.get_vocab(), ids_of(tokenizer), tokenizer.all_special_tokens
    other = duplicate(tokenizer)
    other.lang2id["fr"] = 1
    other.model_input_names.append("attention_mask")
    assert (tokenizer.lang2id, tokenizer.model_input_names) == ({"en": 0}, ["input_ids"])
    other.add_tokens(["cat"])
    other.add_special_tokens({"pad_token": "<p>", "additional_special_tokens": ["<q>"]})
    other.mode = "v5"
    assert (tokenizer.get_vocab(), ids_of(tokenizer), tokenizer.all_special_tokens) == before
    assert len(other) == len(tokenizer) + 3
    assert tokenizer.mode == "v4"


def test_settings_change_at_once() -> None:
    """No cache outlives a change of what it depends on."""
    tokenizer = new_ours()
    for change in (
        lambda: setattr(tokenizer, "mode", "v5"),
        lambda: setattr(tokenizer, "mode", "original"),
        lambda: setattr(tokenizer, "do_lowercase_and_remove_accent", False),
        lambda: tokenizer.add_tokens(["cat", "ou"]),
        lambda: setattr(tokenizer, "unk_token", "<special2>"),
    ):
        ids_of(tokenizer)
        change()
        fresh = new_ours(
            mode=tokenizer.mode,
            do_lowercase_and_remove_accent=tokenizer.do_lowercase_and_remove_accent,
            unk_token=tokenizer.unk_token,
            added_tokens_decoder=tokenizer.added_tokens_decoder,
        )
        assert ids_of(tokenizer) == ids_of(fresh)
        assert tokenizer("cat, 漢 The.")["input_ids"] == fresh("cat, 漢 The.")["input_ids"]


def test_the_default_language_changes_at_once() -> None:
    tokenizer = new_ours(mode="v5")
    assert tokenizer.tokenize("l'homme")[0] == "l</w>"
    tokenizer.lang = "fr"
    fresh = new_ours(mode="v5", lang="fr")
    assert tokenizer.tokenize("l'homme") == fresh.tokenize("l'homme")
    assert tokenizer("l'homme").input_ids == fresh("l'homme").input_ids
    with pytest.raises(UnknownLanguageError, match="Unknown language 'xx'"):
        tokenizer.lang = "xx"


@pytest.mark.parametrize("mode", ["v4", "original"])
@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_a_small_cache_changes_nothing(size: int, mode: str) -> None:
    expected = ids_of(new_ours(mode=mode))
    tokenizer = new_ours(mode=mode, cache_size=size)
    for _ in range(2):
        assert ids_of(tokenizer) == expected
        assert held(tokenizer) <= size
    tokenizer.clear_cache()
    assert held(tokenizer) == 0
    assert ids_of(tokenizer) == expected


def test_memory_is_bounded() -> None:
    tokenizer = new_ours(cache_size=500)
    for start in range(0, 3000, 300):
        tokenizer(fuzz_texts(300, seed=22, start=start))
        assert 0 < held(tokenizer) <= 500
        assert entries(tokenizer) >= held(tokenizer)
    # Nor does one entry grow: a word of any length is not remembered.
    tokenizer.clear_cache()
    tokenizer("ab" * 10_000)
    assert held(tokenizer) == 0
    tokenizer("ab" * 32)
    assert held(tokenizer) > 0


def test_many_languages_share_the_bound() -> None:
    tokenizer = new_ours(cache_size=50)
    for lang in ("en", "de", "fr", "ro", "ru", "tr", "fi", "sv"):
        tokenizer(fuzz_texts(40, seed=23), lang=lang)
        assert held(tokenizer) <= 50


def test_memory_empties_itself_when_full() -> None:
    memory = Memory(2)
    first, second = memory.cache(), memory.cache()
    memory.keep(first, "a", 1, (1,))
    memory.keep(second, "b", 1, (2,))
    assert (first, second) == ({"a": (1,)}, {"b": (2,)})
    memory.keep(first, "c", 1, (3,))
    assert (first, second, memory.entries) == ({"c": (3,)}, {}, 1)
    memory.keep(first, "d", 65, (4,))
    assert first == {"c": (3,)}


@pytest.mark.parametrize("size", [0, 3, 100_000])
def test_threads(size: int) -> None:
    corpora = [fuzz_texts(50, seed=seed) for seed in range(40, 48)]
    langs = ["en", "fr", "de", "fi", "en", "ro", "ru", "en"]
    alone = new_ours()
    expected = [
        alone(corpus, lang=lang).input_ids for corpus, lang in zip(corpora, langs, strict=True)
    ]
    shared = new_ours(cache_size=size)

    def work(at: int) -> bool:
        found = (shared(corpora[at], lang=langs[at]).input_ids for _ in range(3))
        return all(ids == expected[at] for ids in found)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_deterministic() -> None:
    first, second = prepared(), prepared()
    assert ids_of(first) == ids_of(first) == ids_of(second)
    assert ids_of(first, TEXTS[::-1]) == ids_of(second)[::-1]
    assert [first(text).input_ids for text in TEXTS] == ids_of(second)


def test_repr(tmp_path: Path) -> None:
    tokenizer = new_ours(lang2id={"en": 0, "fr": 1}, model_max_length=512, mode="v5")
    tokenizer.save_pretrained(tmp_path)
    shown = repr(XLMTokenizer.from_pretrained(tmp_path))
    assert shown.startswith(
        f"XLMTokenizer(name_or_path={str(tmp_path)!r}, vocab_size=316, mode='v5'"
    )
    assert "languages=2" in shown
    assert "model_max_length=512" in shown
    assert "'mask_token': '<special1>'" in shown
    assert repr(new_ours()) == repr(new_ours())
