"""What calls of a tokenizer refuse, what they warn of, and what there is in the empty case."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.tokenization.comparing_batches import LONG, SHORT
from xlm_core.errors import InputError, TokenizerError, UnknownArgumentError, XLMWarning


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((), {}, "neither text nor text_target"),
        ((None, "a"), {}, "neither"),
        ((["a", None],), {}, "Replace None"),
        ((b"a",), {}, r"Decode bytes"),
        (([b"a"],), {}, r"Decode bytes"),
        ((3,), {}, "holds int"),
        (({"a": 1},), {}, "holds dict"),
        ((["a", ["b", "c"]],), {}, "mixes pairs"),
        (([["a"], "b"],), {"is_split_into_words": True}, "separate calls"),
        (([["a", None]],), {"is_split_into_words": True}, "Replace None"),
        (([["a", 3]],), {"is_split_into_words": True}, "hold int, str"),
        (([["a", "b", "c"]],), {}, "is_split_into_words=True"),
        (([],), {"is_split_into_words": True}, "no words or a batch"),
        ((["a", "b"], ["a"]), {}, "2 entries and text_pair 1"),
        ((["a", "b"], "a"), {}, "text_pair is of type str"),
        (("a", ["a", "b"]), {}, "text is one str"),
        (("a",), {"padding": "most"}, "padding='most'"),
        (("a",), {"truncation": "some"}, "truncation='some'"),
        (("a",), {"padding_side": "up"}, "padding_side='up'"),
        (("a",), {"max_length": 1, "truncation": True}, "special tokens alone need 2"),
        (("a",), {"max_length": -1}, "max_length=-1"),
        (("a",), {"max_length": 5.0}, "max_length=5.0"),
        (("a",), {"stride": -1}, "stride=-1"),
        (("a",), {"workers": 0}, "workers=0"),
        (("a",), {"pad_to_multiple_of": 0}, "pad_to_multiple_of=0"),
        ((LONG,), {"max_length": 5, "truncation": "only_second"}, "single sequence is"),
        ((SHORT, LONG), {"max_length": 5, "truncation": "only_first"}, "first sequence, which"),
        (("a",), {"return_overflowing_tokens": True}, "needs truncation and max_length"),
        (([SHORT, LONG],), {"return_tensors": "np"}, "padding=True"),
        (([SHORT, LONG],), {"return_tensors": "pt"}, "padding=True"),
        (("a",), {"return_tensors": "jax"}, "'np' .*'pt' .*'tf'"),
        (([5, 6],), {"return_offsets_mapping": True}, "have no characters"),
    ],
)
def test_refused(ours: Any, args: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours(*args, **options)


def test_unknown_arguments(ours: Any) -> None:
    for call in (
        ours,
        ours.encode,
        ours.encode_plus,
        lambda text, **more: ours.batch_encode_plus([text], **more),
        lambda text, **more: ours.prepare_for_model([5], **more),
    ):
        with pytest.raises(UnknownArgumentError, match=r"'languge'.*lang"):
            call("a", languge="en")


def test_tokens_that_lack(ours: Any) -> None:
    ours.pad_token_id = None
    assert ours("a")["input_ids"]
    with pytest.raises(InputError, match="needs a pad token"):
        ours("a", padding=True)
    with pytest.raises(InputError, match="needs a pad token"):
        ours.pad({"input_ids": [5]})
    ours.bos_token_id = None
    with pytest.raises(InputError, match="need bos_token"):
        ours("a")
    assert ours("a", add_special_tokens=False)["input_ids"] == [15]
    ours.mode = "original"
    assert ours("a")["input_ids"] == [1, 15, 1]
    for name in ("truncation_side", "padding_side"):
        with pytest.raises(
            TokenizerError, match=f"{name} is 'top'; expected one of 'right', 'left'"
        ):
            setattr(ours, name, "top")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(max_length=20), "without truncation"),
        (dict(max_length=20, padding=True), "no effect: padding=True"),
        (dict(padding="max_length"), "no effect.*Give max_length"),
        (dict(truncation=True), "no effect.*Give max_length"),
    ],
)
def test_warnings_once_a_call(ours: Any, options: Any, message: str) -> None:
    with pytest.warns(XLMWarning, match=message) as caught:
        ours([SHORT] * 3, **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    ours([SHORT] * 3, verbose=False, **options)


def test_warning_of_long_rows(ours: Any) -> None:
    ours.model_max_length = 8
    with pytest.warns(XLMWarning, match=r"2 of 3 sequences.*model_max_length is 8") as caught:
        ours([LONG, SHORT, LONG])
    assert len(caught) == 1
    ours([LONG, SHORT], truncation=True)
    ours([LONG, SHORT], verbose=False)


def test_empty(ours: Any) -> None:
    keys = ["input_ids", "token_type_ids", "attention_mask"]
    for options in ({}, {"padding": True, "truncation": True, "max_length": 5}):
        assert ours([], **options) == {key: [] for key in keys}
        assert ours([], [], **options) == {key: [] for key in keys}
    assert ours([[], ["a"]], is_split_into_words=True)["input_ids"] == [[0, 1], [0, 15, 1]]
    assert ours("")["input_ids"] == [0, 1]
    assert ours([], return_tensors="np")["input_ids"].size == 0


def test_rows_are_not_shared(ours: Any) -> None:
    got = ours([SHORT, SHORT], padding="max_length", max_length=9)
    for value in got.values():
        value[0][-1] = 99
        assert value[1][-1] != 99
    ids = [5, 6]
    ours.encode_plus(ids, add_special_tokens=False)["input_ids"].append(7)
    assert ids == [5, 6]
