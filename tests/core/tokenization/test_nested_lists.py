"""Lists of lists of strings: tokens where they can be, else refused with the right form."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.tokenization.conftest import new_ours, new_peer
from xlm_core import InputError

QUESTIONS = [["the list", "the list"], ["the cat", "the cat"]]
ANSWERS = [["a function", "a value"], ["sat", "sits"]]


@pytest.mark.parametrize(
    "args",
    [
        (QUESTIONS[:1], ANSWERS[:1]),
        (QUESTIONS, ANSWERS),
        ([["yes", "no"]], [["a", "b"]]),
        ([["the list"]],),
        (["the list", "the cat"], ANSWERS),
        ([[["the list", "a"], ["the list", "b"]]],),
        ([["the list", "a function", "a value"]],),
        ([(["the", "cat"], ["a", "function"])],),
    ],
    ids=str,
)
def test_texts_are_no_tokens(args: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match="is_split_into_words=True") as error:
        new_ours()(*args)
    assert "<unk>" not in str(error.value)


@pytest.mark.parametrize("call", ["encode", "encode_plus"])
@pytest.mark.parametrize("args", [(["the", "list"],), ("the list", ["the", "function"])], ids=str)
def test_words_of_one_text_are_no_tokens(call: str, args: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match="is_split_into_words=True"):
        getattr(new_ours(), call)(*args)


def test_choices_are_padded_flat() -> None:
    rows = [[[14, 15], [14]], [[15], [16, 17, 18]]]
    for given in ({"input_ids": rows}, [{"input_ids": row} for row in rows]):
        with pytest.raises(InputError, match="rows of 'input_ids' that hold lists"):
            new_ours().pad(given)


def test_the_right_form_is_shown_and_works() -> None:
    tokenizer = new_ours()
    with pytest.raises(InputError, match="For multiple choice") as error:
        tokenizer(QUESTIONS, ANSWERS)
    call = str(error.value).partition("fold the rows: ")[2].partition(", and of each")[0]
    names = {"tokenizer": tokenizer, "texts": QUESTIONS, "pairs": ANSWERS}
    flat = eval(call, names)
    assert "value.reshape(len(texts), -1, value.shape[-1])" in str(error.value)
    folded = {key: value.reshape(2, -1, value.shape[-1]) for key, value in flat.items()}
    assert folded["input_ids"].shape[:2] == (2, 2)
    row = tokenizer(QUESTIONS[1][0], ANSWERS[1][1]).input_ids
    assert folded["input_ids"][1, 1, : len(row)].tolist() == row


def test_tokens_are_still_tokens() -> None:
    ours, peer = new_ours(), new_peer()
    for tokenizer in (ours, peer):
        tokenizer.add_tokens(["new york"])
    rows = [ours.tokenize(text) for text in ("the cat", "new york", "\u6f22 ab")]
    assert ours(rows, rows[::-1]).input_ids == peer(rows, rows[::-1]).input_ids
    pairs = [(rows[0], rows[1])]
    assert ours(pairs).input_ids == peer.batch_encode_plus(pairs).input_ids
    assert ours.encode(rows[0]) == peer.encode(rows[0])
    assert ours.encode(rows[0][:-1]) == peer.encode(rows[0][:-1])
