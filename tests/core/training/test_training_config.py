"""The file of a training run: what it says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from xlm_core.errors import ConfigError
from xlm_core.training.config import TrainingConfig

FILE = """
output = "run"
tokenizer = "tok"
seed = 3
[model]
emb_dim = 64
[objectives]
mlm = ["en", "en-fr"]
mt = ["fr-en"]
[data.train]
en = "train.en"
en-fr = ["train.en-fr.en", "train.en-fr.fr"]
[data.valid]
en = "valid.en"
fr-en = ["valid.fr", "valid.en"]
[batches]
tokens_per_batch = 2000
[optimizer]
learning_rate = 1
[duration]
updates = 10
[stopping]
criterion = "valid_en_mlm_ppl"
"""


def read(tmp_path: Path, text: str) -> TrainingConfig:
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    return TrainingConfig.from_toml(tmp_path / "run.toml")


def test_a_file_says_it_all(tmp_path: Path) -> None:
    config = read(tmp_path, FILE)
    assert [task.name for task in config.tasks] == ["MLM-en", "TLM-en-fr", "MT-fr-en"]
    assert config.batches.tokens_per_batch == 2000
    assert config.batches.bptt == 256
    assert config.optimizer.learning_rate == 1.0
    assert config.optimizer.betas == [0.9, 0.999]
    assert config.figures() == [
        *("valid_en_mlm_ppl", "valid_en_mlm_acc", "valid_en_fr_mlm_ppl", "valid_en_fr_mlm_acc"),
        *("valid_fr-en_mt_ppl", "valid_fr-en_mt_acc", "valid_fr-en_mt_bleu"),
        *("valid_mlm_ppl", "valid_mlm_acc"),
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = 3", "sede = 3", r"sede is unknown.*Did you mean 'seed'"),
        ("seed = 3", 'seed = "3"', "seed is '3': expected a whole number"),
        ("[duration]", "[duration]\nupdate = 3", r"duration.update is unknown.*'updates'"),
        ("updates = 10", "", "duration needs updates or tokens"),
        ("updates = 10", "updates = 0", "duration.updates is 0: expected a positive whole number"),
        ("updates = 10", "updates = 99999999999999999999", "updates is 9+: expected at most"),
        ("updates = 10", "tokens = 99999999999999999999", "tokens is 9+: expected at most"),
        ('output = "run"', "", "output is missing"),
        ('mlm = ["en", "en-fr"]', 'mlm = ["en", "de"]', "MLM-de has no text to train on"),
        ('mlm = ["en", "en-fr"]', 'mlm = "en"', "expected a list of languages"),
        ('mlm = ["en", "en-fr"]', 'ae = ["en"]', "denoising"),
        ('mlm = ["en", "en-fr"]', 'mlm = ["en-fr"]\ntlm = ["en-fr"]', "given twice: TLM-en-fr"),
        ('mlm = ["en", "en-fr"]', 'mlm = ["zh-tw"]', "TLM-zh-tw has no text .*zh-tw as zh_tw"),
        ('mlm = ["en", "en-fr"]', 'mlm = ["zh-tw-en"]', "'zh-tw-en': expected .*zh-tw as zh_tw"),
        ('en = "train.en"', 'zh-tw = "train.zh"', "two corpora of a pair.*zh-tw as zh_tw"),
        ("tokens_per_batch = 2000", "batchsize = 3", "batches has batch_size.*'batch_size'"),
        ("tokens_per_batch = 2000", "batch_size = 2147483648", "expected at most 2147483647"),
        ("tokens_per_batch = 2000", "batch_size = 2\ntokens_per_batch = 9", "both in sentences"),
        ('en = "train.en"', 'en = ["train.en"]', "data.train.en is .* expected one corpus"),
        ("valid_en_mlm_ppl", "valid_fr_mlm_ppl", "no evaluation of this run computes"),
        ("[data.valid]", "[data.valid]\n[unread]", "unread is unknown: the file has output"),
        ("[data.valid]\n", "[data.valid]\nxx = 'c'\n[model.x]\n", "have no text of its tasks"),
        ("[duration]", "[duration]\nevaluate_every = 0", "duration.evaluate_every is 0"),
        ("[duration]", "[duration]\ninterval_unit = 'token'", "Did you mean 'tokens'"),
        ("[duration]", "[duration]\ninterval_unit = 'tokens'", "evaluate_every is missing"),
        ("seed = 3", "readers = -1", "readers is -1"),
        ("[model]\nemb_dim = 64", "", "neither start nor model"),
        ("learning_rate = 1", "learning_rate = -1", "learning_rate is -1.0: expected .* above 0"),
        ("learning_rate = 1", "learning_rate = nan", "learning_rate is nan"),
        ("learning_rate = 1", "eps = 0", "optimizer.eps is 0.0: expected a number above 0"),
        ("learning_rate = 1", "betas = [0.9, 1.0]", "betas is .* from 0 and below 1"),
        ("learning_rate = 1", 'betas = ["a", "b"]', "expected two numbers"),
        ("learning_rate = 1", "weight_decay = -0.1", "weight_decay is -0.1: expected .* from 0"),
        ("learning_rate = 1", "clip_grad_norm = inf", "clip_grad_norm is inf"),
        ("learning_rate = 1", "warmup_updates = 0", "warmup_updates is 0"),
        ("[stopping]", "[stopping]\npatience = -1", "stopping.patience is -1"),
        ("seed = 3", "seed = -3", "seed is -3: expected a whole number from 0"),
        ("seed = 3", "seed = 4294967296", "seed is 4294967296: .* to 4294967295"),
        ('output = "run"', 'output = ""', "output is empty"),
        ('en = "train.en"', 'en = ""', "data.train.en is '': expected one corpus"),
        ("[data.valid]", 'fr-en = ["b", "a"]\n[data.valid]', "en-fr and fr-en: a pair serves both"),
        ("learning_rate = 1", "learning_rate = 1e-9", "1e-09: expected .*warmup_init_lr, 1e-07"),
        ("learning_rate = 1", 'name = "adamw2"', "Did you mean 'adamw'"),
        ("[model]", '[start]\nmodel = "a"\nencoder = "b"\n[model]', "model and encoder"),
        ("learning_rate = 1", 'name = "adam_inverse_sqr"', "Did you mean 'adam_inverse_sqrt'"),
        ("[model]", '[start]\nmatch = "words"\n[model]', "start names no checkpoint: give"),
        ("[model]", '[start]\nmodel = ""\n[model]', "start.model is empty"),
        ("learning_rate = 1", f"learning_rate = 1{'0' * 400}", "learning_rate is too large"),
        ("tokens_per_batch = 2000", f"tokens_per_batch = 1{'0' * 400}", "expected at most"),
        ("tokens_per_batch = 2000", f"sample_alpha = 1{'0' * 400}", "too large|at most"),
        (
            "learning_rate = 1",
            f"warmup_updates = 1{'0' * 400}",
            "warmup_updates is 10+: .* at most",
        ),
        ("learning_rate = 1", "accumulate = 2147483648", "accumulate is 2147483648: .* at most"),
        ('output = "run"', 'output = "run\\u0000"', r"output is 'run\\x00': expected the path"),
        ('mt = ["fr-en"]', 'clm = ["en"]\nmt = ["fr-en"]', "clm and mt: an encoder-decoder"),
        (
            'mt = ["fr-en"]\n',
            '[start]\nencoder = "a"\ndecoder = "b"\n',
            "start.encoder and start.decoder make .* trained by mt alone: give start.model",
        ),
        ("seed = 3", f"seed = {'9' * 5000}", "is no TOML"),
        ("seed = 3", "seed = ", "is no TOML"),
        ("seed = 3", f"seed = {'[' * 5000}", "is no TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in FILE
    with pytest.raises(ConfigError, match=words):
        read(tmp_path, FILE.replace(old, new))


def test_whole_numbers_are_numbers(tmp_path: Path) -> None:
    """PyTorch's AdamW takes no others than floats."""
    betas = read(tmp_path, FILE.replace("learning_rate = 1", "betas = [0, 0.98]")).optimizer.betas
    assert betas == [0.0, 0.98]
    assert [type(beta) for beta in betas] == [float, float]


def test_rates_that_do_not_rise(tmp_path: Path) -> None:
    """A warm-up may stay where it begins; what has none begins at its rate."""
    for rates in ("learning_rate = 1e-7", 'learning_rate = 1e-9\nname = "adam"'):
        assert read(tmp_path, FILE.replace("learning_rate = 1", rates)).optimizer


def test_a_mark_of_byte_order_is_no_text(tmp_path: Path) -> None:
    assert read(tmp_path, f"\ufeff{FILE}").seed == 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml cannot be read"):
        TrainingConfig.from_toml(tmp_path / "absent.toml")
