"""Special and added tokens, after any sequence of operations, beside transformers'."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AddedToken as PeerAddedToken

from tests.core.tokenization.conftest import new_ours, new_peer
from xlm_core import AddedToken, UnknownArgumentError, XLMTokenizer
from xlm_core.errors import TokenizerError
from xlm_core.tokenization.words.added_tokens import AddedTokens
from xlm_core.tokenization.words.vocabulary import NAMED_SPECIAL_TOKENS

Make = Callable[..., Any]

# Some are in the vocabulary, some hold others, some change when lowercased.
CONTENTS = ("newtok", "Foo", "foo", "<ent>", "<x", "<x>", "the</w>", "é", "É b", "new tok", "<s>")
CONTENTS += ("<special3>", "a", "İ")
FLAGS = ("lstrip", "rstrip", "single_word", "normalized", "special")
TEXTS = (
    *(f"the {token} cat{token}s {token}{token} , {token} ." for token in CONTENTS),
    *(f"{token.upper()}\t{token.lower()}\n  {token}" for token in CONTENTS),
    " ".join(CONTENTS),
    "".join(CONTENTS),
    " the <special1></s> Foo. Foo ",
)

contents = st.sampled_from(CONTENTS)
flags = st.fixed_dictionaries({}, optional={name: st.booleans() for name in FLAGS})
tokens = st.one_of(contents, st.tuples(contents, flags))
# An unk_token outside the vocabulary has no id: transformers then gives None as an id.
roles = st.sampled_from([name for name in NAMED_SPECIAL_TOKENS if name != "unk_token"])
known = st.sampled_from(["<special3>", "the</w>", "a", "<s>"])
Operation = tuple[str, Any]
operations: st.SearchStrategy[Operation] = st.one_of(
    st.tuples(st.just("add"), st.tuples(st.lists(tokens, max_size=4), st.booleans())),
    st.tuples(st.just("role"), st.tuples(roles, tokens)),
    st.tuples(st.just("set"), st.tuples(roles, contents)),
    st.tuples(st.sampled_from(["role", "set"]), st.tuples(st.just("unk_token"), known)),
    st.tuples(
        st.just("additional"),
        st.tuples(st.lists(contents, max_size=3, unique=True), st.booleans()),
    ),
    st.tuples(st.just("set additional"), st.lists(contents, max_size=3, unique=True)),
)


def apply(tokenizer: Any, operation: Operation, token: Any) -> int | None:
    """Do it; what it returns."""

    def made(each: Any) -> Any:
        return each if isinstance(each, str) else token(each[0], **each[1])

    kind, value = operation
    if kind == "add":
        return tokenizer.add_tokens(list(map(made, value[0])), special_tokens=value[1])
    if kind == "role":
        return tokenizer.add_special_tokens({value[0]: made(value[1])})
    if kind == "additional":
        return tokenizer.add_special_tokens(
            {"additional_special_tokens": list(value[0])},
            replace_additional_special_tokens=value[1],
        )
    if kind == "set":
        setattr(tokenizer, value[0], value[1])
    else:
        tokenizer.additional_special_tokens = list(value)
    return None


def state(tokenizer: Any) -> dict[str, Any]:
    return {
        "len": len(tokenizer),
        "vocab_size": tokenizer.vocab_size,
        "vocab": tokenizer.get_vocab(),
        "added": tokenizer.get_added_vocab(),
        "added_tokens_encoder": tokenizer.added_tokens_encoder,
        "all_special_tokens": tokenizer.all_special_tokens,
        "all_special_ids": tokenizer.all_special_ids,
        "map": tokenizer.special_tokens_map,
        "additional": tokenizer.additional_special_tokens,
        "additional ids": tokenizer.additional_special_tokens_ids,
        **{name: getattr(tokenizer, name) for name in NAMED_SPECIAL_TOKENS},
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in NAMED_SPECIAL_TOKENS},
        "flags": {
            i: [getattr(token, name) for name in ("content", *FLAGS)]
            for i, token in tokenizer.added_tokens_decoder.items()
        },
    }


def of_texts(tokenizer: Any, **options: Any) -> list[Any]:
    found = []
    for text in TEXTS:
        ids = tokenizer(text, **options)["input_ids"]
        decoded = [tokenizer.decode(ids, skip_special_tokens=skip) for skip in (False, True)]
        found.append((text, tokenizer.tokenize(text, **options), ids, decoded))
    return found


@settings(max_examples=30)
@given(done=st.lists(operations, min_size=1, max_size=4), lower=st.booleans())
@example(done=[("role", ("mask_token", ("<ent>", {"lstrip": True})))], lower=True)
@example(done=[("add", (["Foo", ("foo", {"special": True})], False))], lower=True)
@example(done=[("additional", (["<ent>"], True)), ("add", (["<x>"], True))], lower=False)
@example(done=[("additional", (["<ent>"], False)), ("additional", (["<x>"], True))], lower=True)
def test_any_sequence_of_operations(done: list[Operation], lower: bool) -> None:
    ours = new_ours(do_lowercase_and_remove_accent=lower)
    theirs = new_peer(do_lowercase_and_remove_accent=lower)
    for operation in done:
        assert apply(ours, operation, AddedToken) == apply(theirs, operation, PeerAddedToken)
        found, expected = state(ours), state(theirs)
        for name, value in expected.items():
            assert found[name] == value, (name, operation)
    for found, expected in zip(of_texts(ours), of_texts(theirs), strict=True):
        assert found == expected
    split = {"split_special_tokens": True}
    assert of_texts(ours, **split) == of_texts(theirs, **split)


def test_at_the_start(make_tokenizer: Make, make_peer: Make) -> None:
    ours, theirs = make_tokenizer(), make_peer()
    assert state(ours) == state(theirs)
    assert ours.all_special_ids == [0, 3, 1, 2, 5, 4, 6, 7, 8, 9, 10, 11, 12, 13]
    assert [getattr(ours, f"{name}_id") for name in NAMED_SPECIAL_TOKENS] == [
        0,
        None,
        3,
        1,
        2,
        1,
        5,
    ]
    assert of_texts(ours) == of_texts(theirs)


def test_split_special_tokens_of_the_tokenizer(make_tokenizer: Make, make_peer: Make) -> None:
    ours = make_tokenizer(split_special_tokens=True)
    assert of_texts(ours) == of_texts(make_peer(split_special_tokens=True))
    assert "<special1>" not in ours.tokenize("<special1>")
    assert ours.tokenize("<special1>", split_special_tokens=False) == ["<special1>"]


def with_flag(flag: str, value: bool) -> XLMTokenizer:
    # Cased: where a tokenizer lowercases first, a token that is not normalized is not found.
    tokenizer = new_ours(do_lowercase_and_remove_accent=flag == "normalized")
    tokenizer.add_tokens([AddedToken("Foo", **{"normalized": False, flag: value})])
    return tokenizer


@pytest.mark.parametrize("flag", ["single_word", "normalized", "special"])
def test_each_flag_shows_in_the_texts(flag: str) -> None:
    assert of_texts(with_flag(flag, False)) != of_texts(with_flag(flag, True))


def test_stripping() -> None:
    """In Moses a blank more or less beside a token changes no id: what is cut shows it."""
    text = "the \t Foo\n Foo\u00a0"
    token = {
        name: AddedToken("Foo", **dict.fromkeys(name.split("+") if name else (), True))
        for name in ("", "lstrip", "rstrip", "lstrip+rstrip")
    }
    expected = {
        "": [(0, 6), (6, 9, "Foo"), (9, 11), (11, 14, "Foo"), (14, 15)],
        "lstrip": [(0, 3), (6, 9, "Foo"), (11, 14, "Foo"), (14, 15)],
        "rstrip": [(0, 6), (6, 9, "Foo"), (11, 14, "Foo")],
        "lstrip+rstrip": [(0, 3), (6, 9, "Foo"), (11, 14, "Foo")],
    }
    for name, cuts in expected.items():
        found = AddedTokens([token[name]], []).sections(text)
        assert [(b, e, *([str(t)] if t else [])) for b, e, t in found] == cuts, name


def test_arguments(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.add_tokens(None) == tokenizer.add_tokens([]) == tokenizer.add_tokens("") == 0
    assert tokenizer.add_tokens("newtok") == 1
    assert tokenizer.add_tokens(PeerAddedToken("other")) == 1
    assert tokenizer.add_special_tokens({"extra_special_tokens": ["<ent>"]}) == 1
    assert tokenizer.additional_special_tokens == ["<ent>"]
    with pytest.raises(UnknownArgumentError, match=r"'pad'.*Known arguments: bos_token"):
        tokenizer.add_special_tokens({"pad": "<p>"})
    for wrong in (5, [5], b"x", [None]):
        with pytest.raises(TokenizerError, match="expected a"):
            tokenizer.add_tokens(wrong)
    with pytest.raises(TokenizerError, match="expected a"):
        tokenizer.pad_token = 5
    assert len(tokenizer) == 319


def test_no_unknown_token(make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer(unk_token=None)
    assert tokenizer("the cat").input_ids == [0, 168, 208, 1]
    for text in ("漢", "the 漢 cat"):
        with pytest.raises(TokenizerError, match="unk_token is None"):
            tokenizer(text)
    tokenizer.unk_token = "<special2>"
    assert tokenizer("漢").input_ids == [0, 6, 1]


@pytest.mark.parametrize("role", NAMED_SPECIAL_TOKENS)
def test_setting_an_id(make_tokenizer: Make, make_peer: Make, role: str) -> None:
    ours, theirs = make_tokenizer(), make_peer()
    for tokenizer in (ours, theirs):
        setattr(tokenizer, f"{role}_id", 8)
    assert getattr(ours, role) == "<special4>"
    assert state(ours) == state(theirs)


def test_setting_none(make_tokenizer: Make, make_peer: Make) -> None:
    ours, theirs = make_tokenizer(), make_peer()
    for tokenizer in (ours, theirs):
        tokenizer.pad_token = None
        tokenizer.mask_token = None
    assert state(ours) == state(theirs)
    assert ours.pad_token_id is None
