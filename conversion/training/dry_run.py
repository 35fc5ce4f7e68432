"""`xlm pretrain --dry-run`: what a run would do, measured on its first batches."""

from __future__ import annotations

import datetime
import math
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conversion.opening.models import framework_of
from conversion.training.machine import fastest_of_all, operations_of
from conversion.training.setup import RunParts, lost_processes_named, set_up
from xlm_core.corpus import Corpus
from xlm_core.objectives import Batch, Pairs
from xlm_core.objectives.batch import pieces
from xlm_core.training.checkpoints import RunFolder
from xlm_core.training.config import TrainingConfig
from xlm_core.training.data import TrainingData
from xlm_core.training.main_rank import write_on_main

# Global batches that are looked at at least, updates that are measured at least, and made at most.
_LOOKED_AT, _MEASURED, _MOST_UPDATES = 20, 3, 40
_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# Numbers that a layer keeps of each token for the way back, in widths of the model: what goes into
# its seven products and two normalisations, and out of its activation and its dropouts.
_KEPT = 20
# Bytes of logits that are kept for the way back at most: beyond, they are computed twice.
_KEPT_LOGITS = 2**28
# Updates whose draws of languages are counted; those of longer runs are in proportion.
_COUNTED = 1_000_000
# The most seconds that a length of time holds.
_LONGEST = datetime.timedelta.max.total_seconds() // 1


@dataclass(frozen=True)
class Shapes:
    """The first batches of a task.

    Attributes:
        task: Its name.
        rows, columns: The least and the most of them.
        fill: Share of the positions that are no padding.
        predicted: Labels a batch, the mean.
    """

    task: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    fill: float
    predicted: float

    @classmethod
    def of(cls, task: str, batches: Sequence[Batch]) -> Shapes:
        """Those of some batches."""
        rows = [len(batch) for batch in batches]
        columns = [batch.input_ids.shape[1] for batch in batches]
        positions = sum(batch.input_ids.size for batch in batches)
        read = sum(int(batch.lengths.sum()) for batch in batches)
        predicted = sum(batch.predicted for batch in batches) / len(batches)
        return cls(
            task,
            (min(rows), max(rows)),
            (min(columns), max(columns)),
            read / max(positions, 1),
            predicted,
        )

    def text(self) -> str:
        """A line."""
        return (
            f"{self.task}: {_range(self.rows)} rows of {_range(self.columns)} positions, "
            f"{100 * self.fill:.0f} % filled, {self.predicted:,.0f} labels"
        )


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        start: What the weights start from, in lines.
        parameters: Number of weights.
        texts: Sentences and tokens of each corpus, in lines.
        shapes: Of the first batches of each task.
        tokens_per_update: Over all ranks, the mean.
        updates, tokens: Of the whole run.
        passes: Over each task's text, in the whole run.
        memory: Bytes by what they are for, estimated, of one rank.
        peak: Bytes that this process took at most; on an accelerator, of its memory.
        seconds_per_update: Measured.
        share: Of the fastest products of matrices that the machine can do.
    """

    start: str
    parameters: int
    texts: list[str]
    shapes: list[Shapes]
    tokens_per_update: float
    updates: int
    tokens: int
    passes: dict[str, float]
    memory: dict[str, int]
    peak: int
    seconds_per_update: float
    share: float

    def text(self) -> str:
        """All of it, in lines."""
        seconds = min(self.updates * self.seconds_per_update, _LONGEST)
        whole = datetime.timedelta(seconds=round(seconds))
        speed = self.tokens_per_update / self.seconds_per_update
        passes = ", ".join(f"{name} {value:.2f}" for name, value in self.passes.items())
        memory = ", ".join(f"{name} {_megabytes(size)}" for name, size in self.memory.items())
        reads = (
            f"an update reads {self.tokens_per_update:,.0f} tokens, the run {self.tokens:,} in "
            f"{self.updates:,} updates; passes: {passes}"
        )
        takes = (
            f"an update takes {self.seconds_per_update:.3g} s, {speed:,.0f} tokens/s, "
            f"{100 * self.share:.0f} % of the fastest products: the run {whole}, without "
            "evaluations"
        )
        needs = (
            f"memory of one rank, about {_megabytes(sum(self.memory.values()))}: {memory}; "
            f"at its peak so far {_megabytes(self.peak)}, framework and all"
        )
        return "\n".join(
            [
                *self.texts,
                f"{self.parameters:,} parameters",
                *([self.start] if self.start else []),
                *(shape.text() for shape in self.shapes),
                reads,
                needs,
                takes,
                "nothing was written",
            ]
        )


def dry_run(
    config_file: str | os.PathLike[str], *, framework: str | None = None, resume: bool = False
) -> DryRun | None:
    """Do what a run does before its first checkpoint, and say how it went.

    Args:
        config_file, framework, resume: As in `pretrain`.

    Returns:
        What was found; None on other ranks than the main one.

    Raises:
        XLMError: As `pretrain`.
    """
    config = TrainingConfig.from_toml(Path(config_file))
    folder = RunFolder(config.output)
    found = folder.check(config, resume=resume)
    data = TrainingData.open(config)
    with folder.naming_older(found):
        parts = set_up(config, data, framework_of(framework), resumed=found)
    engine = parts.engine
    shapes, tokens_each, largest = _first_batches(parts)
    with lost_processes_named(engine):
        write_on_main(engine, folder.check_writable)
        seconds, operations = measured(parts)
        fastest = fastest_of_all(engine, parts.framework, parts.library, config.precision)
        peak = int(max(engine.of_all_ranks(_peak(parts))))
    if not engine.is_main:
        return None
    duration = config.duration
    number = duration.updates or -(-(duration.tokens or 0) // max(int(tokens_each), 1))
    return DryRun(
        start=parts.start,
        parameters=parts.parameters,
        texts=_texts(parts),
        shapes=shapes,
        tokens_per_update=tokens_each,
        updates=number,
        tokens=duration.tokens or round(number * tokens_each),
        passes=_passes(parts, number),
        memory=_memory(parts, largest),
        peak=peak,
        seconds_per_update=seconds,
        share=operations / seconds / fastest,
    )


def _passes(parts: RunParts, updates: int) -> dict[str, float]:
    counted = min(updates, _COUNTED)
    return {name: value * updates / counted for name, value in parts.passes(counted).items()}


def measured(parts: RunParts) -> tuple[float, float]:
    """Seconds and operations of an update, the mean.

    The first update of a kind, or of several together, does not count: it makes graphs. Whole
    iterations over the tasks are measured, which take different times.
    """
    kinds = {task.name: (task.objective, task.is_stream) for task in parts.config.tasks}
    steps = len(parts.batches.schedule.slots)
    iteration = steps // math.gcd(steps, parts.config.optimizer.accumulate)
    seen: set[frozenset[tuple[str, bool]]] = set()
    times: list[float] = []
    operations: list[float] = []
    updates = parts.engine.updates()
    for _ in range(_MOST_UPDATES):
        begin = time.perf_counter()
        update = next(updates)
        seconds = time.perf_counter() - begin
        mixture = frozenset(kinds[name] for name in update.losses)
        if mixture not in seen:  # whole iterations begin behind the last of the firsts
            seen.add(mixture)
            times, operations = [], []
            continue
        times.append(seconds)
        operations.append(operations_of(update, parts.model_config))
        whole = len(times) % iteration == 0
        if len(times) >= _MEASURED and whole and frozenset().union(*seen) >= {*kinds.values()}:
            break
    if not times:  # all of them were firsts, of tasks as many
        times, operations = [seconds], [operations_of(update, parts.model_config)]
    return sum(times) / len(times), sum(operations) / len(operations)


@dataclass(frozen=True)
class _Largest:
    """What the largest forward pass of a rank has: tokens, and labels."""

    tokens: int
    labels: int


def _first_batches(parts: RunParts) -> tuple[list[Shapes], float, _Largest]:
    """Shapes of each task's batches, tokens an update, and the largest pass."""
    found: dict[str, list[Batch]] = {task.name: [] for task in parts.config.tasks}
    iteration = len(parts.batches.schedule.slots)
    looked_at = -(-_LOOKED_AT // iteration) * iteration  # whole ones: their steps differ
    for step in range(looked_at):
        for batch in parts.batches.global_batch(step):
            found[batch.task.name].append(batch)
    whole = [batch for batches in found.values() for batch in batches]
    each = sum(batch.tokens for batch in whole) / looked_at * parts.config.optimizer.accumulate
    # Each rank has its rows of every part, one after the other.
    own = [batch.rows(*pieces(len(batch), parts.engine.ranks)[-1]) for batch in whole]
    largest = _Largest(max(batch.tokens for batch in own), max(batch.predicted for batch in own))
    return [Shapes.of(name, batches) for name, batches in found.items() if batches], each, largest


def _texts(parts: RunParts) -> list[str]:
    data = parts.data
    lines: list[str] = []
    for split in ("train", "valid", "test"):
        read: list[tuple[str, tuple[Corpus, ...]]] = [
            (name, (corpus,)) for name, corpus in data.corpora[split].items()
        ]
        read += [("-".join(names), both) for names, both in data.pairs[split].items()]
        for name, corpora in read:
            tokens = " and ".join(f"{corpus.info.tokens:,}" for corpus in corpora)
            lines.append(f"{split} {name}: {len(corpora[0]):,} sentences, {tokens} tokens")
    for (first, second), both in data.pairs["train"].items():
        if left_out := Pairs(*both, parts.config.batches.max_len).left_out:
            lines.append(f"{first}-{second}: {left_out:,} pairs are left out, empty or too long")
    return lines


def _memory(parts: RunParts, largest: _Largest) -> dict[str, int]:
    """Bytes of one rank, estimated, by what they are for."""
    config, model = parts.config, parts.model_config
    weights = parts.parameters * (8 if config.precision == "float64" else 4)
    shards = parts.engine.ranks if config.parallel == "fsdp" else 1
    layers = model.n_layers
    if model.is_encoder_decoder:
        layers = max(model.encoder_layers or layers, model.decoder_layers or layers)
    kept = largest.tokens * layers * model.emb_dim * _KEPT * _BYTES[config.precision]
    logits = largest.labels * model.vocab_size * (8 if config.precision == "float64" else 4)
    return {
        "parameters": weights,
        "gradients": weights,
        "optimizer": 0 if config.optimizer.name == "sgd" else 2 * weights // shards,
        "activations": int(kept),
        "logits": min(logits, _KEPT_LOGITS),
    }


def _peak(parts: RunParts) -> float:
    if parts.framework == "torch" and parts.library.cuda.is_available():
        return float(parts.library.cuda.max_memory_allocated())
    config = parts.library.config if parts.framework == "tf" else None
    if config is not None and config.list_physical_devices("GPU"):
        return float(config.experimental.get_memory_info("GPU:0")["peak"])
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(found if sys.platform == "darwin" else 1024 * found)


def _range(numbers: tuple[int, int]) -> str:
    least, most = numbers
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _megabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
