"""`xlm fill-mask`, `xlm score` and `xlm encode` on files, in both frameworks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import xlm_torch
from conversion.cli import main
from conversion.texts.npy import npy_header
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import XLMConfig, XLMTokenizer
from xlm_torch.texts.forward import TextForward

LANGUAGES = {"en": 0, "fr": 1}
LINES = ["abc de fg", "", "x h", "a b c d e f g h", "de", "abc, ab c", "h g f e"]
FRAMEWORKS = ["torch", "tf"]


def _folder(folder: Path, name: str, **values: Any) -> Path:
    tokenizer = small_tokenizer(folder, lang2id=LANGUAGES)
    torch.manual_seed(1)
    model = getattr(xlm_torch, name)(
        XLMConfig(
            vocab_size=len(tokenizer),
            emb_dim=8,
            n_layers=2,
            n_heads=2,
            n_langs=2,
            lang2id=LANGUAGES,
            max_position_embeddings=20,
            init_std=0.5,
            embed_init_std=0.7,
            **values,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _folder(tmp_path_factory.mktemp("masked"), "XLMWithLMHeadModel")


@pytest.fixture(scope="module")
def translation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("translation")
    return _folder(folder, "XLMForConditionalGeneration", sinusoidal_embeddings=True)


@pytest.fixture(scope="module")
def opened(masked: Path) -> tuple[Any, XLMTokenizer]:
    model = xlm_torch.XLMWithLMHeadModel.from_pretrained(masked, dtype="float64")
    return model, XLMTokenizer.from_pretrained(masked)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def xlm(*arguments: Any, framework: str = "torch") -> int:
    given = [*map(str, arguments), "--framework", framework, "--dtype", "float64"]
    return main([*given, "--window-lines", "3", "--batch-size", "2"])


def objects(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_score(masked: Path, opened: Any, text: Path, capsys: Any, framework: str) -> None:
    assert xlm("score", masked, text, "--lang", "fr", framework=framework) == 0
    captured = capsys.readouterr()
    scores = xlm_torch.score(*opened, LINES, lang="fr")
    assert captured.out == "".join(f"{score.log_prob:.6f}\n" for score in scores)
    assert "7 lines, 2 unknown subwords" in captured.err
    assert xlm("score", masked, text, "--lang", 1, "--json", framework=framework) == 0
    for number, (found, score) in enumerate(zip(objects(capsys), scores, strict=True), 1):
        assert (found["line"], found["text"]) == (number, LINES[number - 1])
        for key in ("tokens", "token_ids", "words"):
            assert found[key] == getattr(score, key)
        for key in ("token_log_probs", "word_log_probs", "log_prob", "perplexity"):
            assert found[key] == pytest.approx(getattr(score, key), rel=1e-12)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_score_of_translations(
    translation: Path, tmp_path: Path, capsys: Any, framework: str
) -> None:
    pairs = [("de", "abc"), ("a b", ""), ("", "h g")]
    path = tmp_path / "pairs"
    path.write_text("".join("\t".join(pair) + "\n" for pair in pairs))
    given = ["score", translation, path, "--src-lang", "en", "--lang", "fr"]
    assert xlm(*given, framework=framework) == 0
    model = xlm_torch.XLMForConditionalGeneration.from_pretrained(translation, dtype="float64")
    sources, texts = zip(*pairs, strict=True)
    scores = xlm_torch.score(
        model,
        XLMTokenizer.from_pretrained(translation),
        texts,
        lang="fr",
        sources=sources,
        src_lang="en",
    )
    assert isinstance(scores, list)
    assert capsys.readouterr().out == "".join(f"{score.log_prob:.6f}\n" for score in scores)
    assert xlm(*given, "--json", framework=framework) == 0
    assert [found["source"] for found in objects(capsys)] == list(sources)
    path.write_text("de\n")
    assert xlm(*given, framework=framework) == 2
    assert "line 1 has 0 tabs: expected a source, a tab" in error_of(capsys)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_fill_mask(masked: Path, opened: Any, tmp_path: Path, capsys: Any, framework: str) -> None:
    lines = ["a ___", "<special1> de ___", "___"]
    path = tmp_path / "masks"
    path.write_text("".join(f"{line}\n" for line in lines))
    given = ["fill-mask", masked, path, "--lang", "en", "--mask", "___", "--top-k", 2]
    assert xlm(*given, framework=framework) == 0
    expected = xlm_torch.fill_mask(*opened, lines, lang="en", mask="___", top_k=2)
    masks = [[expected[0]], expected[1], [expected[2]]]
    assert capsys.readouterr().out == "".join(
        f"{line} ||| {mask} ||| {each['token_str']} ||| {each['score']:.6f}\n"
        for line, fillings_of in enumerate(masks)
        for mask, fillings in enumerate(fillings_of)
        for each in fillings
    )
    assert xlm(*given, "--json", "--targets", "de", "abc", framework=framework) == 0
    found = objects(capsys)
    assert [len(each["masks"]) for each in found] == [1, 2, 1]
    assert {each["token_str"] for each in found[1]["masks"][1]} == {"de", "abc"}
    assert {"score", "token", "sequence"} < set(found[0]["masks"][0][0])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_encode(
    masked: Path, opened: Any, text: Path, tmp_path: Path, capsys: Any, framework: str
) -> None:
    target = tmp_path / "vectors.npy"
    given = ["encode", masked, text, "--lang", "en", "--layer", 1, "--normalize"]
    options: dict[str, Any] = {"lang": "en", "layer": 1, "normalize_embeddings": True}
    expected = xlm_torch.encode(*opened, LINES, **options)
    assert xlm(*given, "-o", target, framework=framework) == 0
    found = np.load(target, mmap_mode="r")
    assert (found.dtype, found.shape) == (np.float64, (7, 8))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)
    half = tmp_path / "half.npy"
    assert xlm(*given, "-o", half, "--vector-dtype", "float16", framework=framework) == 0
    np.testing.assert_array_equal(np.load(half), found.astype(np.float16))
    capsys.readouterr()
    assert xlm(*given, framework=framework) == 0
    rows = [line.split(" ") for line in capsys.readouterr().out.splitlines()]
    np.testing.assert_array_equal(np.array(rows, dtype=np.float64), found)
    assert xlm(*given, "--json", framework=framework) == 0
    np.testing.assert_array_equal([each["vector"] for each in objects(capsys)], found)


def test_vectors_of_words_and_tokens(masked: Path, opened: Any, text: Path, capsys: Any) -> None:
    for pooling in ("words", "tokens"):
        given = ["encode", masked, text, "--lang", "en", "--pooling", pooling]
        assert xlm(*given, "--json") == 0
        expected = xlm_torch.encode(*opened, LINES, lang="en", pooling=pooling)
        for found, vectors in zip(objects(capsys), expected, strict=True):
            assert len(found[pooling]) == len(vectors)
            if len(vectors):
                np.testing.assert_allclose(found["vectors"], vectors, rtol=0, atol=1e-13)
        assert xlm(*given) == 2
        assert f"as many vectors as a line has {pooling}: they are written with --json" in (
            error_of(capsys)
        )


def test_a_killed_run_goes_on_where_it_was(
    masked: Path, opened: Any, text: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    target = tmp_path / "vectors.npy"
    given = ["encode", masked, text, "--lang", "en", "-o", target]
    compute, calls = TextForward.hidden_states, []

    def killed(self: Any, batch: Any, **options: Any) -> Any:
        calls.append(batch)
        if len(calls) == 4:  # in the second window, after two batches of the first
            raise KeyboardInterrupt
        return compute(self, batch, **options)

    with monkeypatch.context() as patch:
        patch.setattr(TextForward, "hidden_states", killed)
        assert xlm(*given) == 130
    assert not target.exists()
    assert xlm(*given, "--layer", "0") == 2
    assert "layer" in error_of(capsys)
    assert xlm(*given) == 0
    assert "3 of them by an earlier run" in error_of(capsys)
    np.testing.assert_allclose(
        np.load(target), xlm_torch.encode(*opened, LINES, lang="en"), rtol=0, atol=1e-14
    )


def test_no_lines_give_an_array_without_rows(masked: Path, tmp_path: Path) -> None:
    (tmp_path / "none").write_text("")
    target = tmp_path / "none.npy"
    assert xlm("encode", masked, tmp_path / "none", "--lang", "en", "-o", target) == 0
    assert np.load(target).shape == (0, 8)


def test_the_header_is_numpys(tmp_path: Path) -> None:
    for rows in (0, 1, 10**12):
        assert len(npy_header(rows, 1024, "float16")) == 128
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "array.npy").write_bytes(npy_header(2, 3, "float32") + array.tobytes())
    np.testing.assert_array_equal(np.load(tmp_path / "array.npy"), array)


def test_text_that_is_split_into_subwords(
    masked: Path, opened: Any, tmp_path: Path, capsys: Any
) -> None:
    path = tmp_path / "bpe"
    path.write_text("abc fg@@ h <special1>\n")
    given = ["--lang", "en", "--input-is-bpe", "--json"]
    assert xlm("score", masked, path, *given) == 0
    (found,) = objects(capsys)
    expected = xlm_torch.score(*opened, "abc fgh <special1>", lang="en")
    assert not isinstance(expected, list)
    assert found["words"] == expected.words == ["abc", "fgh", "<special1>"]
    assert found["log_prob"] == pytest.approx(expected.log_prob, rel=1e-12)


def test_what_is_refused(
    masked: Path, translation: Path, text: Path, tmp_path: Path, capsys: Any
) -> None:
    encoder = _folder(tmp_path / "encoder", "XLMModel")
    language = ("--lang", "en")
    for arguments, message in (
        (("score", encoder, text, *language), "is a checkpoint of XLMModel: expected one of"),
        (("fill-mask", translation, text, *language), "checkpoint of XLMForConditionalGeneration"),
        (("fill-mask", masked, text, *language), "line 1 has no mask: write <special1>"),
        (("score", masked, text), "lang was not given: without it the results"),
        (("score", masked, text, "--lang", "freench"), "Unknown language 'freench'"),
        (("score", masked, text, *language, "--src-lang", "fr"), "has no decoder that translates"),
        (("score", translation, text, *language), "lang was not given"),
        (("score", masked, text, *language, "--max-length", 5), "line 1 has 6 ids with its frame"),
        (("encode", masked, text, *language, "-o", "x.npy", "--json"), "x.npy is an array"),
        (
            ("encode", masked, text, *language, "-o", "x.npy.gz"),
            "is the name of a compressed array",
        ),
        (
            ("score", masked, text, *language, "--codes", "x", "--input-is-bpe"),
            "--codes x says how words are split, and --input-is-bpe that they are",
        ),
        (("encode", masked, text, *language, "--layer", 3), "layer is 3: expected 0"),
        (("encode", masked, text, *language, "--max-length", 5, "--no-truncation"), "line 1 has"),
    ):
        assert xlm(*arguments) == 2, arguments
        assert message in error_of(capsys)
    assert xlm("score", masked, text, *language, "--max-length", 5, "--truncation") == 0
    assert "4 lines cut" in error_of(capsys)
