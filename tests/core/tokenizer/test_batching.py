"""Special tokens, truncation, padding and masks, against transformers 4.57.6."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
)

from tests.core.tokenizer.stub import LETTERS, Stub, make_pair
from xlm_core.errors import InputError, UnknownArgumentError, XLMWarning
from xlm_core.tokenization.batching import BatchingMixin

Pair = tuple[Any, Any]
SHORT, LONG = "abc de", "abc de fg h a abc bcd"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def ours(pair: Pair) -> Any:
    return Stub(pair[1])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """With every combination of sides, with and without a model_max_length."""
    folder = tmp_path_factory.mktemp("tokenizers")
    return [
        make_pair(folder, padding_side=pad, truncation_side=cut, **known)
        for pad in ("right", "left")
        for cut in ("right", "left")
        for known in ({}, {"model_max_length": 9})
    ]


def quiet(call: Callable[[], Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call()


def plain(encoding: Mapping[str, Any]) -> dict[str, Any]:
    """Values with their type, so that a list never equals an array."""
    result = {}
    for key, value in encoding.items():
        if isinstance(value, (np.ndarray, torch.Tensor)):
            result[key] = (type(value), value.dtype, tuple(value.shape), value.tolist())
        else:
            result[key] = value
    return result


def lengths_of(encoding: Mapping[str, Any], key: str = "input_ids") -> set[int]:
    rows = encoding[key]
    if not hasattr(rows, "__len__"):
        return {1}
    batched = len(rows) and hasattr(rows[0], "__len__")
    return {len(row) for row in rows} if batched else {len(rows)}


def compare(pair: Pair, method: str, *args: Any, **options: Any) -> None:
    """The same keys in the same order with the same values, or an error on both sides.

    Where transformers leaves rows longer than truncation was told to, we refuse or do as told;
    where it gives tensors of ragged rows, or says that it cannot, we refuse.
    """
    ours, oracle = pair
    before = repr(args)
    tensors = options.get("return_tensors")
    lists = {key: value for key, value in options.items() if key != "return_tensors"}
    try:
        rows = quiet(lambda: getattr(oracle, method)(*args, **lists))
    except (ValueError, TypeError):
        with pytest.raises(InputError):
            quiet(lambda: getattr(ours, method)(*args, **options))
        return
    limit = options.get("max_length")
    truncation = options.get("truncation")
    if truncation is None and limit is not None and options.get("padding", False) is False:
        truncation = True
    if limit is None and oracle.model_max_length < 1e20:
        limit = oracle.model_max_length
    cuts = truncation not in (None, False, "do_not_truncate") and limit is not None
    if cuts and max(lengths_of(rows)) > limit:
        try:
            got = quiet(lambda: getattr(ours, method)(*args, **options))
        except InputError:
            return
        assert max(lengths_of(got)) <= limit
        return
    ragged = [key for key in rows if len(lengths_of(rows, key)) > 1]
    if tensors and ragged:
        with pytest.raises(InputError, match="one length"):
            quiet(lambda: getattr(ours, method)(*args, **options))
        return
    expected = quiet(lambda: getattr(oracle, method)(*args, **options))
    got = quiet(lambda: getattr(ours, method)(*args, **options))
    assert list(plain(got).items()) == list(plain(expected).items())
    assert repr(args) == before


WORDS = st.text(LETTERS, min_size=1, max_size=4)
WORD_LISTS = st.lists(WORDS, min_size=1, max_size=6)
TEXTS = WORD_LISTS.map(" ".join) | st.just("")
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "add_special_tokens": st.booleans(),
        "padding": st.sampled_from([True, False, "longest", "max_length", "do_not_pad"]),
        "truncation": st.sampled_from(
            [True, False, None, "longest_first", "only_first", "only_second", "do_not_truncate"]
        ),
        "max_length": st.integers(1, 20),
        "stride": st.integers(0, 3),
        "pad_to_multiple_of": st.sampled_from([2, 3, 8]),
        "padding_side": st.sampled_from(["left", "right", None]),
        "return_token_type_ids": st.sampled_from([True, False, None]),
        "return_attention_mask": st.sampled_from([True, False, None]),
        "return_special_tokens_mask": st.booleans(),
        "return_overflowing_tokens": st.booleans(),
        "return_length": st.booleans(),
        "return_tensors": st.sampled_from([None, "np", "pt"]),
    },
)


@given(data=st.data())
def test_calls_are_those_of_transformers(pairs: list[Pair], data: st.DataObject) -> None:
    pair, options = pairs[data.draw(st.integers(0, 7))], data.draw(OPTIONS)
    words, with_pair, single = (data.draw(st.booleans()) for _ in range(3))
    one = WORD_LISTS if words else TEXTS
    size = data.draw(st.integers(1, 4))
    many = one if single else st.lists(one, min_size=size, max_size=size)
    args = [data.draw(many), data.draw(many) if with_pair else None]
    compare(pair, "__call__", *args, is_split_into_words=words, **options)


@given(data=st.data())
def test_pairs_as_entries(pairs: list[Pair], data: st.DataObject) -> None:
    pair, options, words = (
        pairs[data.draw(st.integers(0, 7))],
        data.draw(OPTIONS),
        data.draw(st.booleans()),
    )
    one = WORD_LISTS if words else TEXTS
    entries = data.draw(st.lists(st.tuples(one, one), min_size=1, max_size=3))
    # transformers takes pairs of word lists in one of the two only.
    for method in ("batch_encode_plus",) if words else ("__call__", "batch_encode_plus"):
        compare(pair, method, entries, is_split_into_words=words, **options)


@given(data=st.data())
def test_ids_and_tokens(pairs: list[Pair], data: st.DataObject) -> None:
    pair, options = pairs[data.draw(st.integers(0, 7))], data.draw(OPTIONS)
    ids = st.lists(st.integers(14, 30), min_size=1, max_size=9)
    tokens = st.lists(st.sampled_from(["a", "b</w>", "abc</w>", "?"]), min_size=1, max_size=9)
    a, b = data.draw(ids), data.draw(ids | st.none())
    compare(pair, "encode_plus", a, b, **options)
    compare(pair, "encode_plus", data.draw(tokens), b, **options)
    compare(pair, "batch_encode_plus", [(a, b)], **options)
    options["prepend_batch_axis"] = data.draw(st.booleans())
    if not options.get("return_tensors") or options["prepend_batch_axis"]:
        compare(pair, "prepare_for_model", a, b, **options)


@given(data=st.data())
def test_truncate_sequences(pairs: list[Pair], data: st.DataObject) -> None:
    ours, oracle = pairs[data.draw(st.integers(0, 7))]
    ids = st.lists(st.integers(14, 30), max_size=7)
    a, b = data.draw(ids), data.draw(ids | st.none())
    strategy = data.draw(st.sampled_from(["longest_first", "only_first", "only_second"]))
    total = {"only_first": len(a), "only_second": len(b or [])}.get(strategy, len(a + (b or [])))
    count = data.draw(st.integers(-1, total + 1))
    stride = data.draw(st.integers(0, 3))
    if count > 0 and count > total:
        with pytest.raises(InputError, match=r"must be removed|cannot shorten"):
            ours.truncate_sequences(a, b, count, strategy, stride)
        return
    got = ours.truncate_sequences(a, b, count, strategy, stride)
    if count < total or (strategy == "longest_first" and b is not None):
        assert got == oracle.truncate_sequences(a, b, count, strategy, stride)
    elif count > 0:  # transformers does not remove all
        assert len(got[0] + (got[1] or [])) == len(a + (b or [])) - count


def test_encode_is_the_ids(pair: Pair) -> None:
    ours, oracle = pair
    for args in [
        (SHORT,),
        (SHORT, LONG),
        (LONG, None, False),
        (LONG, None, True, "max_length", True, 5),
    ]:
        assert ours.encode(*args) == oracle.encode(*args)
    assert ours.encode(SHORT, return_tensors="pt").tolist() == [oracle.encode(SHORT)]
    words = SHORT.split()
    assert ours.encode(words, is_split_into_words=True) == oracle.encode(
        words, is_split_into_words=True
    )


def test_special_tokens(pair: Pair) -> None:
    ours, oracle = pair
    for a, b in [([], None), ([20, 21], None), ([20], [21, 22, 23]), ([], [])]:
        for name in (
            "build_inputs_with_special_tokens",
            "create_token_type_ids_from_sequences",
            "get_special_tokens_mask",
        ):
            assert getattr(ours, name)(a, b) == getattr(oracle, name)(a, b)
    row = [0, 20, 5, 3, 1, 2]
    expected = oracle.get_special_tokens_mask(row, already_has_special_tokens=True)
    assert ours.get_special_tokens_mask(row, already_has_special_tokens=True) == expected
    with pytest.raises(InputError, match="one whole row"):
        ours.get_special_tokens_mask(row, row, already_has_special_tokens=True)
    assert [ours.num_special_tokens_to_add(p) for p in (False, True)] == [2, 3]


def test_lengths_of_the_model(pairs: list[Pair]) -> None:
    for ours, oracle in pairs:
        assert ours.max_len_single_sentence == oracle.max_len_single_sentence
        assert ours.max_len_sentences_pair == oracle.max_len_sentences_pair


def test_one_empty_row_is_not_padded(pair: Pair) -> None:
    # But in a batch it is: so it is in transformers.
    options = dict(add_special_tokens=False, padding="max_length", max_length=3)
    assert pair[0]("", **options)["input_ids"] == []
    assert pair[0]([""], **options)["input_ids"] == [[2, 2, 2]]
    for text in ("", [""]):
        compare(pair, "__call__", text, return_length=True, **options)


def test_targets(pair: Pair) -> None:
    for options in ({}, {"padding": True, "return_tensors": "np"}):
        for args in [
            ([SHORT, LONG], None, [LONG, "a"], None),
            (None, None, [LONG, "a"], [SHORT, "b"]),
        ]:
            compare(pair, "__call__", *args, **options)


def test_enumerations_of_transformers(pair: Pair) -> None:
    from transformers.tokenization_utils_base import (
        PaddingStrategy,
        TensorType,
        TruncationStrategy,
    )

    options = dict(
        padding=PaddingStrategy.MAX_LENGTH,
        truncation=TruncationStrategy.ONLY_FIRST,
        max_length=6,
        return_tensors=TensorType.NUMPY,
    )
    compare(pair, "__call__", [SHORT, LONG], **options)


# What is framed as the models were trained, and what transformers 5 does differently.


def test_original_framing(ours: Any) -> None:
    ours.mode = "original"
    assert ours([20], add_special_tokens=True)["input_ids"] == [1, 20, 1]
    encoding = ours.encode_plus([20], [21, 22])
    assert encoding["input_ids"] == [1, 20, 1, 21, 22, 1]
    assert list(encoding) == ["input_ids", "attention_mask"]
    encoding = ours.encode_plus([20], [21, 22], return_token_type_ids=True)
    assert encoding["token_type_ids"] == [0, 0, 0, 1, 1, 1]
    assert ours.build_inputs_with_special_tokens([20]) == [1, 20, 1]


def test_version_5(ours: Any) -> None:
    # Recorded from transformers 5.23.
    ours.mode, ours.model_input_names = "v5", ["input_ids", "attention_mask"]
    masks = dict(return_token_type_ids=True, return_special_tokens_mask=True, return_length=True)
    assert list(ours("abc de", "fg fg", **masks).items()) == [
        ("input_ids", [0, 31, 32, 1, 24, 27, 24, 27, 1]),
        ("token_type_ids", [0, 0, 0, 0, 1, 1, 1, 1, 1]),
        ("special_tokens_mask", [1, 0, 0, 1, 0, 0, 0, 0, 1]),
        ("attention_mask", [1, 1, 1, 1, 1, 1, 1, 1, 1]),
        ("length", 9),
    ]
    framed_not = ours("abc de", "fg fg", return_token_type_ids=True, add_special_tokens=False)
    assert framed_not["token_type_ids"] == [0] * 6
    cut = dict(max_length=4, truncation=True, return_overflowing_tokens=True, stride=1)
    assert list(ours(["abc abc abc a", "de a a a"], **cut).items()) == [
        ("input_ids", [[0, 31, 31, 1], [0, 32, 15, 1]]),
        ("overflowing_tokens", [[31, 31, 15], [15, 15, 15]]),
        ("num_truncated_tokens", [2, 2]),
        ("attention_mask", [[1, 1, 1, 1], [1, 1, 1, 1]]),
    ]
    assert list(ours("abc abc abc a", return_tensors="np", **cut)) == [
        "input_ids",
        "attention_mask",
    ]
    assert ours("abc abc abc", max_length=2, truncation=True)["input_ids"] == [0, 1]
    assert ours("abc", return_overflowing_tokens=True) == ours("abc")


# Windows, against a fast tokenizer.


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

    def _ids_of_texts(self, texts: Any, langs: Any, *, words: bool, **more: Any) -> Any:
        rows = texts if words else [text.split() for text in texts]
        return [[14 + LETTERS.index(word) for word in row] for row in rows]

    def _alignment_of(self, text: Any, lang: Any, *, words: bool, **more: Any) -> Any:
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


# Languages.


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


# What is refused, and what warns.


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
    ours.truncation_side = "top"
    with pytest.raises(InputError, match="truncation_side='top'"):
        ours("a", truncation=True, max_length=3)


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


# pad, as data collators call it.

FEATURES = [
    {"input_ids": [0, 20, 21, 1], "token_type_ids": [0] * 4, "labels": 1},
    {"input_ids": [0, 22, 1], "token_type_ids": [0] * 3, "labels": 0},
]


def shapes_of(features: list[dict[str, Any]]) -> Iterator[Any]:
    yield features
    yield {key: [sample[key] for sample in features] for key in features[0]}
    yield {key: value for key, value in features[0].items() if key != "labels"}
    for make in (np.array, torch.tensor):
        yield [{key: make(value) for key, value in sample.items()} for sample in features]
        yield {key: [make(sample[key]) for sample in features] for key in features[0]}
        yield {key: make([sample[key]] * 2) for sample in features[:1] for key in sample}


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(padding=False),
        dict(padding="max_length", max_length=9),
        dict(padding="max_length", max_length=3),
        dict(padding=True, pad_to_multiple_of=8, padding_side="left"),
        dict(return_attention_mask=False),
        dict(return_attention_mask=True, return_tensors="np"),
        dict(return_tensors="pt"),
    ],
)
def test_pad(pair: Pair, options: Any) -> None:
    ours, oracle = pair
    for features in shapes_of(FEATURES):
        try:
            expected = quiet(lambda given=features: oracle.pad(copy.deepcopy(given), **options))
        except ValueError:  # ragged rows
            with pytest.raises(InputError, match="one length"):
                ours.pad(features, **options)
            continue
        before = repr(features)
        if any(getattr(value, "dtype", None) == np.dtype(object) for value in expected.values()):
            with pytest.raises(InputError, match="one length"):
                ours.pad(features, **options)
            continue
        assert list(plain(ours.pad(features, **options)).items()) == list(plain(expected).items())
        assert repr(features) == before


def test_pad_keeps_masks(pair: Pair) -> None:
    for encoding in (
        pair[1]([SHORT, LONG], return_special_tokens_mask=True),
        [pair[1](text, return_special_tokens_mask=True) for text in (SHORT, LONG)],
        pair[1](SHORT),
    ):
        expected = plain(pair[1].pad(encoding, padding="max_length", max_length=12))
        assert plain(pair[0].pad(encoding, padding="max_length", max_length=12)) == expected


def test_pad_of_nothing(pair: Pair) -> None:
    for features in ({"input_ids": []}, {"input_ids": [[]], "a": [[1]]}, {"input_ids": [[], [5]]}):
        for mask in (None, True, False):
            expected = pair[1].pad(dict(features), return_attention_mask=mask)
            assert dict(pair[0].pad(features, return_attention_mask=mask)) == dict(expected)
    assert pair[0].pad([]) == {"input_ids": []}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"ids": [1]}, "expected a mapping with 'input_ids'"),
        ([[1, 2]], "holds list"),
        ("abc", "got str"),
        ([{"input_ids": [1], "labels": 1}, {"input_ids": [2]}], "some lack 'labels'"),
        ({"input_ids": [[1], [2]], "labels": [1]}, "expected as many"),
        ({"input_ids": [[1], [2]], "labels": 1}, "expected as many"),
    ],
)
def test_pad_refuses(ours: Any, features: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours.pad(features)


def test_data_collators(pair: Pair) -> None:
    ours, oracle = pair
    texts = [SHORT, LONG, "a"]
    mine, theirs = [ours(text) for text in texts], [oracle(text) for text in texts]
    got = DataCollatorWithPadding(ours)(mine)
    assert plain(got) == plain(DataCollatorWithPadding(oracle)(theirs))
    assert {key: tuple(value.shape) for key, value in got.items()}["input_ids"] == (3, 12)
    results = []
    for tokenizer, features in ((ours, mine), (oracle, theirs)):
        torch.manual_seed(0)
        collator = DataCollatorForLanguageModeling(tokenizer, pad_to_multiple_of=8)
        results.append(plain(collator(features)))
    assert results[0] == results[1]


def test_is_a_mixin() -> None:
    assert not vars(BatchingMixin).keys() & {"mode", "model_max_length", "_ids_of_texts"}
