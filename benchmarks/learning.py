"""Does it learn: MLM and TLM on real text for a fixed time, beside transformers in a plain loop.

    python -m benchmarks.learning --folder RUNS prepare
    python -m benchmarks.learning --folder RUNS --minutes 30 torch
    python -m benchmarks.learning --folder RUNS --minutes 30 tf
    python -m benchmarks.learning --folder RUNS --minutes 30 transformers
    python -m benchmarks.learning --folder RUNS report

`prepare` takes English, French and Spanish of ../shared/data/pydocs and lohelp, every 20th of the
files for evaluation, and makes vocabulary and corpora by the commands of the project. All sides
start from the same weights, have as many tokens in a batch and one schedule of learning rates. The
project's train on its batches (streams, and pairs of similar length) by the engine of `xlm
pretrain`; transformers' model in a plain loop over shuffled texts and pairs, of similar length in
a batch, by its own sampler and collator and PyTorch's AdamW, with the positions of TLM. `report`
evaluates all of them by the same code on the same batches: running text and pairs as the project
evaluates them, and single texts as the loop is trained on them. Run one side at a time, with the
machine to itself. `--learning-rate` and `--warmup-updates` are for other settings of a side.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import math
import subprocess
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xlm_core.config import XLMConfig
from xlm_core.training.config import TrainingConfig
from xlm_core.training.data import TrainingData

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
SOURCES = ("pydocs/pydocs.tsv.xz", "lohelp/lohelp.tsv.xz")
LANGUAGES, PAIRS = ("en", "fr", "es"), (("en", "fr"), ("en", "es"))
MERGES, TOKENS, LONGEST = 8000, 2048, 128
LEARNING_RATE, WARMUP, CLIP = 3e-3, 300, 5.0
SIDES = ("torch", "tf", "transformers")
CONFIG = f"""
output = "{{folder}}/run"
tokenizer = "{{folder}}/tokenizer"

[objectives]
mlm = ["en", "fr", "es", "en-fr", "en-es"]

[model]
emb_dim = 128
n_layers = 4
n_heads = 4
max_position_embeddings = 512
dropout = 0.0
attention_dropout = 0.0

[batches]
tokens_per_batch = {TOKENS}
bptt = {LONGEST}
max_len = 100

[optimizer]
learning_rate = {LEARNING_RATE}
warmup_updates = {WARMUP}
betas = [0.9, 0.98]
clip_grad_norm = {CLIP}

[duration]
updates = 100000000
"""


# -- texts -----------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Texts, vocabulary, corpora and the file of the run."""
    texts = folder / "texts"
    texts.mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = defaultdict(list)
    for source in SOURCES:
        for row in rows_of(DATA / source):
            split = "valid" if zlib.crc32(row["file"].encode()) % 20 == 0 else "train"
            for language in LANGUAGES:
                if row[language]:
                    lines[f"{split}.{language}"].append(row[language])
            for pair in PAIRS:
                if all(row[language] for language in pair):
                    for language in pair:
                        lines[f"{split}.{'-'.join(pair)}.{language}"].append(row[language])
    for name, found in lines.items():
        (texts / name).write_text("\n".join(found) + "\n", encoding="utf-8")
    training = [f"{language}={texts}/train.{language}" for language in LANGUAGES]
    codes, tokenizer = str(folder / "codes"), str(folder / "tokenizer")
    command("learn-bpe", "-o", codes, "--merges", str(MERGES), *training)
    command("build-vocab", codes, "-o", tokenizer, *training)
    for name in lines:
        to = str(folder / "corpora" / name)
        given = ["--lang", name[-2:], "--to", "corpus", "-o", to]
        command("tokenize", tokenizer, str(texts / name), *given)
    write_config(folder)


def write_config(folder: Path) -> None:
    """The file of the run."""
    text = CONFIG.format(folder=folder)
    for split in ("train", "valid"):
        text += f"\n[data.{split}]\n"
        corpora = folder / "corpora"
        for language in LANGUAGES:
            text += f'{language} = "{corpora}/{split}.{language}"\n'
        for pair in map("-".join, PAIRS):
            both = [f"{corpora}/{split}.{pair}.{language}" for language in pair.split("-")]
            text += f"{pair} = {json.dumps(both)}\n"
    (folder / "run.toml").write_text(text, encoding="utf-8")


def rows_of(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a compressed table, by the names of its columns."""
    with lzma.open(path, "rt", encoding="utf-8", newline="\n") as file:
        names = next(file).rstrip("\n").split("\t")
        for line in file:
            yield dict(zip(names, line.rstrip("\n").split("\t"), strict=True))


def command(*arguments: str) -> None:
    """Run `xlm` with these arguments."""
    subprocess.run([sys.executable, "-m", "conversion", *arguments, "--overwrite"], check=True)


# -- training --------------------------------------------------------------------------------------


def config_of(folder: Path, learning_rate: float, warmup: int) -> TrainingConfig:
    """The file of the run, with these settings."""
    config = TrainingConfig.from_toml(folder / "run.toml")
    optimizer = replace(config.optimizer, learning_rate=learning_rate, warmup_updates=warmup)
    return replace(config, optimizer=optimizer)


def train_ours(folder: Path, framework: str, seconds: float, config: TrainingConfig) -> None:
    """By the engine that `xlm pretrain` uses."""
    from conversion.training.setup import set_up

    engine = set_up(config, TrainingData.open(config), framework).engine
    clock = Clock(seconds)
    for update in engine.updates():
        mean = sum(update.losses.values()) / len(update.losses)
        if clock.is_over(mean, update.tokens):
            break
    clock.write(folder / framework, config)
    engine.save_model(folder / framework / "model")


def train_transformers(folder: Path, seconds: float, config: TrainingConfig) -> None:
    """What transformers' users write: its model, its collator, PyTorch's AdamW."""
    import torch
    from transformers import (
        DataCollatorForLanguageModeling,
        XLMTokenizer,
        XLMWithLMHeadModel,
        get_inverse_sqrt_schedule,
    )
    from transformers.trainer_pt_utils import LengthGroupedSampler

    data = TrainingData.open(config)
    start_of(config, data, folder / "start")
    model = XLMWithLMHeadModel.from_pretrained(folder / "start").train()
    torch.manual_seed(config.seed)
    tokenizer = XLMTokenizer.from_pretrained(folder / "tokenizer")
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    examples = examples_of(data)
    lengths = [len(each["input_ids"]) for each in examples]

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        made = dict(collator([{"input_ids": each["input_ids"]} for each in batch]))
        for name in ("langs", "position_ids"):
            made[name] = torch.zeros_like(made["input_ids"])
            for row, each in zip(made[name], batch, strict=True):
                row[: len(each[name])] = torch.tensor(each[name])
        made["attention_mask"] = made["input_ids"] != tokenizer.pad_token_id
        return made

    size = round(TOKENS / (sum(lengths) / len(lengths)))
    sampler = LengthGroupedSampler(size, lengths=lengths)
    loader: Any = torch.utils.data.DataLoader(
        examples,  # type: ignore[arg-type]
        batch_size=size,
        sampler=sampler,
        collate_fn=collate,
    )
    rate, warmup = config.optimizer.learning_rate, config.optimizer.warmup_updates
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    schedule = get_inverse_sqrt_schedule(optimizer, warmup, timescale=warmup)
    clock = Clock(seconds)
    for batch in itertools.chain.from_iterable(itertools.repeat(loader)):
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if clock.is_over(float(loss.detach()), int(batch["attention_mask"].sum())):
            break
    clock.write(folder / "transformers", config)
    model.save_pretrained(folder / "transformers" / "model")


def start_of(config: TrainingConfig, data: TrainingData, folder: Path) -> None:
    """Write the weights that our runs start from, in a form that transformers opens."""
    from xlm_torch.training import start_model

    model, _ = start_model(config, data)
    model.save_pretrained(folder)


def examples_of(data: TrainingData) -> list[dict[str, list[int]]]:
    """Each text, and each pair with its two sentences in one row: ids, languages, positions."""
    eos, found = data.model_config().eos_index, []
    for language, ids in texts_of(data, "train"):
        langs = [data.lang2id[language]] * len(ids)
        found.append({"input_ids": ids, "langs": langs, "position_ids": [*range(len(ids))]})
    for languages, corpora in data.pairs["train"].items():
        for at in range(len(corpora[0])):
            row: dict[str, list[int]] = {"input_ids": [], "langs": [], "position_ids": []}
            for language, corpus in zip(languages, corpora, strict=True):
                ids = [eos, *corpus[at].tolist()[:100], eos]
                row["input_ids"] += ids
                row["langs"] += [data.lang2id[language]] * len(ids)
                row["position_ids"] += range(len(ids))
            found.append(row)
    return found


def texts_of(data: TrainingData, split: str) -> Iterator[tuple[str, list[int]]]:
    """Language and ids of each text, framed."""
    eos = data.model_config().eos_index
    for language, corpus in data.corpora[split].items():
        for at in range(len(corpus)):
            yield language, [eos, *corpus[at].tolist()[: LONGEST - 2], eos]


class Clock:
    """Ends a run when its time is over, and keeps what happened.

    Args:
        seconds: Of the run, from here on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self.start = seconds, time.perf_counter()
        self.losses: list[float] = []
        self.tokens = 0

    def is_over(self, loss: float, tokens: int) -> bool:
        """Count one update; whether it was the last."""
        self.losses.append(loss)
        self.tokens += tokens
        passed = time.perf_counter() - self.start
        if len(self.losses) % 50 == 0:
            mean = np.mean(self.losses[-50:])
            print(f"{passed:6.0f} s, update {len(self.losses)}, loss {mean:.3f}", flush=True)
        return passed > self.seconds

    def write(self, folder: Path, config: TrainingConfig) -> None:
        """Write what happened."""
        folder.mkdir(parents=True, exist_ok=True)
        found = {
            "learning_rate": config.optimizer.learning_rate,
            "warmup_updates": config.optimizer.warmup_updates,
            "seconds": time.perf_counter() - self.start,
            "updates": len(self.losses),
            "tokens": self.tokens,
            "losses": self.losses,
        }
        (folder / "training.json").write_text(json.dumps(found) + "\n")


# -- report ----------------------------------------------------------------------------------------


def report(folder: Path) -> None:
    """Evaluate all models that are there by the same code, and print them side by side."""
    config = TrainingConfig.from_toml(folder / "run.toml")
    data = TrainingData.open(config)
    sides = [side for side in SIDES if (folder / side / "model").is_dir()]
    if not sides:
        sys.exit(f"{folder} holds no run yet: give one of {', '.join(SIDES)} first.")
    figures = {side: evaluated(folder / side / "model", data) for side in sides}
    for side in sides:
        found = json.loads((folder / side / "training.json").read_text())
        rate = found["tokens"] / found["seconds"]
        print(
            f"{side}: {found['updates']} updates, {found['tokens']:,} tokens in "
            f"{found['seconds']:.0f} s ({rate:,.0f} a second), learning rate "
            f"{found['learning_rate']:g} after {found['warmup_updates']} updates"
        )
    print("\nperplexity, masked accuracy (%)\n" + " " * 12 + "".join(f"{x:>20}" for x in sides))
    for task in figures[sides[0]]:
        cells = [f"{figures[side][task][0]:11.2f} {figures[side][task][1]:8.2f}" for side in sides]
        print(f"{task:12}" + "".join(cells))
    for side in sides if "transformers" in sides else ():
        theirs = figures["transformers"]
        less = [task for task in theirs if figures[side][task][1] < theirs[task][1]]
        if side != "transformers":
            print(f"{side}, at least transformers' accuracy: {f'NOT in {less}' if less else 'met'}")
    (folder / "report.json").write_text(json.dumps(figures, indent=1) + "\n")


def evaluated(model: Path, data: TrainingData) -> dict[str, tuple[float, float]]:
    """Perplexity and accuracy of each task: a model of any side, in PyTorch."""
    import torch

    from xlm_torch import XLMWithLMHeadModel
    from xlm_torch.training import tensors_of

    opened = XLMWithLMHeadModel.from_pretrained(model, dtype=torch.float32).eval()
    config = data.model_config()
    found = {}
    for name, batches in itertools.chain(
        (
            (task.name, map(tensors_of, batches))
            for task, batches in data.evaluation(config, "valid")
        ),
        (single_texts(config, data, language) for language in LANGUAGES),
    ):
        loss = predicted = correct = 0.0
        for tensors in batches:
            with torch.inference_mode():
                output = opened(**tensors)
            counted = tensors["labels"] != -100
            labels = tensors["labels"][counted]
            loss += float(output.loss) * len(labels)
            predicted += len(labels)
            correct += int((output.logits[counted].argmax(-1) == labels).sum())
        found[name] = (math.exp(loss / predicted), 100 * correct / predicted)
    return found


def single_texts(
    config: XLMConfig, data: TrainingData, language: str
) -> tuple[str, Iterator[dict[str, Any]]]:
    """Texts of a language, each a row, masked as in training."""
    from xlm_torch.training import ObjectiveCollator

    collator = ObjectiveCollator(config, "mlm", language, seed=0)
    texts = sorted((ids for own, ids in texts_of(data, "valid") if own == language), key=len)
    rows = [{"input_ids": ids, "index": at} for at, ids in enumerate(texts)]
    batches = (collator(rows[at : at + 32]) for at in range(0, len(rows), 32))
    return f"texts-{language}", batches


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("do", choices=["prepare", *SIDES, "report"])
    parser.add_argument("--folder", type=Path, required=True, help="of texts, runs and results")
    parser.add_argument("--minutes", type=float, default=30, help="of training, for a side")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE, help="of a side")
    parser.add_argument("--warmup-updates", type=int, default=WARMUP, help="of a side")
    options = parser.parse_args()
    folder, seconds = options.folder.resolve(), 60 * options.minutes
    if options.do == "prepare":
        prepare(folder)
    elif options.do == "report":
        report(folder)
    else:
        config = config_of(folder, options.learning_rate, options.warmup_updates)
        if options.do == "transformers":
            train_transformers(folder, seconds, config)
        else:
            train_ours(folder, options.do, seconds, config)


if __name__ == "__main__":
    main()
