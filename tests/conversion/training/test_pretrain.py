"""`xlm pretrain`: from corpora and a file to a model, its logs and its curves."""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import signal
import subprocess
import sys
import time
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import conversion.training.run as running
from conversion.cli import main
from conversion.training import dry_run, pretrain
from conversion.training.dry_run import kept_numbers, measured
from conversion.training.machine import fastest_product, operations_of
from conversion.training.setup import set_up
from tests.support.small_run import CAUSAL, MASKED, OF_PAIRS, write_config, write_texts
from xlm_core import XLMConfig, XLMTokenizer
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.errors import CheckpointError, XLMError
from xlm_core.objectives import tasks_of
from xlm_core.training.checkpoints import RunFolder
from xlm_core.training.config import TrainingConfig
from xlm_core.training.data import TrainingData
from xlm_core.training.engine import Update
from xlm_torch import XLMForConditionalGeneration, XLMWithLMHeadModel
from xlm_torch.training import TrainingRun

BLEU = "valid_en-fr_mt_bleu"


def change(file: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "figures.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


@pytest.fixture
def folder(texts: Path, tmp_path: Path) -> Path:
    for entry in texts.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of all objectives but CLM."""
    folder = tmp_path_factory.mktemp("translated")
    write_texts(folder)
    ended = pretrain(write_config(folder, OF_PAIRS, f'criterion = "{BLEU}"'))
    assert (ended.reason, ended.update) == ("done", 8)
    return folder


def test_a_run_leaves_what_the_page_says(translated: Path) -> None:
    run = translated / "run"
    assert {entry.name for entry in run.iterdir()} >= {
        *("config.toml", "checkpoints", "best", "model", "log.txt", "figures.csv", "tensorboard"),
        *("curves.html", "translations"),
    }
    assert not (run / "translating").exists()
    assert "all weights drawn" in (run / "log.txt").read_text().splitlines()[0]
    assert [entry.name for entry in (run / "checkpoints").iterdir()] == ["update-000008"]
    # A run that goes wrong begins anew from the model of a checkpoint: its words are known there.
    saved = run / "checkpoints" / "update-000008" / "model"
    tokenizers = [XLMTokenizer.from_pretrained(each) for each in (saved, run / "model")]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    model = XLMForConditionalGeneration.from_pretrained(run / "model")
    assert model.config.lang2id == {"en": 0, "fr": 1}


def test_figures_are_in_the_table(translated: Path) -> None:
    rows = rows_of(translated / "run")
    assert [row["update"] for row in rows if row["learning_rate"]] == ["2", "4", "6", "8"]
    evaluated = [row for row in rows if row[BLEU]]
    assert [row["update"] for row in evaluated] == ["4", "8"]
    for name in ("valid_en_mlm_ppl", "valid_en_fr_mlm_acc", "valid_en-fr_mt_ppl", "valid_mlm_acc"):
        assert all(float(row[name]) >= 0 for row in evaluated)
    assert any(row["train_MT-en-fr_loss"] for row in rows)
    assert float(rows[-1]["passes_MLM-en"] or rows[-2]["passes_MLM-en"]) > 0


def test_the_model_is_used_by_the_other_commands(
    translated: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    source = translated / "run" / "translations" / "valid.en-fr.source"
    options = ["--src-lang", "en", "--tgt-lang", "fr", "--input-is-bpe", "--quiet"]
    model = str(translated / "run" / "model")
    assert main(["translate", model, str(source), *options, "--no-detokenize"]) == 0
    written = (translated / "run" / "translations" / "valid.en-fr.update-000008").read_bytes()
    assert capfdbinary.readouterr().out == written


def test_the_page_has_a_curve_of_everything(translated: Path) -> None:
    text = (translated / "run" / "curves.html").read_text(encoding="utf-8")
    page = ElementTree.fromstring(text.partition("\n")[2])
    titles = [each.get("aria-label") for each in page.iter() if each.tag.endswith("svg")]
    for title in ("MLM-en", "TLM-en-fr", "MT-en-fr", "en_mlm_ppl", "en-fr_mt_bleu"):
        assert title in titles
    assert "http" not in text.replace("http-equiv", "")


def test_languages_in_an_order_of_their_own(folder: Path) -> None:
    """The tokenizer of the model says so in both of its tables, and reads a language of theirs."""
    file = change(write_config(folder), "n_heads = 2", "n_heads = 2\nlang2id = {fr = 0, en = 1}")
    pretrain(change(file, "updates = 8", "updates = 1"))
    for name in ("model", "checkpoints/update-000001/model"):
        tokenizer = XLMTokenizer.from_pretrained(folder / "run" / name)
        assert tokenizer.lang2id == {"fr": 0, "en": 1}
        assert tokenizer.id2lang == {0: "fr", 1: "en"}
    # What a resumed run reads are its own weights, whatever the tokenizer says by now.
    change(file, "updates = 1", "updates = 2")
    said = io.StringIO()
    assert pretrain(file, resume=True, stream=said).update == 2
    assert "update-000001/model (its checkpoint)" in said.getvalue()
    assert "weights drawn" not in said.getvalue()


def test_causal_models_have_figures_per_word(folder: Path) -> None:
    pretrain(write_config(folder, CAUSAL))
    assert XLMWithLMHeadModel.from_pretrained(folder / "run" / "model").config.causal
    last = rows_of(folder / "run")[-1]
    per_word, per_token = (float(last[f"valid_en_clm_{kind}"]) for kind in ("word_ppl", "ppl"))
    assert per_word > per_token > 1  # a word has one token or two


def test_a_run_that_is_stopped_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a signal, in the middle of an interval: the same bits and the same rows at the end."""
    file = write_config(folder)
    whole = pretrain(file)
    expected = (folder / "run" / "model" / "model.safetensors").read_bytes()
    rows = rows_of(folder / "run")
    (folder / "run").rename(folder / "whole")
    evaluate = running.evaluate

    def interrupted(*given: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*given)

    monkeypatch.setattr(running, "evaluate", interrupted)
    assert main(["pretrain", str(file), "--quiet"]) == 130
    monkeypatch.undo()
    assert [path.name for path in (folder / "run" / "checkpoints").iterdir()] == ["update-000004"]
    ended = pretrain(file, resume=True)
    assert (ended.update, ended.tokens) == (whole.update, whole.tokens)
    assert (folder / "run" / "model" / "model.safetensors").read_bytes() == expected
    timed = {"seconds": "", "tokens_per_second": ""}
    assert [row | timed for row in rows_of(folder / "run")] == [row | timed for row in rows]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a system without /dev/full")
def test_a_standard_error_on_a_full_disk_ends_no_run(folder: Path) -> None:
    """Lines, warnings and errors are for nobody then; the exit code still says how it went."""
    file = change(write_config(folder), "warmup_updates = 4", "warmup_updates = 9")  # a warning
    command = [sys.executable, "-m", "conversion", "pretrain", str(file)]
    root = Path(__file__).resolve().parents[3]
    for expected in (0, 2):  # the second one finds the run of the first
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                command, stderr=full, env={**os.environ, "PYTHONPATH": str(root)}, timeout=300
            )
        assert done.returncode == expected
    assert "update 8: done" in (folder / "run" / "log.txt").read_text()


def test_a_dry_run_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_config(folder)
    before = sorted(folder.rglob("*"))
    assert main(["pretrain", str(file), "--dry-run"]) == 0
    assert sorted(folder.rglob("*")) == before
    text = capsys.readouterr().out
    for words in (
        "train en-fr: 40 sentences",
        "MLM-en: 4 rows of 8 positions, 100 % filled",
        "in 8 updates; passes: MLM-en",
        "parameters",
        "activations",
        "tokens/s",
        "nothing was written",
    ):
        assert words in text
    # However long, and with pairs that are left out.
    file = change(change(file, "updates = 8", f"updates = {10**15}"), "max_len = ", "max_len = 8 #")
    found = dry_run(file)
    assert found is not None
    assert found.updates == 10**15
    assert "pairs are left out, empty or too long" in found.text()
    assert found.memory["optimizer"] == 2 * found.memory["parameters"]
    # Parts of a batch are computed one after the other.
    file.write_text(file.read_text().replace("bptt = 8", "bptt = 8\nparts = 3"))
    in_parts = dry_run(file)
    assert in_parts is not None
    assert in_parts.tokens_per_update > 2.5 * found.tokens_per_update
    assert in_parts.memory["activations"] < 1.5 * found.memory["activations"]


def write_uneven_pairs(folder: Path) -> None:
    """Pairs of which a few are long: most batches are small."""
    tokenizer = XLMTokenizer.from_pretrained(folder / "tokenizer")
    for name in ("train.en", "train.fr"):
        (folder / name).unlink()  # a link
        with CorpusWriter(folder / name, tokenizer, [name[-2:]]) as corpus:
            for at in range(400):
                corpus.add([14 + at % 9] * (12 if at % 100 == 0 else 1 + at % 3))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_dry_run_trains_on_the_largest_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Though none of the first updates has them: memory is needed when they come."""
    write_uneven_pairs(folder)
    made: list[Update] = []
    next_of = TrainingRun._next

    def recorded(run: TrainingRun) -> Update:
        made.append(next_of(run))
        return made[-1]

    monkeypatch.setattr(TrainingRun, "_next", recorded)
    file = write_config(folder, 'mlm = ["en-fr"]\nmt = ["en-fr"]')
    text = re.sub("(?m)^(en|fr) = .*", "", file.read_text())
    file.write_text(text.replace("seed = 3", f"seed = {seed}"))
    found = dry_run(change(file, "updates = 8", "updates = 1000"))
    assert found is not None
    largest = {"TLM-en-fr": 4 * (2 * 12 + 4), "MT-en-fr": 4 * (2 * 12 + 3)}
    assert {shape.task: shape.most_tokens for shape in found.shapes} == largest
    assert "; the largest has 112 tokens" in found.text()
    tokens = {name: max(x.tokens for x in made if name in x.losses) for name in largest}
    assert tokens == largest
    # Of 4 pairs: 0.25 of 12 words, the others of 1 to 3.
    words = sum(2 * (12 if at % 100 == 0 else 1 + at % 3) for at in range(400))
    assert found.tokens_per_update == pytest.approx((words + 3.5 * 400) / 100)
    assert found.memory["framework"] > 0
    # A run that ends before they come does not need the memory for them.
    short = dry_run(change(file, "updates = 1000", "updates = 2"))
    assert short is not None
    assert short.memory["activations"] < found.memory["activations"]


@pytest.mark.parametrize("attention_dropout", [0.0, 0.1])
@pytest.mark.parametrize("objectives", ['mlm = ["en"]', 'mlm = ["en-fr"]', 'mt = ["en-fr"]'])
def test_what_layers_keep_is_estimated(
    folder: Path, objectives: str, attention_dropout: float
) -> None:
    file = change(write_config(folder, objectives), "emb_dim = 8", "emb_dim = 64")
    change(file, "n_layers = 1", f"n_layers = 3\nattention_dropout = {attention_dropout}")
    change(change(file, "batch_size = 4", "batch_size = 40"), "bptt = 8", "bptt = 32")
    config = TrainingConfig.from_toml(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of texts that fill little of a batch
        parts = set_up(config, TrainingData.open(config), "torch")
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    engine: Any = parts.engine
    weights = {x.untyped_storage().data_ptr() for x in engine.model.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        next(engine.updates())
    found = sum(size for place, size in kept.items() if place not in weights) / 4
    [batch] = parts.batches.global_batch(0)
    assert kept_numbers(batch, parts.model_config) == pytest.approx(found, rel=0.25)


def test_a_dry_run_measures_no_first_update() -> None:
    """Keras makes a graph for each kind of update, which takes a thousand times as long."""
    tasks = (*tasks_of("mlm", ["en", "fr", "en-fr"]), *tasks_of("mt", ["en-fr"]))
    made: list[str] = []

    def updates() -> Iterator[Any]:
        for number in itertools.count():
            task = tasks[number % len(tasks)]
            kind = f"{task.objective} {task.is_stream}"
            time.sleep(0.02 if kind not in made else 0)
            made.append(kind)
            yield SimpleNamespace(losses={task.name: 1.0}, tokens=10, predicted=2)

    parts: Any = SimpleNamespace(
        config=SimpleNamespace(tasks=tasks, optimizer=SimpleNamespace(accumulate=1)),
        batches=SimpleNamespace(schedule=SimpleNamespace(slots=[None] * len(tasks))),
        engine=SimpleNamespace(updates=updates),
        model_config=XLMConfig(vocab_size=10, emb_dim=4, n_layers=1, n_heads=1),
    )
    seconds, operations = measured(parts)
    assert seconds < 0.01
    assert operations > 0


def test_a_dry_run_measures_whole_iterations() -> None:
    """Translation takes longer than other tasks, and stands last in each iteration."""
    tasks = (*tasks_of("mlm", ["en", "fr"]), *tasks_of("mt", ["en-fr"]))
    tokens = {"MLM-en": 10, "MLM-fr": 10, "MT-en-fr": 40}
    made = [
        SimpleNamespace(losses={name: 1.0}, tokens=each, predicted=each)
        for name, each in tokens.items()
    ]
    config = XLMConfig(vocab_size=10, emb_dim=4, n_layers=1, n_heads=1)
    parts: Any = SimpleNamespace(
        config=SimpleNamespace(tasks=tasks, optimizer=SimpleNamespace(accumulate=1)),
        batches=SimpleNamespace(schedule=SimpleNamespace(slots=[None] * 3)),
        engine=SimpleNamespace(updates=lambda: itertools.cycle(made)),
        model_config=config,
    )
    seconds, operations = measured(parts)
    assert operations == pytest.approx(sum(operations_of(each, config) for each in made) / 3)
    assert seconds < 0.01


def test_a_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a pipe gives, and the rest of a file that changes while a model is made."""
    content = write_config(folder, MASKED).read_bytes()
    reads, writes = os.pipe()
    with os.fdopen(writes, "wb") as pipe:
        pipe.write(content)
    try:
        pretrain(Path(f"/dev/fd/{reads}"))
    finally:
        os.close(reads)
    assert (folder / "run" / "config.toml").read_bytes() == content


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("emb_dim = 8", "emb_dim = 9", r"9"),
        ("bptt = 8", "bptt = 80", "MLM-en needs 80 positions"),
        ("warmup_updates = 4", "warmup_update = 4", "Did you mean 'warmup_updates'"),
        ('valid.en"', 'valid.de"', r"data.valid.en: .*there is no .*valid.de"),
        ('output = "', 'output = "/dev/null/', "/dev/null"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, words: str
) -> None:
    file = change(write_config(folder), old, new)
    assert main(["pretrain", str(file), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("xlm pretrain: ")
    assert len(error.splitlines()) == 1
    assert re.search(words, error)
    assert not (folder / "run").exists()


def test_a_second_run_is_not_begun_in_the_folder_of_the_first(
    translated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = translated / "run.toml"
    with pytest.raises(XLMError, match="holds a run"):
        pretrain(file)
    assert main(["pretrain", str(file)]) == 2
    assert "go on with it by --resume, or give another name (output)" in capsys.readouterr().err
    other = translated / "other.toml"
    other.write_text(file.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(XLMError, match=r"seed is 4 and was 3"):
        pretrain(other, resume=True)


def test_a_run_has_its_folder_for_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a second run that looked at the folder before the first one began."""
    file = change(write_config(folder), "updates = 8", "updates = 2")
    run = RunFolder(folder / "run")
    with run.held():
        with pytest.raises(CheckpointError, match="run is in use: this process trains there"):
            pretrain(folder / "run.toml")
        with monkeypatch.context() as late:
            late.setattr(RunFolder, "check_free", lambda self: None)
            with pytest.raises(CheckpointError, match="in use"):
                pretrain(file)
        assert [entry.name for entry in run.path.iterdir()] == [".lock"]
    assert pretrain(file).update == 2
    run.check_free()


def test_a_text_in_another_order_is_another_text(folder: Path) -> None:
    file = change(write_config(folder), "updates = 8", "updates = 3")
    pretrain(file)
    tokenizer = XLMTokenizer.from_pretrained(folder / "tokenizer")
    sentences = [*Corpus.open(folder / "train.en", tokenizer)]
    (folder / "train.en").unlink()  # a link
    with CorpusWriter(folder / "train.en", tokenizer, ["en"]) as corpus:
        for sentence in reversed(sentences):
            corpus.add(sentence.tolist())
    run = folder / "run"
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    change(file, "updates = 3", "updates = 4")
    with pytest.raises(
        XLMError, match=r"data.train.en was '.*; data.train.en-fr \(en\) was '[^;]*$"
    ):
        pretrain(file, resume=True)
    with pytest.raises(XLMError, match=r"of another run: data.train.en was"):
        dry_run(file, resume=True)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_damaged_model_of_a_checkpoint_names_older_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = change(write_config(folder), "save_every = 3", "save_every = 3\nkeep = 3")
    pretrain(file)
    saved = folder / "run" / "checkpoints"
    weights = saved / "update-000008" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    words = (
        "There are older ones, update-000003, update-000006: move update-000008 away, and --resume "
        "goes on from the last of them."
    )
    for more in ([], ["--dry-run"]):
        assert main(["pretrain", str(file), "--resume", *more]) == 2
        assert words in capsys.readouterr().err
    (saved / "update-000008").rename(folder / "moved")
    assert pretrain(file, resume=True).update == 8


def test_a_run_and_a_dry_run_say_where_they_may_not_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_config(folder)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)  # root may anywhere
    for command in (dry_run, pretrain):
        with pytest.raises(CheckpointError, match=f"{folder} may not be written to: "):
            command(file)
    assert not (folder / "run").exists()


def test_nan_ends_a_run_and_keeps_its_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = change(write_config(folder), "learning_rate = 0.01", "learning_rate = 1e30")
    file = change(file, "warmup_updates = 4", "warmup_updates = 4\nclip_grad_norm = 0.0")
    assert main(["pretrain", str(file), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert "learning rate" in error
    assert "checkpoint" in error
    log = (folder / "run" / "log.txt").read_text().splitlines()
    assert error.strip().removeprefix("xlm pretrain: ")[:60] in log[-1]
    assert "<b>FAILED</b>" in (folder / "run" / "curves.html").read_text()


def test_a_share_of_the_machine_is_counted() -> None:
    config = XLMConfig(vocab_size=100, emb_dim=8, n_layers=2, n_heads=2)
    update = Update(0, {"MLM-en": 1.0}, 3, 10, 0.1, None)
    assert operations_of(update, config) == 6 * (2 * 12 * 64 * 10 - 9 * 64 * 7 + 8 * 100 * 3)
    mt = Update(0, {"MT-en-fr": 1.0}, 3, 10, 0.1, None)
    assert operations_of(mt, config) == 6 * (2 * 14 * 64 * 10 + 8 * 100 * 3)
    assert fastest_product("torch", torch, "float32") > 1e8
