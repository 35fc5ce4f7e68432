"""BLEU of a run: the lines are those of `xlm translate`, the figure that of `xlm evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conversion.cli import main
from conversion.opening.tokenizers import ids_of_subwords
from conversion.training.bleu import BleuOfRun, Translated, _subwords
from tests.support.small_corpus import write
from tests.support.small_tokenizer import SPECIAL, small_tokenizer
from tests.support.translation import small_config
from xlm_core import ConfigError, CorpusError, InputError, XLMTokenizer
from xlm_core.corpus import Corpus
from xlm_core.objectives import Task
from xlm_core.tokenization.files.vocabulary_files import Merges
from xlm_torch import XLMForConditionalGeneration

# Empty on either side, with an unknown word, too long for the model's 24 positions.
SOURCES = [[30, 33, 14, 15], [], [16, 3, 17], [31], [14, 15] * 12, [32, 31, 19, 21]]
TARGETS = [[31, 30], [31], [16, 3, 17], [], [31], [33, 19, 3, 30, 31]]
MT = Task("mt", ("en", "fr"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    tokenizer = small_tokenizer(folder / "tokenizer")
    for name, sentences in (("en", SOURCES), ("fr", TARGETS)):
        write(folder / name, tokenizer, sentences)
    torch.manual_seed(1)
    config = small_config(
        vocab_size=len(tokenizer), lang2id={"en": 0, "fr": 1}, id2lang={0: "en", 1: "fr"}
    )
    model = XLMForConditionalGeneration(config)
    with torch.no_grad():  # so that it writes several words, and repeats the source's
        model.decoder.pred_layer.proj.bias[30:34] += 0.5
    model.save_pretrained(folder / "model")
    return folder


def pair(run: Path) -> tuple[Corpus, Corpus]:
    return Corpus.open(run / "en"), Corpus.open(run / "fr")


def measured(run: Path, folder: Path, **more: Any) -> dict[str, float]:
    both = pair(run)
    wanted = [
        Translated("valid", MT, both),
        Translated("test", Task("mt", ("fr", "en")), both[::-1]),
    ]
    bleu = BleuOfRun(folder, run / "tokenizer", small_config(), wanted, **more)
    return bleu(run / "model", 7)


def test_a_tokenizer_that_changes_is_not_the_run_s(run: Path, tmp_path: Path) -> None:
    """A run's model brings the one that it began with."""
    shutil.copytree(run, tmp_path / "run")
    tokenizer = XLMTokenizer.from_pretrained(run / "tokenizer")
    tokenizer.save_pretrained(tmp_path / "run" / "model")
    expected = measured(tmp_path / "run", tmp_path / "before", framework="torch")
    wanted = [Translated("valid", MT, pair(run))]
    place, begun = tmp_path / "after", tmp_path / "run" / "tokenizer"
    bleu = BleuOfRun(place, begun, small_config(), wanted, framework="torch")
    words = list(json.loads((begun / "vocab.json").read_text()))
    swapped = {word: i for i, word in enumerate([*words[:14], *words[:13:-1]])}
    (begun / "vocab.json").write_text(json.dumps(swapped))
    assert bleu(tmp_path / "run" / "model", 7).items() <= expected.items()
    name = "valid.en-fr.update-000007"
    before, after = ((tmp_path / at / name).read_text() for at in ("before", "after"))
    assert before == after


def test_the_lines_are_those_of_translate_and_the_figure_that_of_evaluate(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    found = measured(run, tmp_path / "translations", framework="torch")
    assert torch.equal(before, torch.get_rng_state())
    assert list(found) == ["valid_en-fr_mt_bleu", "test_fr-en_mt_bleu"]
    assert capsys.readouterr() == ("", "")
    for name, value in zip(("valid.en-fr", "test.fr-en"), found.values(), strict=True):
        source, reference, lines = (
            tmp_path / "translations" / f"{name}.{what}"
            for what in ("source", "reference", "update-000007")
        )
        assert len(source.read_text().splitlines()) == 3
        languages = ("--src-lang", name[-5:-3], "--tgt-lang", name[-2:])
        more = ("--tokenizer", str(run / "tokenizer"), "--input-is-bpe", "--no-detokenize")
        assert main(["translate", str(run / "model"), *languages, *more, str(source)]) == 0
        assert capsys.readouterr().out.encode() == lines.read_bytes()
        assert main(["evaluate", "--tokenized", "--json", str(lines), str(reference)]) == 0
        assert json.loads(capsys.readouterr().out)["bleu"]["score"] == value


def test_both_frameworks_write_the_same_lines(run: Path, tmp_path: Path) -> None:
    for framework in ("torch", "tf"):
        measured(run, tmp_path / framework, framework=framework, dtype="float64")
    torch_, tf = (
        {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()}
        for name in ("torch", "tf")
    )
    assert torch_ == tf


def test_translations_that_equal_the_references_have_100(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copied(model: Any, inputs: Any, output: str, **more: Any) -> None:
        Path(output).write_text(Path(inputs[0].replace("source", "reference")).read_text())

    monkeypatch.setattr("conversion.training.bleu.translate_files", copied)
    write(tmp_path / "en", XLMTokenizer.from_pretrained(run / "tokenizer"), [[30, 31, 15, 17, 19]])
    corpus = Corpus.open(tmp_path / "en")
    wanted = [Translated("valid", MT, (corpus, corpus))]
    bleu = BleuOfRun(tmp_path, run / "tokenizer", small_config(), wanted)
    assert bleu("model", 0) == {"valid_en-fr_mt_bleu": 100.0}


def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TLM-en-fr has no BLEU"):
        Translated("valid", Task("tlm", ("en", "fr")), pair(run))
    words = {word: at for at, word in enumerate([*SPECIAL, "a", "a</w>"])}
    other = XLMTokenizer(words, Merges((("a", "a</w>"),)))
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(CorpusError, match="another vocabulary"):
        BleuOfRun(
            tmp_path, tmp_path / "other", small_config(), [Translated("valid", MT, pair(run))]
        )


def test_words_that_look_like_marks(tmp_path: Path) -> None:
    """A word that ends in "@@" is written as the vocabulary has it; one with a blank is refused."""
    words = [*SPECIAL, "a@@</w>", "b</w>", "b", "c d</w>"]
    tokenizer = XLMTokenizer({word: at for at, word in enumerate(words)}, Merges(()))
    assert _subwords(tokenizer, [16, 15, 3]) == "b@@ b <unk>"
    assert _subwords(tokenizer, [14, 16, 15]) == "a@@</w> b b</w>"
    with pytest.raises(InputError, match="blanks or marks"):
        _subwords(tokenizer, [17])
    draw = np.random.default_rng(0)
    small = small_tokenizer(tmp_path / "small")
    for _ in range(50):
        ids = draw.integers(14, len(small), 6).tolist()
        assert ids_of_subwords(small, _subwords(small, ids).split()) == ids
