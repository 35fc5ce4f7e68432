"""Languages: by text or batch, refused where unknown, split by packages that load late."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.core.tokenization.conftest import new_ours, small
from tests.support.shared import ROOT
from xlm_core import InputError
from xlm_core.errors import MissingPackageError, UnknownLanguageError
from xlm_core.tokenization.text.languages import KNOWN_LANGUAGES
from xlm_core.tokenization.text.segmenters import SEGMENTERS, Segmenter

# What a language changes: an apostrophe, an abbreviation, a quote and a comma.
TEXT = "l'homme Nr. 5 b' z.B. cat"
CHINESE, THAI, JAPANESE = "我们今天去学校。", "วันนี้ไปโรงเรียน ไหม", "今日は学校へ行く"


def pieces(text: str, **options: Any) -> list[str]:
    return new_ours(mode="v5").tokenize(text, **options)


def test_a_language_changes_what_comes_out() -> None:
    assert pieces("l'homme", lang="fr") == ["l'</w>", "homme</w>"]
    assert pieces("l'homme", lang="en") == pieces("l'homme") == ["l</w>", "'", "homme</w>"]
    assert pieces("l'homme", lang="ru") == ["l</w>", "'</w>", "homme</w>"]
    assert len({str(pieces(TEXT, lang=lang)) for lang in ("en", "fr", "de", "ru")}) == 4


def test_one_language_each_in_a_batch() -> None:
    tokenizer = new_ours(lang2id={"en": 4, "fr": 7, "ru": 2})
    alone = [tokenizer(TEXT, lang=lang).input_ids for lang in ("fr", "en", "ru")]
    assert len(set(map(str, alone))) == 3
    mixed = tokenizer([TEXT] * 3, lang=["fr", "en", "ru"], return_langs=True)
    assert mixed.input_ids == alone
    assert mixed["langs"] == [[i] * len(ids) for i, ids in zip((7, 4, 2), alone, strict=True)]
    same = tokenizer([TEXT] * 2, lang="ru", return_langs=True, padding=True)
    assert same.input_ids == [alone[2]] * 2
    assert same["langs"] == [[2] * len(alone[2])] * 2
    offsets = tokenizer([TEXT] * 3, lang=["fr", "en", "ru"], return_offsets_mapping=True)
    assert offsets.input_ids == alone
    pair = tokenizer(TEXT, TEXT, lang="fr", lang_pair="ru", return_langs=True)
    assert pair.input_ids == alone[0] + alone[2][1:]
    assert pair["langs"] == [7] * len(alone[0]) + [2] * (len(alone[2]) - 1)


def test_the_language_of_targets() -> None:
    tokenizer = new_ours(lang2id={"en": 4, "fr": 7, "ru": 2})
    french, russian = (tokenizer(TEXT, lang=lang).input_ids for lang in ("fr", "ru"))
    both = tokenizer(TEXT, text_target=TEXT, lang="fr", lang_target="ru")
    assert (both.input_ids, both["labels"]) == (french, russian)
    batch = tokenizer([TEXT] * 2, text_target=[TEXT] * 2, lang="fr", lang_target=["ru", "fr"])
    assert (batch.input_ids, batch["labels"]) == ([french] * 2, [russian, french])
    assert tokenizer(TEXT, text_target=TEXT, lang="ru")["labels"] == russian
    assert tokenizer(text_target=TEXT, lang="fr", lang_target="ru").input_ids == russian
    pair = tokenizer(TEXT, TEXT, TEXT, lang="fr", lang_pair="ru", lang_target="ru")
    assert (pair.input_ids, pair["labels"]) == (french + russian[1:], russian)
    for call in (tokenizer, tokenizer.encode, tokenizer.encode_plus):
        with pytest.raises(InputError, match="lang_target='ru', but there is no text_target"):
            call(TEXT, lang_target="ru")


def test_the_default_language() -> None:
    french = new_ours(mode="v5", lang="fr")
    assert french.tokenize("l'homme") == ["l'</w>", "homme</w>"]
    assert french.tokenize("l'homme", lang="en") == ["l</w>", "'", "homme</w>"]
    assert french(["l'homme"] * 2).input_ids == [french.encode("l'homme")] * 2
    assert new_ours().lang == "en"
    assert new_ours(lang="made-up", lang2id={"made-up": 0}).lang == "made-up"


@pytest.mark.parametrize("lang", ["xx", "EN", "", "eng", "made-up"])
def test_unknown_languages(lang: str) -> None:
    tokenizer, with_table = new_ours(), new_ours(lang2id={"en": 0, "zz": 1})
    for call in (
        lambda tok: tok.tokenize("a", lang=lang),
        lambda tok: tok("a", lang=lang),
        lambda tok: tok(["a", "b"], lang=["en", lang]),
        lambda tok: tok("a", lang=lang, return_offsets_mapping=True),
    ):
        with pytest.raises(UnknownLanguageError, match=r"This tokenizer knows: .*\bde, .*\bur,"):
            call(tokenizer)
        with pytest.raises(UnknownLanguageError, match=rf"{lang!r}.*knows: en, zz\."):
            call(with_table)
    with pytest.raises(UnknownLanguageError, match="Unknown language"):
        new_ours(lang=lang)
    # A language that Moses knows, but not this model.
    with pytest.raises(UnknownLanguageError, match=r"'de'.*knows: en, zz"):
        with_table.tokenize("a", lang="de")


def test_languages_are_strings() -> None:
    for lang in (5, b"en", True):
        with pytest.raises(InputError):
            new_ours().tokenize("a", lang=lang)
        with pytest.raises(InputError):
            new_ours()("a", lang=lang)


def test_known_languages() -> None:
    assert len(KNOWN_LANGUAGES) > 100
    assert {"en", "zh_min_nan", "simple", "yue"} <= KNOWN_LANGUAGES
    for lang in sorted(KNOWN_LANGUAGES - {"zh", "th", "ja"}):
        assert new_ours().tokenize("The cat.", lang=lang)[:2] == ["the</w>", "cat</w>"], lang


def test_chinese() -> None:
    rjieba = pytest.importorskip("rjieba")
    tokenizer = new_ours(do_lowercase_and_remove_accent=False)
    words = "".join(tokenizer.tokenize(CHINESE, lang="zh")).replace("</w>", " ").split()
    assert words == [*" ".join(rjieba.cut("我们今天去学校")).split(), "."]
    assert len(words) < len(tokenizer.tokenize(CHINESE, lang="en"))


def test_thai() -> None:
    tokenize = pytest.importorskip("pythainlp.tokenize")
    found = new_ours(do_lowercase_and_remove_accent=False).tokenize(THAI, lang="th")
    expected = tokenize.word_tokenize(THAI)
    assert " " in expected
    # A blank is a word too: in transformers an empty subword, and an end of word.
    assert "".join(found).replace("</w>", "|") == "|".join(w.strip() for w in expected) + "|"
    lowered = new_ours().tokenize(THAI, lang="th")
    assert lowered.count("</w>") == 0


@pytest.fixture
def kytea(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A module in the place of KyTea's, which splits into pairs; the arguments it was given."""
    given: list[str] = []

    class Mykytea:
        def __init__(self, options: str) -> None:
            given.append(options)

        def getWS(self, text: str) -> list[str]:
            return [text[i : i + 2] for i in range(0, len(text), 2)]

    module = types.ModuleType("Mykytea")
    module.Mykytea = Mykytea  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "Mykytea", module)
    return given


def test_japanese(kytea: list[str], tmp_path: Path) -> None:
    model = tmp_path / "model.bin"
    model.write_bytes(b"")
    tokenizer = new_ours(kytea_model=model, lang2id={"ja": 0, "en": 1})
    tokenizer.tokenize("The cat", lang="en")
    assert kytea == []
    words = "".join(tokenizer.tokenize(JAPANESE, lang="ja")).split("</w>")
    assert words == ["今日", "は学", "校へ", "行く", ""]
    ids = tokenizer([JAPANESE, JAPANESE[:4]], lang="ja").input_ids
    offsets = tokenizer(JAPANESE, lang="ja", return_offsets_mapping=True)
    assert offsets.input_ids == ids[0]
    assert offsets.word_ids()[1:-1] == [0, 0, 1, 1, 2, 2, 3, 3]
    # Made once, when first needed.
    assert kytea == [f"-model {model}"]


def test_japanese_without_a_model(
    kytea: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"no file .*nowhere.*kytea_model=PATH"):
        new_ours(kytea_model=tmp_path / "nowhere").tokenize(JAPANESE, lang="ja")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=rf"no file {tmp_path}/local/share/kytea/model\.bin"):
        new_ours().tokenize(JAPANESE, lang="ja")
    assert kytea == []


@pytest.mark.parametrize(
    ("lang", "package", "text"),
    [("zh", "rjieba", CHINESE), ("th", "pythainlp", THAI), ("ja", "Mykytea", JAPANESE)],
)
def test_without_the_package(
    monkeypatch: pytest.MonkeyPatch, lang: str, package: str, text: str
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    for mode in ("v4", "original"):
        tokenizer = new_ours(mode=mode)
        for options in ({}, {"return_offsets_mapping": True}):
            with pytest.raises(
                MissingPackageError,
                match=rf"'{lang}'.*pip install 'xlm-parity\[{lang}\]'.*is_split_into_words=True",
            ):
                tokenizer([text], lang=lang, **options)
        # Words that a caller has split need none.
        words = [text[:2], text[2:4]]
        ids = tokenizer(words, lang=lang, is_split_into_words=True).input_ids
        assert len(ids) > 3
        found = tokenizer(words, lang=lang, is_split_into_words=True, return_offsets_mapping=True)
        assert found.input_ids == ids
        assert {*found.word_ids()} == {None, 0, 1}
        assert tokenizer(f"{text[:2]} b", lang=lang, bypass_tokenizer=True).input_ids[-2] == 17


def test_nothing_optional_is_imported() -> None:
    """Neither by the library nor by a tokenizer; sacremoses with the first text that needs it."""
    vocabulary, merges = map(str, small())
    code = f"""
import sys
def loaded():
    names = ("rjieba", "pythainlp", "Mykytea", "sacremoses", "torch", "tensorflow", "transformers")
    return [name for name in names if name in sys.modules]
import xlm_core
assert not loaded(), loaded()
tokenizer = xlm_core.XLMTokenizer({vocabulary!r}, {merges!r})
assert not loaded(), loaded()
tokenizer("The cat", bypass_tokenizer=True)
tokenizer.decode([14, 15])
repr(tokenizer)
assert not loaded(), loaded()
tokenizer("The cat, it's.")
assert loaded() in ([], ["sacremoses"]), loaded()
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_romanian() -> None:
    text = "Şi Țară, mâine în ţară"
    cased = new_ours(do_lowercase_and_remove_accent=False, mode="v5")
    assert "".join(cased.tokenize(text, lang="ro")) == "Si</w>Tara</w>,</w>maine</w>in</w>tara</w>"
    assert "ă</w>" in cased.tokenize(text, lang="en")
    # tokenize.sh of the original left the diacritics to the removal of accents.
    perl = new_ours(do_lowercase_and_remove_accent=False, mode="original")
    assert "ă</w>" in perl.tokenize(text, lang="ro")
    assert new_ours().tokenize(text, lang="ro") == new_ours(mode="original").tokenize(
        text, lang="ro"
    )


@pytest.mark.parametrize("mode", ["v4", "v5", "original"])
def test_bypass(mode: str) -> None:
    """Straight to BPE: no punctuation, no lowercasing, blanks between words."""
    tokenizer = new_ours(mode=mode)
    tokens = tokenizer.tokenize("The cat, \t it's\u3000é", bypass_tokenizer=True)
    assert "".join(tokens) == "The</w>cat,</w>it's</w>é</w>"
    assert tokenizer.tokenize("the <special1> cat", bypass_tokenizer=True) == [
        *("the</w>", "<special1>", "cat</w>"),
    ]
    ids = tokenizer("The cat, it's", bypass_tokenizer=True, add_special_tokens=False).input_ids
    assert ids == tokenizer.convert_tokens_to_ids(
        tokenizer.tokenize("The cat, it's", bypass_tokenizer=True)
    )


class _Hyphens(Segmenter):
    """Splits at hyphens: a language that somebody adds."""

    language = "lo"
    package = "nothing"

    def split(self, text: str) -> list[str]:
        return text.split("-")


@pytest.mark.parametrize("mode", ["v4", "v5", "original"])
@pytest.mark.parametrize("first", [False, True])
def test_a_segmenter_is_added_in_one_place(
    monkeypatch: pytest.MonkeyPatch, mode: str, first: bool
) -> None:
    monkeypatch.setitem(SEGMENTERS, "lo", _Hyphens)
    monkeypatch.setattr(_Hyphens, "before_normalization", first)
    tokenizer = new_ours(mode=mode, lang2id={"en": 0, "lo": 1})
    assert tokenizer.words("the-cat-sat", lang="lo") == ["the", "cat", "sat"]
    batch = tokenizer("the-cat", lang="lo", return_offsets_mapping=True)
    assert batch["offset_mapping"][1:-1] == [(0, 3), (4, 7)]
    assert batch["input_ids"] == tokenizer("the cat")["input_ids"]
    assert tokenizer.words("the-cat") == tokenizer.words("the-cat", lang="en") == ["the-cat"]
    without_table = new_ours(mode=mode)
    assert without_table.words("the-cat-sat", lang="lo") == ["the", "cat", "sat"]
