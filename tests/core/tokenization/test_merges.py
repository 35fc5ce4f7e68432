"""Files of merges: the forms in which they come, the same for all ways in; and what holds none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.core.tokenization.conftest import learned
from tests.support.small_tokenizer import MERGES, vocabulary, write_folder, write_original
from xlm_core import TokenizerError, XLMTokenizer
from xlm_core.tokenization.files.vocabulary_files import read_code_counts, read_merges

Open = Callable[[Path, bytes], XLMTokenizer]

PLAIN = "".join(f"{a} {b}\n" for a, b in MERGES)
COUNTED = "".join(f"{a} {b} 9\n" for a, b in MERGES)


def from_facebook(folder: Path, content: bytes) -> XLMTokenizer:
    write_original(folder)
    (folder / "codes").write_bytes(content)
    return XLMTokenizer.from_facebook(folder / "codes", folder / "vocab")


def of_a_folder_of_the_original(folder: Path, content: bytes) -> XLMTokenizer:
    write_original(folder)
    (folder / "codes").write_bytes(content)
    return XLMTokenizer.from_pretrained(folder)


def of_files(folder: Path, content: bytes) -> XLMTokenizer:
    write_folder(folder)
    (folder / "merges.txt").write_bytes(content)
    return XLMTokenizer(folder / "vocab.json", folder / "merges.txt")


def from_pretrained(folder: Path, content: bytes) -> XLMTokenizer:
    write_folder(folder)
    (folder / "merges.txt").write_bytes(content)
    return XLMTokenizer.from_pretrained(folder)


WAYS = pytest.mark.parametrize(
    "way", [from_facebook, of_a_folder_of_the_original, of_files, from_pretrained]
)


@WAYS
@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        COUNTED,
        "#version: 0.2\n" + PLAIN,
        "\ufeff" + COUNTED,
        COUNTED.replace("\n", "\r\n"),
        COUNTED.replace(" ", "\t"),
        COUNTED.replace(" ", "  "),
        COUNTED.replace(" 9", "\t9"),
        PLAIN.replace("\n", " \n"),
        COUNTED.rstrip("\n"),
        COUNTED + "\n\n",
        "a b 9\nab c</w> 8\n# a note of one who has edited this file\nd e</w> 7\nf g 6\n",
    ],
    ids=[
        "plain",
        "counts",
        "version",
        "BOM",
        "CRLF",
        "tabs",
        "two blanks",
        "tab and blank",
        "blank at the end",
        "no end",
        "blank lines",
        "a note",
    ],
)
def test_every_way_in_reads_the_same_forms(tmp_path: Path, way: Open, content: str) -> None:
    assert way(tmp_path, content.encode()).tokenize("abc de fgh") == [
        "abc</w>",
        "de</w>",
        "fg",
        "h</w>",
    ]


VOCABULARY = "".join(f"{token} {9000 - i}\n" for token, i in learned()[0].items())


@WAYS
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n  \n",
        b"#version: 0.2\n",
        COUNTED.replace(" ", ",").encode(),
        COUNTED.replace(" ", "|").encode(),
        COUNTED.replace(" ", "").encode(),
        VOCABULARY.encode(),
        VOCABULARY.replace(" ", "\t").encode(),
        json.dumps(vocabulary()).encode(),
        json.dumps(vocabulary(), indent=2).encode(),
        json.dumps([list(pair) for pair in MERGES]).encode(),
        b"The cat sat on the mat.\nThe dog did not.\n",
        b"good morning\ngood night\n",
        b"not found\n",
        b"a b c d\ne f g h\n",
        b"a b 9.5\nc d x\n",
        "".join(f"{b} {a} 9\n" for a, b in MERGES[1:3]).encode(),
        b"<!doctype html>\n<html>\n</html>\n",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        b"PK\x03\x04\x14\x00 \x00\x08\n\x00\x00 \x01",
        COUNTED.encode("utf-16-le"),
    ],
)
def test_what_holds_no_merges_is_refused(tmp_path: Path, way: Open, content: bytes) -> None:
    with pytest.raises(TokenizerError, match=r"(codes|merges\.txt) holds no merges") as error:
        way(tmp_path, content)
    assert "fall apart into letters" in str(error.value)


@pytest.mark.parametrize("content", [b"\x80\x02}q\x00.", COUNTED.encode("utf-16"), b"\x1f\x8b\x08"])
@WAYS
def test_what_is_no_text_is_refused(tmp_path: Path, way: Open, content: bytes) -> None:
    with pytest.raises(TokenizerError, match="not UTF-8"):
        way(tmp_path, content)


def test_merges_that_end_no_words_are_of_another_model(tmp_path: Path) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = "".join(f"\u0120 {a}\n{a} e\n" for a in letters)
    write_folder(tmp_path)
    (tmp_path / "merges.txt").write_text(lines, encoding="utf-8")
    with pytest.raises(TokenizerError, match="52 merges, and none that ends a word"):
        XLMTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("beginning", ["\u0120", "\u2581"])
def test_a_few_merges_that_begin_words_are_of_another_model(tmp_path: Path, beginning: str) -> None:
    write_folder(tmp_path)
    lines = f"#version: 0.2\n{beginning} t\n{beginning} a\nh e\n{beginning}t he\n"
    (tmp_path / "merges.txt").write_text(lines, encoding="utf-8")
    with pytest.raises(TokenizerError, match="4 merges, and none that ends a word"):
        XLMTokenizer.from_pretrained(tmp_path)
    (tmp_path / "merges.txt").write_text(lines + "a b</w>\n", encoding="utf-8")
    XLMTokenizer.from_pretrained(tmp_path)  # letters like any other


def test_what_bpe_learned_is_merges_even_in_part(tmp_path: Path) -> None:
    lines = [f"{a} {b} {9000 - i}" for i, (a, b) in enumerate(learned()[1])]
    for some in (lines, lines[:7], lines[60:], ["th e</w> 3"]):
        (tmp_path / "codes").write_text("\n".join(some), encoding="utf-8")
        assert len(read_merges(tmp_path / "codes", original=True).lines) == len(some)


def test_counts_are_read_with_tabs_as_well(tmp_path: Path) -> None:
    (tmp_path / "codes").write_text("a\tb\t9\nab c</w> 8\n")
    assert read_code_counts(tmp_path / "codes") == (9, 8)
