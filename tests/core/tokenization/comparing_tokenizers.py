"""What two tokenizers have in common, for tests of folders."""

from __future__ import annotations

from typing import Any

TEXTS = (
    "The House of Mr. Smith is new. Isn't it?",
    "Le chat « est » à lui, 25 % <special3>newtok Foo <ent> foo.",
    "кошка ΟΔΟΣ ... <special1></s> them.They",
    "",
)
ATTRIBUTES = (
    "mode",
    "lang",
    "lang2id",
    "id2lang",
    "do_lowercase_and_remove_accent",
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
    "model_input_names",
    "kytea_model",
    "special_tokens_map",
    "additional_special_tokens",
    "all_special_tokens",
    "all_special_ids",
    "added_tokens_decoder",
    "encoder",
    "vocab_size",
)
# What transformers 4 knows as well.
SHARED = (
    "do_lowercase_and_remove_accent",
    "lang2id",
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
    "model_input_names",
    "special_tokens_map",
    "additional_special_tokens",
    "all_special_tokens",
    "all_special_ids",
    "encoder",
    "vocab_size",
)


def add_tokens(tokenizer: Any, token: Any) -> None:
    assert tokenizer.add_tokens(["newtok", token("Foo", single_word=True, normalized=False)]) == 2
    assert tokenizer.add_tokens([token("<ent>", lstrip=True, special=True)]) == 1


def assert_same(found: Any, expected: Any, names: tuple[str, ...]) -> None:
    for name in names:
        assert getattr(found, name) == getattr(expected, name), name
    assert len(found) == len(expected)
    assert found.get_vocab() == expected.get_vocab()
    assert found.get_added_vocab() == expected.get_added_vocab()
    for text in TEXTS:
        assert found(text)["input_ids"] == expected(text)["input_ids"], text
        ids = expected(text)["input_ids"]
        assert found.decode(ids) == expected.decode(ids), text


def flags(tokenizer: Any) -> dict[int, dict[str, Any]]:
    names = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return {
        i: {name: getattr(token, name) for name in names}
        for i, token in tokenizer.added_tokens_decoder.items()
    }
