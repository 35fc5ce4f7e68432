"""The benchmarks of corpora and of learning: what they make of texts, and what they count."""

from __future__ import annotations

import json
import lzma
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import torch

from benchmarks import corpora as of_corpora
from benchmarks import learning
from benchmarks.speed.sides.pretraining_tf import prepared as in_tf
from benchmarks.speed.sides.pretraining_torch import prepared as in_torch
from benchmarks.speed.tasks import Shape, Task
from tests.support.small_run import MASKED, write_config, write_texts
from xlm_core import XLMConfig
from xlm_core.corpus import Corpus
from xlm_core.training.config import TrainingConfig
from xlm_core.training.data import TrainingData
from xlm_tf import TFXLMWithLMHeadModel
from xlm_torch import XLMWithLMHeadModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    write_texts(folder)
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> TrainingData:
    return TrainingData.open(TrainingConfig.from_toml(write_config(folder, MASKED)))


# -- raw text to corpora ---------------------------------------------------------------------------


def test_texts_are_the_same_lines_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = {
        "lohelp/lohelp.tsv.xz": {"en": ["a", "b", " ", "a"]},
        "pydocs/pydocs.tsv.xz": {"en": ["c", "b", "d"], "fr": ["e"]},
    }
    monkeypatch.setattr(of_corpora.corpora, "columns", tables.__getitem__)
    assert of_corpora.texts("en", 9) == ["a", "b", "c", "d"]
    assert of_corpora.texts("en", 2) == ["a", "c"]
    assert of_corpora.texts("de", 2) == []


def test_ids_are_compared(folder: Path, tmp_path: Path) -> None:
    corpus = Corpus.open(folder / "valid.en")
    sentences, positions = np.array(corpus.sentences), np.array(corpus.positions)
    found = []
    for changed in (sentences, np.where(sentences == sentences.max(), 14, sentences)):
        torch.save({"sentences": changed, "positions": positions}, tmp_path / "valid.pth")
        found.append(of_corpora.same(folder / "valid.en", tmp_path / "valid.pth"))
    assert found == [True, False]


def test_the_original_has_to_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLM_BENCH_ORIGINAL", raising=False)
    with pytest.raises(SystemExit, match="XLM_BENCH_ORIGINAL names no checkout"):
        of_corpora.original_dictionary()


def test_a_command_that_fails_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome: dict[str, Any] = {"returncode": 0, "stdout": "2048\n"}

    def run(command: list[str], **_: Any) -> Any:
        assert command[-2:] == ["tokenize", "a text"]
        return type("Done", (), outcome)

    monkeypatch.setattr(of_corpora.subprocess, "run", run)
    assert of_corpora.peak(["tokenize", "a text"]) == 2.0
    outcome["returncode"] = 1
    with pytest.raises(SystemExit, match="xlm tokenize 'a text' failed"):
        of_corpora.peak(["tokenize", "a text"])


# -- a step of pretraining -------------------------------------------------------------------------


@pytest.mark.parametrize("filled", [0.5, 1.0])
@pytest.mark.parametrize("family", ["torch", "tf"])
def test_a_step_of_ours_is_taken(
    family: str, filled: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On sentences by a collator, and on running text by a run; the model names no languages."""
    place = SimpleNamespace(name=str(tmp_path))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", lambda: place)
    shape = Shape(vocab_size=61, emb_dim=16, n_layers=1, n_heads=4, max_position_embeddings=32)
    task = Task("pretrain", 4, 16, filled=filled, labelled=0.5, shape=shape)
    config = XLMConfig(**shape.config())
    if family == "torch":
        step = in_torch(task, XLMWithLMHeadModel(config), "xlm_torch").run
    else:
        model = TFXLMWithLMHeadModel(config)
        step = in_tf(task, model, keras, lambda *_: None, ours=True).run
    assert step()["figures"]["input"] > 0


# -- what is learnt --------------------------------------------------------------------------------


def test_the_file_of_the_run_says_what_is_trained(tmp_path: Path) -> None:
    learning.write_config(tmp_path)
    config = learning.config_of(tmp_path, 2e-3, 7)
    names = [task.name for task in config.tasks]
    assert names == ["MLM-en", "MLM-fr", "MLM-es", "TLM-en-fr", "TLM-en-es"]
    assert (config.optimizer.learning_rate, config.optimizer.warmup_updates) == (2e-3, 7)
    assert config.data.valid["en-fr"] == [
        str(tmp_path / "corpora" / f"valid.en-fr.{language}") for language in ("en", "fr")
    ]


def test_rows_of_a_table(tmp_path: Path) -> None:
    with lzma.open(tmp_path / "table.xz", "wt", encoding="utf-8") as file:
        file.write("file\ten\nx\tone line\ny\t\n")
    rows = [{"file": "x", "en": "one line"}, {"file": "y", "en": ""}]
    assert list(learning.rows_of(tmp_path / "table.xz")) == rows


def test_examples_are_those_of_mlm_and_tlm(data: TrainingData) -> None:
    examples = learning.examples_of(data)
    assert len(examples) == 2 * 40 + 40
    eos = data.model_config().eos_index
    text, pair = examples[0], examples[-1]
    assert text["position_ids"] == [*range(len(text["input_ids"]))]
    assert {*text["langs"]} == {data.lang2id["en"]}
    second = len(data.corpora["train"]["en"][39]) + 2  # where the other sentence begins
    assert [pair["input_ids"][at] for at in (0, second - 1, second, -1)] == [eos] * 4
    assert [pair["position_ids"][at] for at in (0, second - 1, second)] == [0, second - 1, 0]
    assert pair["langs"] == sorted(pair["langs"])
    assert len({len(pair[name]) for name in pair}) == 1


def test_single_texts_are_masked_rows(data: TrainingData) -> None:
    name, batches = learning.single_texts(data.model_config(), data, "fr")
    assert name == "texts-fr"
    [batch] = batches
    assert len(batch["input_ids"]) == 5
    assert (batch["langs"] == data.lang2id["fr"]).all()
    assert (batch["labels"] != -100).any()


def test_a_clock_ends_a_run_and_keeps_it(tmp_path: Path, data: TrainingData) -> None:
    clock = learning.Clock(60)
    assert not clock.is_over(3.0, 10)
    clock.seconds = 0
    assert clock.is_over(2.0, 20)
    clock.write(tmp_path / "torch", data.config)
    found = json.loads((tmp_path / "torch" / "training.json").read_text())
    assert (found["updates"], found["tokens"], found["losses"]) == (2, 30, [3.0, 2.0])
