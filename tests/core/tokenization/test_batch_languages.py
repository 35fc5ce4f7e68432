"""Languages of the texts of a batch, and the ids of languages beside theirs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.tokenization.comparing_batches import LONG, SHORT
from xlm_core.errors import InputError


def test_languages_reach_the_texts(ours: Any) -> None:
    ours(
        [SHORT, LONG],
        ["a", "b"],
        lang=["en", "fr"],
        lang_pair="de",
        bypass_tokenizer=True,
        workers=2,
    )
    more = dict(bypass=True, split_special_tokens=False, workers=2)
    # Small as they are, the processes leave them to this one.
    asked = [call for call in ours.calls if call[2]["workers"] == 2]
    assert asked == [(["en", "fr"], False, more), (["de", "de"], False, more)]
    ours.calls.clear()
    ours(
        [["a"], ["b"]],
        [["a"], ["b"]],
        lang="fr",
        is_split_into_words=True,
        split_special_tokens=True,
    )
    assert [call[:2] for call in ours.calls] == [(["fr", "fr"], True)] * 2
    assert ours.calls[0][2]["split_special_tokens"]


def test_langs(ours: Any) -> None:
    options = dict(return_langs=True, padding="max_length", max_length=8)
    single = ours([[20, 21], [22]], lang=["fr", "de"], **options)
    assert single["langs"] == [[1] * 8, [2] * 8]
    entry = [([20, 21], [22])]
    assert ours(entry, lang="en", lang_pair="de", **options)["langs"] == [[0, 0, 0, 0, 2, 2, 2, 2]]
    left = ours(entry, lang="fr", lang_pair="de", padding_side="left", **options)
    assert left["langs"] == [[1, 1, 1, 1, 1, 1, 2, 2]]
    assert ours.encode_plus([20], [21], lang="fr", return_langs=True)["langs"] == [1, 1, 1, 1, 1]
    bare = ours(entry, lang="en", lang_pair="fr", return_langs=True, add_special_tokens=False)
    assert bare["langs"] == [[0, 0, 1]]
    windows = ours(
        [[20], list(range(14, 20))],
        lang=["de", "fr"],
        return_langs=True,
        return_windows=True,
        truncation=True,
        max_length=5,
    )
    assert windows["langs"] == [[2, 2, 2], [1] * 5, [1] * 5]
    padded = ours.pad(
        ours(entry, lang="fr", lang_pair="de", return_langs=True),
        max_length=8,
        padding="max_length",
    )
    assert padded["langs"] == [[1, 1, 1, 1, 2, 2, 2, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(return_langs=True), "needs lang"),
        (dict(lang=["en"]), "1 languages for 2 texts"),
        (dict(lang=["en", None]), "expected a language"),
        (dict(lang=3), "expected a language"),
        (dict(lang_pair="en"), "no text_pair"),
    ],
)
def test_languages_refuse(ours: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours([SHORT, LONG], **options)


def test_langs_need_numbers(ours: Any) -> None:
    ours.lang2id = None
    with pytest.raises(InputError, match="lang2id"):
        ours(SHORT, lang="en", return_langs=True)
