"""What texts are refused, framed and sorted by: everything that needs no framework."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.small_tokenizer import small_tokenizer
from xlm_core import (
    InputError,
    UnknownArgumentError,
    UnknownLanguageError,
    XLMConfig,
    XLMTokenizer,
    XLMWarning,
)
from xlm_core.texts.embeddings import (
    EncodeOptions,
    Encoder,
    encode,
    encode_each,
    normalized,
    settle_more,
)
from xlm_core.texts.filling import MaskFilling, best, fill_mask
from xlm_core.texts.forward import Batch
from xlm_core.texts.preparing import Preparation, batches_by_length, in_languages, words_of
from xlm_core.texts.scoring import Scoring, score

LANGUAGES = {"en": 0, "fr": 1}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> XLMTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"), lang2id=LANGUAGES)


def config(**values: Any) -> XLMConfig:
    small = {"vocab_size": 34, "emb_dim": 8, "n_layers": 2, "n_heads": 2, "n_langs": 2}
    return XLMConfig(**{**small, "lang2id": LANGUAGES, "max_position_embeddings": 9, **values})


class CountingForward:
    """Stands for a model: its hidden states are the ids, its logits the positions."""

    name = "CountingForward"
    layers = 2

    def __init__(self, kind: Any = "masked", **values: Any) -> None:
        self.config, self.kind = config(**values), kind
        self.shapes: list[tuple[int, ...]] = []

    def hidden_states(self, batch: Batch, *, layer: int, positions: Any = None) -> Any:
        self.shapes.append(batch.input_ids.shape)
        return np.repeat(batch.input_ids[:, :, None].astype(np.float32), 8, axis=2)

    def log_probs(self, batch: Batch, positions: Any) -> Any:
        count = int(positions.sum())
        return np.tile(-np.arange(self.config.vocab_size, dtype=np.float32), (count, 1))

    def token_log_probs(self, batch: Batch, positions: Any, tokens: Any, source: Any = None) -> Any:
        self.shapes.append(batch.input_ids.shape)
        return -tokens.astype(np.float64)


def preparation(tokenizer: XLMTokenizer, **options: Any) -> Preparation:
    return Preparation(config(), tokenizer, **options)


def encoder(forward: Any, tokenizer: XLMTokenizer, **options: Any) -> Encoder:
    prepared = Preparation(forward.config, tokenizer, truncation=True)
    return Encoder(forward, prepared, EncodeOptions(**options))


def filling(forward: Any, tokenizer: XLMTokenizer, **options: Any) -> MaskFilling:
    given = {"top_k": None, "targets": None, "mask": None, "batch_size": 4, **options}
    return MaskFilling(forward, Preparation(forward.config, tokenizer), **given)


@pytest.mark.parametrize(("frame", "opening"), [("</s>", 1), ("<s>", 0)])
def test_the_frame(tokenizer: XLMTokenizer, frame: str, opening: int) -> None:
    rows = preparation(tokenizer, frame=frame).rows([("abc de", "fr"), ("", "en")])
    assert [row.ids for row in rows] == [[opening, 31, 32, 1], [opening, 1]]
    assert [row.lang for row in rows] == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": "<eos>"}, r"frame is '<eos>': expected one of '</s>', '<s>'"),
        ({"max_length": 2}, "max_length=2: expected an integer of at least 3"),
        ({"max_length": 10}, "max_length is 10, but the model has 9 positions"),
    ],
)
def test_refused_preparations(tokenizer: XLMTokenizer, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preparation(tokenizer, **options)


def test_another_tokenizer_is_refused() -> None:
    with pytest.raises(InputError, match="tokenizer is a str: expected an XLMTokenizer"):
        Preparation(config(), "xlm-mlm-en-2048")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lang", "message"),
    [
        (None, "lang was not given.*Give one of: en, fr"),
        ("engl", "Unknown language 'engl'. The model knows: en, fr"),
        (2, "There is no language 2"),
        (True, "lang is True: expected the name"),
        (0.5, "lang is 0.5: expected the name"),
    ],
)
def test_refused_languages(tokenizer: XLMTokenizer, lang: Any, message: str) -> None:
    with pytest.raises(UnknownLanguageError, match=message):
        preparation(tokenizer).rows([("abc", lang)])


def test_languages_of_a_model_without_embeddings_are_the_tokenizers(
    tokenizer: XLMTokenizer,
) -> None:
    prepared = Preparation(config(n_langs=1, lang2id=None), tokenizer)
    rows = prepared.rows([("abc", None), ("abc", "fr")])
    assert [row.lang for row in rows] == [None, None]
    with pytest.raises(UnknownLanguageError):
        prepared.rows([("abc", "de")])


def test_a_model_and_a_tokenizer_with_other_languages(tokenizer: XLMTokenizer) -> None:
    with pytest.raises(InputError, match="'en' is 1 for the model and 0"):
        Preparation(config(lang2id={"en": 1, "fr": 0}), tokenizer)


def test_languages_without_names(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path)
    prepared = Preparation(config(lang2id=None), tokenizer)
    assert prepared.rows([("abc", 1)])[0].lang == 1
    with pytest.raises(UnknownLanguageError, match="knows: numbers below 2"):
        prepared.rows([("abc", 2)])


def test_one_language_for_each_text() -> None:
    assert list(in_languages(["a", "b"], iter(["en", 1]))) == [("a", "en"), ("b", 1)]
    with pytest.raises(InputError, match="there are 1 languages and more texts"):
        list(in_languages(["a", "b"], ["en"]))
    with pytest.raises(InputError, match="there are 1 texts and more languages"):
        list(in_languages(["a"], ["en", "fr"]))
    with pytest.raises(InputError, match="texts is a str"):
        in_languages("a", "en")


def test_texts_that_are_none(tokenizer: XLMTokenizer) -> None:
    for text in (b"abc", None, 3, ["abc"]):
        with pytest.raises(InputError, match=r"text 1 is a .*: expected a str"):
            preparation(tokenizer).rows([("abc", "en"), (text, "en")])  # type: ignore[list-item]
    for texts in (b"abc", 3):
        with pytest.raises(InputError, match="texts is a "):
            score(
                Scoring(CountingForward(), preparation(tokenizer), batch_size=2),  # type: ignore[arg-type]
                texts,  # type: ignore[arg-type]
                "en",
            )


@pytest.mark.parametrize("side", ["right", "left"])
def test_long_texts_are_cut_and_counted(tmp_path: Path, side: str) -> None:
    tokenizer = small_tokenizer(tmp_path, lang2id=LANGUAGES, truncation_side=side)
    prepared = preparation(tokenizer, truncation=True, max_length=5)
    rows = prepared.rows([("a b c d e", "en"), ("a b c", "en")])
    ids = tokenizer("a b c d e", add_special_tokens=False).input_ids
    assert rows[0].content == (ids[:3] if side == "right" else ids[-3:])
    words, indices = words_of(tokenizer, rows[0])
    assert words == (["a", "b", "c"] if side == "right" else ["c", "d", "e"])
    assert indices == [0, 1, 2]
    with pytest.warns(XLMWarning, match=r"1 of 2 texts .* 5 ids .* the longest had 7"):
        prepared.warn_of_cut()
    with pytest.raises(InputError, match="text 1 has 7 ids with its frame, but at most 5 fit"):
        preparation(tokenizer, max_length=5).rows([("a", "en"), ("a b c d e", "en")])


@given(st.text(max_size=30))
def test_words_and_their_subwords(tokenizer: XLMTokenizer, text: str) -> None:
    prepared = Preparation(config(max_position_embeddings=500), tokenizer)
    (row,) = prepared.rows([(text, "en")])
    words, indices = words_of(tokenizer, row)
    assert len(indices) == len(row.content)
    assert sorted(set(indices)) == list(range(len(words)))
    assert words == tokenizer.words(text, lang="en")


def test_words_of_subwords_that_are_given(tokenizer: XLMTokenizer) -> None:
    def ids_of(text: str) -> list[int]:
        ids: list[int] = tokenizer.convert_tokens_to_ids(text.split())
        return ids

    prepared = Preparation(config(max_position_embeddings=500), tokenizer, ids_of=ids_of)
    (row,) = prepared.rows([("fg h</w> abc</w> <special1> a b <unk> de</w>", "en")])
    words, indices = words_of(tokenizer, row)
    assert words == ["fgh", "abc", "<special1>", "ab", "<unk>", "de"]
    assert indices == [0, 0, 1, 2, 3, 3, 4, 5]


@given(st.lists(st.integers(1, 50)), st.integers(1, 7))
def test_batches_hold_neighbours_in_length(lengths: list[int], size: int) -> None:
    batches = list(batches_by_length(lengths, size))
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[index] for index in flat] == sorted(lengths, reverse=True)
    assert all(len(batch) <= size for batch in batches)


def test_texts_are_sorted_inside_and_in_order_outside(tokenizer: XLMTokenizer) -> None:
    forward = CountingForward()
    texts = ["a", "a b c d", "", "a b c", "a b", "a b c d e"]
    found = encode(encoder(forward, tokenizer, pooling="tokens", batch_size=2), texts, "en")
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    assert [x[:, 0].tolist() for x in found] == ids
    assert forward.shapes == [(2, 7), (2, 5), (2, 3)]


def test_a_stream_is_read_by_windows_and_keeps_its_order(tokenizer: XLMTokenizer) -> None:
    texts = [" ".join("abcdefg"[: 1 + (5 * i) % 7]) for i in range(300)]
    read = 0

    def lines() -> Iterator[str]:
        nonlocal read
        for text in texts:
            read += 1
            yield text

    forward: Any = CountingForward()
    stream = encoder(forward, tokenizer, pooling="tokens", batch_size=2)
    each = encode_each(stream, lines(), "en")
    first = next(each)
    assert read == 128  # one window, not all
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    assert [x[:, 0].tolist() for x in (first, *each)] == ids


def test_no_texts(tokenizer: XLMTokenizer) -> None:
    forward: Any = CountingForward()
    found = encode(encoder(forward, tokenizer), [], "en")
    assert (found.shape, found.dtype) == ((0, 8), np.float32)  # type: ignore[union-attr]
    assert encode(encoder(forward, tokenizer, pooling="words"), [], "en") == []
    assert score(Scoring(forward, preparation(tokenizer), batch_size=2), [], "en") == []
    assert fill_mask(filling(forward, tokenizer), [], "en") == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "meen"}, "expected one of mean, max, .* Did you mean 'mean'"),
        ({"layer": 3}, r"layer is 3: expected 0 \(the embeddings\) to 2"),
        ({"layer": -4}, "layer is -4"),
        ({"layer": True}, "layer is True"),
        ({"dtype": "bfloat16"}, "dtype is 'bfloat16': expected one of float32"),
        ({"batch_size": 0}, "batch_size=0: expected an integer of at least 1"),
        ({"batch_size": None}, "batch_size is None"),
        ({"pooling": "first", "include_frame": False}, "pooling='first' takes the frame"),
        ({"pooling": "words", "include_frame": True}, "pooling='words' leaves the frame out"),
    ],
)
def test_refused_options_of_encode(tokenizer: XLMTokenizer, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder(CountingForward(), tokenizer, **options)


def test_arguments_of_sentence_transformers() -> None:
    settle_more({"show_progress_bar": True, "convert_to_numpy": True, "device": None})
    settle_more({"precision": "float32", "output_value": "sentence_embedding"})
    for name, value, message in (
        ("convert_to_tensor", True, "make a tensor of the array"),
        ("output_value", "token_embeddings", 'pooling="tokens"'),
        ("precision", "int8", "give dtype"),
        ("normalise_embeddings", True, "Did you mean 'normalize_embeddings'"),
        ("convert_to_numpy", False, "unexpected keyword argument: 'convert_to_numpy'"),
    ):
        with pytest.raises(UnknownArgumentError, match=message):
            settle_more({name: value})


def test_zeros_stay_zeros() -> None:
    found = normalized(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert found.tolist() == [[0.6, 0.8], [0.0, 0.0]]


# -- fill_mask ------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from([-3.0, -2.0, -1.0, 0.0]), min_size=1), st.integers(1, 9))
def test_the_best_with_ties_the_lowest_first(scores: list[float], count: int) -> None:
    expected = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:count]
    assert best(np.array(scores), count).tolist() == expected


def test_candidates_are_words_of_one_subword_or_ids(tokenizer: XLMTokenizer) -> None:
    forward: Any = CountingForward()
    found = fill_mask(filling(forward, tokenizer, targets=["de", 31, "abc"]), "<special1> h", "en")
    assert [f["token"] for f in found] == [31, 32]
    assert found[0]["score"] == pytest.approx(np.exp(-31), rel=1e-6)
    assert [f["sequence"] for f in found] == ["abc h", "de h"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "fgh"}, r"target 'fgh' is 2 subwords \('fg', 'h</w>'\)"),
        ({"targets": ["abc", ""]}, "target '' is 0 subwords"),
        ({"targets": ["z"]}, "target 'z' is not in the vocabulary"),
        ({"targets": [34]}, r"target 34 is no id: expected one in \[0, 34\)"),
        ({"targets": [0.5]}, "target 0.5 is neither a word nor an id"),
        ({"targets": []}, "targets is empty"),
        ({"top_k": 0}, "top_k=0: expected an integer of at least 1"),
        ({"top_k": 35}, "top_k is 35, but the vocabulary has 34"),
        ({"mask": ""}, "mask is ''"),
    ],
)
def test_refused_candidates(tokenizer: XLMTokenizer, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fill_mask(filling(CountingForward(), tokenizer, **options), "a <special1>", "en")


def test_a_text_without_a_mask(tokenizer: XLMTokenizer) -> None:
    with pytest.raises(InputError, match="text 1 has no mask: write <special1>"):
        fill_mask(filling(CountingForward(), tokenizer), ["<special1>", "abc"], "en")


def test_nan_is_no_filling(tokenizer: XLMTokenizer) -> None:
    forward: Any = CountingForward()
    forward.log_probs = lambda batch, positions: np.full((1, 34), np.nan)
    with pytest.raises(InputError, match="logits are NaN"):
        fill_mask(filling(forward, tokenizer), "<special1>", "en")


# -- score ----------------------------------------------------------------------------------------


def test_rows_of_a_masked_model(tokenizer: XLMTokenizer) -> None:
    forward: Any = CountingForward()
    found = score(Scoring(forward, preparation(tokenizer), batch_size=3), ["a", "b c d"], "en")
    assert forward.shapes == [(3, 5), (1, 3)]  # a row for each token, the longest text first
    assert isinstance(found, list)
    assert [each.token_log_probs for each in found] == [[-15.0], [-17.0, -19.0, -21.0]]


def test_rows_of_a_causal_model(tokenizer: XLMTokenizer) -> None:
    forward: Any = CountingForward(kind="causal")
    found = score(Scoring(forward, preparation(tokenizer), batch_size=3), ["a", "b c d"], "en")
    assert forward.shapes == [(2, 4)]
    assert isinstance(found, list)
    assert [each.token_log_probs for each in found] == [[-15.0, -1.0], [-17.0, -19.0, -21.0, -1.0]]
    assert [each.word_log_probs for each in found] == [[-15.0], [-17.0, -19.0, -21.0]]
