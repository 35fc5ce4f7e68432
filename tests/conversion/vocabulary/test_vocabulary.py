"""`xlm learn-bpe` and `xlm build-vocab` on files."""

from __future__ import annotations

import gzip
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conversion.cli.command import main
from conversion.vocabulary import TextOptions, counting
from conversion.vocabulary.counting import count_words
from xlm_core import XLMTokenizer
from xlm_core.errors import XLMWarning

EN = ["This is the house that Jack built.", "", "That is the cat.", "The cat is in the house."] * 5
FR = ["Voilà la maison que Jacques a bâtie."] * 3


@pytest.fixture
def texts(tmp_path: Path) -> list[str]:
    (tmp_path / "en.txt").write_text("\n".join(EN) + "\n", encoding="utf-8")
    (tmp_path / "fr.gz").write_bytes(gzip.compress("\n".join(FR).encode()))
    return [f"en={tmp_path / 'en.txt'}", f"fr={tmp_path / 'fr.gz'}"]


def test_from_text_to_a_tokenizer(
    tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    codes, folder = str(tmp_path / "new" / "codes"), str(tmp_path / "tokenizer")
    assert main(["learn-bpe", "-o", codes, "--merges", "40", *texts]) == 0
    said = capsys.readouterr().err
    assert "en: 15 sentences, 12 counted" in said
    assert "fr: 3 sentences, 6 counted" in said
    assert main(["build-vocab", codes, "-o", folder, *texts]) == 0
    assert "100.000 % of the subwords known" in capsys.readouterr().err
    ours = XLMTokenizer.from_pretrained(folder)
    original = XLMTokenizer.from_facebook(codes, Path(folder) / "vocab")
    for text in (*EN, *FR):
        ids = ours.encode(text, lang="en")
        assert ids == original.encode(text, lang="en")
        assert ours.unk_token_id not in ids
    assert ours.lang2id == {"en": 0, "fr": 1}
    # Again, to the same bytes, and with leave only.
    before = Path(codes).read_bytes()
    assert main(["learn-bpe", "-o", codes, "--merges", "40", *texts]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["learn-bpe", "-o", codes, "--merges", "40", "--overwrite", *texts]) == 0
    assert Path(codes).read_bytes() == before


def test_a_tokenizer_of_one_language_is_in_that_language(tmp_path: Path) -> None:
    """Texts that come without one are not split as English."""
    (tmp_path / "fr").write_text("l'homme qu'on a vu\n" * 3, encoding="utf-8")
    codes, folder, text = (str(tmp_path / name) for name in ("codes", "tokenizer", "fr"))
    assert main(["learn-bpe", "-o", codes, "--merges", "20", f"fr={text}"]) == 0
    assert main(["build-vocab", codes, "-o", folder, f"fr={text}"]) == 0
    tokenizer = XLMTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("l'homme") == tokenizer.tokenize("l'homme", lang="fr")


def test_a_link_to_a_folder_stays(tmp_path: Path, texts: list[str]) -> None:
    codes, (link, folder) = str(tmp_path / "codes"), (tmp_path / "link", tmp_path / "folder")
    assert main(["learn-bpe", "-o", codes, "--merges", "20", *texts]) == 0
    assert main(["build-vocab", codes, "-o", str(folder), *texts]) == 0
    link.symlink_to(folder)
    (folder / "vocab.json").write_text("old")
    assert main(["build-vocab", codes, "-o", str(link), "--overwrite", *texts]) == 0
    assert link.is_symlink()
    assert XLMTokenizer.from_pretrained(folder).lang2id == {"en": 0, "fr": 1}
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_a_link_to_codes_stays_and_a_pipe_is_written_to(tmp_path: Path, texts: list[str]) -> None:
    given = ["--merges", "20", "--overwrite", *texts]
    codes, link, pipe = tmp_path / "codes", tmp_path / "link", tmp_path / "pipe"
    codes.write_text("old")
    link.symlink_to(codes)
    assert main(["learn-bpe", "-o", str(link), *given]) == 0
    assert link.is_symlink()
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(pipe.read_bytes)
        assert main(["learn-bpe", "-o", str(pipe), *given]) == 0
        assert found.result(60) == codes.read_bytes() != b"old"
    assert pipe.is_fifo()


def test_a_language_is_read_again_in_part(tmp_path: Path) -> None:
    (tmp_path / "en").write_text("".join(f"word{n}\n" for n in range(90)))
    (tmp_path / "sw").write_text("".join(f"neno{n}\n" for n in range(10)))
    files = {"en": [str(tmp_path / "en")], "sw": [str(tmp_path / "sw")]}
    counted = count_words(files, TextOptions(alpha=0.5, seed=1))
    assert counted.read == {"en": 75, "sw": 25}
    often = sorted(counted.words[f"neno{n}"] for n in range(10))
    assert often == [2] * 5 + [3] * 5
    assert sum(counted.words[f"word{n}"] for n in range(90)) == 75
    assert count_words(files, TextOptions(alpha=0.5, seed=1)).words == counted.words
    assert count_words(files, TextOptions(alpha=0.5, seed=2)).words != counted.words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["en"], "is no LANG=FILE"),
        (["en=missing.txt"], "no file missing.txt"),
        (["en=-"], "read twice"),
        (["en={empty}"], "no text of en"),
        (["en={text}", "--alpha", "3"], "alpha is 3"),
        (["en={text}", "--seed", "-1"], "seed is -1"),
        (["en={text}", "--seed", "99999999999999999999"], "seed is 9999"),
        (["en={text}", "--merges", "0"], "0 merges were asked for"),
        (["en={text}", "--min-count", "9"], "no two letters stand together 9 times"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    names = {"empty": tmp_path / "empty", "text": tmp_path / "text"}
    names["empty"].write_text("\n \n")
    names["text"].write_text("a text\n")
    given = [each.format(**names) for each in arguments]
    assert main(["learn-bpe", "-o", str(tmp_path / "codes"), "--merges", "3", *given]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "codes").exists()


def test_a_missing_segmenter_is_told_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read: list[str] = []
    monkeypatch.setattr(counting, "_sentences", lambda names, *_: read.extend(names) or [])
    monkeypatch.setitem(sys.modules, "rjieba", None)
    for language in ("en", "zh"):
        (tmp_path / language).write_text("a text\n")
    given = [f"{language}={tmp_path / language}" for language in ("en", "zh")]
    assert main(["learn-bpe", "-o", str(tmp_path / "codes"), "--merges", "3", *given]) == 2
    error = capsys.readouterr().err
    assert "rjieba" in error
    assert "as a language of another name: zh_split" in error
    assert not read


def test_files_may_stand_after_options(tmp_path: Path, texts: list[str]) -> None:
    first, *others = texts
    for name, given in (("one", texts), ("two", [first, "--merges", "20", *others])):
        more = [] if name == "two" else ["--merges", "20"]
        assert main(["learn-bpe", *given, *more, "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_what_is_read_once_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    given = ["--merges", "3", f"en={tmp_path / 'pipe'}"]
    assert main(["learn-bpe", "-o", str(tmp_path / "codes"), *given]) == 2
    assert "is a pipe, but texts are read twice" in capsys.readouterr().err


def test_another_kind_of_output_is_refused(
    tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is counted, and nothing is moved."""
    (tmp_path / "folder").mkdir()
    given = ["-o", str(tmp_path / "folder"), "--merges", "4", "--overwrite", *texts]
    assert main(["learn-bpe", *given]) == 2
    assert "folder is a folder: give the name of a file" in capsys.readouterr().err
    codes = tmp_path / "codes"
    assert main(["learn-bpe", "-o", str(codes), "--merges", "4", *texts]) == 0
    before = codes.read_bytes()
    capsys.readouterr()
    assert main(["build-vocab", str(codes), "-o", str(codes), "--overwrite", *texts]) == 2
    assert "codes is a file: give the name of a folder" in capsys.readouterr().err
    assert codes.read_bytes() == before


def test_merges_do_not_replace_a_text(
    tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = (tmp_path / "en.txt").read_bytes()
    given = ["-o", str(tmp_path / "en.txt"), "--merges", "4", "--overwrite", *texts]
    assert main(["learn-bpe", *given]) == 2
    assert "en.txt is read too: give the output another name" in capsys.readouterr().err
    assert (tmp_path / "en.txt").read_bytes() == before


def test_words_with_blanks_are_not_counted(tmp_path: Path) -> None:
    """PyThaiNLP makes them of no-break spaces; no line of a vocabulary can hold one.

    Nor does it split what begins like the mark of a subword that is continued.
    """
    pytest.importorskip("pythainlp")
    text = "สวัสดี ครับ x\u00a0\u00a0yz @@@@ @@\n"
    (tmp_path / "th").write_text(text * 5, encoding="utf-8")
    counted = count_words({"th": [str(tmp_path / "th")]}, TextOptions())
    assert counted.words
    assert not [word for word in counted.words if word.split() != [word] or "@@" in word]


def test_other_folders_are_not_replaced(
    tmp_path: Path, texts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    codes = str(tmp_path / "codes")
    assert main(["learn-bpe", "-o", codes, "--merges", "4", *texts]) == 0
    arguments = ["build-vocab", codes, "-o", str(tmp_path / "mine"), "--overwrite", *texts]
    assert main(arguments) == 2
    assert "thesis.tex" in capsys.readouterr().err


def test_a_variety_that_is_not_segmented_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("一个人\n")
    with pytest.warns(XLMWarning, match="'zh-tw' are split at blanks: .* Call the language zh"):
        count_words({"zh-tw": [str(tmp_path / "text")]}, TextOptions())
    for language in ("zh_yue", "en"):  # as published; nothing to segment
        count_words({language: [str(tmp_path / "text")]}, TextOptions())
