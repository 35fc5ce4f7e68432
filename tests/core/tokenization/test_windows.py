"""Windows over long texts, against a fast tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from tests.core.tokenization.comparing_batches import LONG, SHORT, Pair, quiet
from tests.core.tokenization.counting_tokenizer import LETTERS, Stub
from xlm_core.errors import InputError


@pytest.fixture(scope="module")
def fast() -> Iterator[Any]:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    vocabulary = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3}
    vocabulary |= {letter: 14 + i for i, letter in enumerate(LETTERS)}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 1)],
    )
    tokens = dict(bos_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>")
    names = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=names, **tokens)


class OneLetter(Stub):
    """Every word is one letter and one token, so that the fast tokenizer has the same ids."""

    def ids_of_texts(self, texts: Any, langs: Any, *, words: bool, **more: Any) -> Any:
        rows = texts if words else [text.split() for text in texts]
        return [[14 + LETTERS.index(word) for word in row] for row in rows]

    def alignment_of(self, text: Any, lang: Any, *, words: bool, **more: Any) -> Any:
        if words:
            return [(0, 1, i) for i in range(len(text))]
        return [(2 * i, 2 * i + 1, i) for i in range(len(text.split()))]


def stride_is_too_long(args: list[Any], options: dict[str, Any], single: bool) -> bool:
    if options["stride"] >= options["max_length"] - 2:  # whatever the texts
        return True
    columns = [[entry] if single else entry for entry in args if entry is not None]
    for sample in zip(*columns, strict=True):
        lengths = [len(text if isinstance(text, list) else text.split()) for text in sample]
        size = options["max_length"] - len(lengths) - 1
        room = size - sum(lengths) + lengths[options["truncation"] == "only_second"]
        if sum(lengths) > size and 0 < room <= options["stride"]:
            return True
    return False


@given(data=st.data())
def test_windows_are_those_of_fast_tokenizers(pair: Pair, fast: Any, data: st.DataObject) -> None:
    ours = OneLetter(pair[1])
    ours.truncation_side = fast.truncation_side = data.draw(st.sampled_from(["right", "left"]))
    with_pair, single, words = (data.draw(st.booleans()) for _ in range(3))
    one: Any = st.lists(st.sampled_from(LETTERS), min_size=1, max_size=11)
    one = one if words else one.map(" ".join)
    size = data.draw(st.integers(1, 3))
    many = one if single else st.lists(one, min_size=size, max_size=size)
    args = [data.draw(many), data.draw(many) if with_pair else None]
    options: dict[str, Any] = dict(
        truncation=data.draw(st.sampled_from(["only_first", "only_second"])) if with_pair else True,
        max_length=data.draw(st.integers(4, 12)),
        stride=data.draw(st.integers(0, 3)),
        padding=data.draw(st.sampled_from([False, True, "max_length"])),
        padding_side=data.draw(st.sampled_from(["right", "left"])),
        is_split_into_words=words,
        return_special_tokens_mask=data.draw(st.booleans()),
        return_offsets_mapping=data.draw(st.booleans()),
    )
    try:
        # Where windows cannot move on the other panics, with a trace on the terminal.
        panics = stride_is_too_long(args, options, single)
        expected = None if panics else fast(*args, return_overflowing_tokens=True, **options)
    except Exception:  # noqa: BLE001  (it raises bare ones)
        expected = None
    if expected is None:
        with pytest.raises(InputError):
            ours(*args, return_windows=True, **options)
        return
    got = ours(*args, return_windows=True, **options)
    assert dict(got) == dict(expected)
    for row in range(len(got["input_ids"])):
        assert got.word_ids(row) == expected.word_ids(row)
        assert got.sequence_ids(row) == expected.sequence_ids(row)
        assert got.tokens(row) == pair[1].convert_ids_to_tokens(got["input_ids"][row])


def test_windows_of_a_long_text(ours: Any) -> None:
    ids = list(range(14, 24))
    got = ours(
        [ids, [14]], truncation=True, max_length=6, stride=1, return_windows=True, padding=True
    )
    assert got["input_ids"] == [
        [0, 14, 15, 16, 17, 1],
        [0, 17, 18, 19, 20, 1],
        [0, 20, 21, 22, 23, 1],
        [0, 14, 1, 2, 2, 2],
    ]
    assert got["overflow_to_sample_mapping"] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(truncation=True), "needs truncation and max_length"),
        (dict(max_length=5, truncation=False), "needs truncation and max_length"),
        (dict(max_length=4, truncation=True, stride=2), "stride is 2"),
        (dict(max_length=5, truncation=True, return_overflowing_tokens=True), "one of them"),
        (dict(text_pair=[SHORT, SHORT], max_length=5, truncation=True), "cuts both"),
    ],
)
def test_windows_refuse(ours: Any, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        quiet(lambda: ours([LONG, SHORT], return_windows=True, **options))
