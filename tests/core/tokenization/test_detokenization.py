"""Words back to text, by language."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import pytest

from xlm_core.errors import InputError, UnknownLanguageError
from xlm_core.tokenization.text.detokenization import Detokenizer


@pytest.mark.parametrize(
    ("lang", "words", "text"),
    [
        ("en", "hello , world ! it 's mr. smith 's ( old ) house .", None),
        ("en", 'he said : " no " .', 'he said: "no".'),
        ("de", "das ist 's , sagt er .", "das ist 's, sagt er."),
        ("fr", "l' homme , qu' il dit « oui » ?", "l'homme, qu'il dit « oui » ?"),
        ("zh", "我 用 Python 3 编程 , 你 好 。", "我用Python 3编程,你好。"),
        ("zh_classical", "子 曰 : 學 而", "子曰:學而"),
        ("ja", "これ は ペン です 。 Linux 6 !", "これはペンです。Linux 6!"),
        ("th", "ผม รัก ภาษา ไทย Linux 6", "ผมรักภาษาไทยLinux 6"),
        ("ko", "안녕 하세요 , 세계 !", "안녕 하세요, 세계!"),
        ("cs", "chce ' - li to", "chce '- li to"),
        ("cs", "je to , 3 , 5 .", "je to, 3, 5."),
        ("en", "&lt; stays &apos;", "&lt; stays &apos;"),
        ("en", "", ""),
        ("en", " two  blanks ", "two blanks"),
    ],
)
def test_languages(
    make_tokenizer: Callable[..., Any], lang: str, words: str, text: str | None
) -> None:
    tokenizer = make_tokenizer()
    expected = "hello, world! it's mr. smith's (old) house." if text is None else text
    assert tokenizer.detokenize(words, lang=lang) == expected
    assert tokenizer.detokenize(words.split(), lang=lang) == expected


def test_what_the_tokenizer_split(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer(mode="original", do_lowercase_and_remove_accent=False)
    text = "The House of Mr. Smith is New, he said."
    ids = tokenizer(text, framing="sentence")["input_ids"]
    assert tokenizer.detokenize(tokenizer.decode(ids, skip_special_tokens=True)) == text
    tokenizer.lang = "fr"
    assert tokenizer.detokenize("l' homme") == "l'homme"


def test_refused(make_tokenizer: Callable[..., Any]) -> None:
    tokenizer = make_tokenizer()
    with pytest.raises(UnknownLanguageError):
        tokenizer.detokenize("a", lang="e n")
    for wrong in ([1, 2], None, b"a"):
        with pytest.raises(InputError, match="detokenize takes a text or a list of words"):
            tokenizer.detokenize(wrong)


def test_korean_of_lowercased_text_is_composed() -> None:
    """Removing accents leaves the letters of syllables apart, and nothing else composed them."""
    text = "안녕 하세요 세계"
    apart = unicodedata.normalize("NFD", text).split()
    assert Detokenizer("ko").join(apart) == text
    assert Detokenizer("en").join(apart) != text
