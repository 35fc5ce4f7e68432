"""`xlm pretrain --dry-run`: what a run would do, measured on its first and largest batches."""

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
from xlm_core.config import XLMConfig
from xlm_core.corpus import Corpus
from xlm_core.objectives import Batch, Pairs, Task
from xlm_core.objectives.batch import pieces
from xlm_core.training.checkpoints import RunFolder
from xlm_core.training.config import TrainingConfig
from xlm_core.training.data import TrainingData
from xlm_core.training.main_rank import write_on_main

# Global batches that are looked at at least, updates that are measured at least, and made at most.
_LOOKED_AT, _MEASURED, _MOST_UPDATES = 20, 3, 40
_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# Numbers that a layer keeps of each position for the way back, in widths of the model: what goes
# into its products and two normalisations, and out of its activation and its dropouts; and what a
# decoder's layer keeps beside it for its attention to the source.
_KEPT, _KEPT_OF_SOURCE = 16, 8
# Numbers that each head keeps of two positions, where attention has a dropout.
_KEPT_WEIGHTS = 3
# What a CPU's memory loses between tensors of many sizes, of those that are kept (measured).
_FRAGMENTATION = 0.6
# Bytes of logits that are kept for the way back at most: beyond, they are computed twice.
_KEPT_LOGITS = 2**28
# Updates whose draws of languages are counted; of longer runs those behind are in proportion, and
# their batches are as large.
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
        most_tokens: Of the largest batch that the run reads.
    """

    task: str
    rows: tuple[int, int]
    columns: tuple[int, int]
    fill: float
    predicted: float
    most_tokens: int

    @classmethod
    def of(cls, task: str, batches: Sequence[Batch], largest: Sequence[Batch]) -> Shapes:
        """Those of some batches, and of the largest, which are not among them."""
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
            max(batch.tokens for batch in (*batches, *largest)),
        )

    def text(self) -> str:
        """A line."""
        return (
            f"{self.task}: {_range(self.rows)} rows of {_range(self.columns)} positions, "
            f"{100 * self.fill:.0f} % filled, {self.predicted:,.0f} labels; "
            f"the largest has {self.most_tokens:,} tokens"
        )


@dataclass(frozen=True)
class DryRun:
    """What a run would do.

    Attributes:
        start: What the weights start from, in lines.
        parameters: Number of weights.
        texts: Sentences and tokens of each corpus, in lines.
        shapes: Of the first batches of each task.
        tokens_per_update: Over all ranks, the mean of a pass.
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
            "memory of one rank in training, about "
            f"{_megabytes(sum(self.memory.values()))}: {memory}; "
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
    before = int(_peak(parts))
    tokens_each = tokens_per_update(parts)
    duration = config.duration
    number = duration.updates or -(-(duration.tokens or 0) // max(int(tokens_each), 1))
    largest = largest_batches(parts, number)
    shapes, memory = _shapes_and_memory(parts, largest, before)
    with lost_processes_named(engine):
        write_on_main(engine, folder.check_writable)
        seconds, operations = measured(parts)
        _train_on(parts, largest)
        fastest = fastest_of_all(engine, parts.framework, parts.library, config.precision)
        peak = int(max(engine.of_all_ranks(_peak(parts))))
    if not engine.is_main:
        return None
    return DryRun(
        start=parts.start,
        parameters=parts.parameters,
        texts=_texts(parts),
        shapes=shapes,
        tokens_per_update=tokens_each,
        updates=number,
        tokens=duration.tokens or round(number * tokens_each),
        passes=_passes(parts, number),
        memory=memory,
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


def tokens_per_update(parts: RunParts) -> float:
    """Tokens of an update over all ranks: means of passes, of tasks as often as they are drawn."""
    batches = parts.batches
    means = {task: float(batches.tokens_in(task).mean()) for task in batches.tasks}
    slots = [
        sum(means[task] * float(share) for task, share in zip(tasks, shares, strict=True))
        for tasks, shares in batches.schedule.slots
    ]
    steps = parts.config.optimizer.accumulate * batches.settings.parts
    return sum(slots) / len(slots) * steps


def largest_batches(parts: RunParts, updates: int) -> dict[Task, int]:
    """Of each task of pairs, the step of so many updates that has its largest batch.

    Those of running text are all alike. Looked at is the first pass over a text, as far as the run
    reads it: grouped by size, later ones have the same lengths together.
    """
    batches = parts.batches
    uses = batches.schedule.uses(min(updates, _COUNTED) * parts.config.optimizer.accumulate)
    return {
        task: batches.schedule.step_of(task, int(batches.tokens_in(task)[: uses[task]].argmax()))
        for task in batches.tasks
        if uses[task] and not task.is_stream
    }


def _train_on(parts: RunParts, largest: dict[Task, int]) -> None:
    """Make an update of each kind of tasks with its largest batch, for the peak of memory."""
    sizes = {task: int(parts.batches.tokens_in(task).max()) for task in largest}
    # The last one of a kind stays.
    kinds = {task.objective: largest[task] for task in sorted(largest, key=lambda x: sizes[x])}
    for step in kinds.values():
        parts.engine.go_to(step // parts.config.optimizer.accumulate)
        next(parts.engine.updates())


def _shapes_and_memory(
    parts: RunParts, largest: dict[Task, int], before: int
) -> tuple[list[Shapes], dict[str, int]]:
    """Shapes of each task's batches, and what `_memory` says of the largest."""
    found: dict[str, list[Batch]] = {task.name: [] for task in parts.config.tasks}
    iteration = len(parts.batches.schedule.slots)
    looked_at = -(-_LOOKED_AT // iteration) * iteration  # whole ones: their steps differ
    for step in range(looked_at):
        for batch in parts.batches.global_batch(step):
            found[batch.task.name].append(batch)
    of_steps = [batch for step in largest.values() for batch in parts.batches.global_batch(step)]
    shapes = [
        Shapes.of(name, batches, [batch for batch in of_steps if batch.task.name == name])
        for name, batches in found.items()
        if batches
    ]
    whole = [*of_steps, *(batch for batches in found.values() for batch in batches)]
    # Each rank has its rows of every part, one after the other.
    own = [batch.rows(*pieces(len(batch), parts.engine.ranks)[-1]) for batch in whole]
    return shapes, _memory(parts, own, before)


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


def _memory(parts: RunParts, passes: Sequence[Batch], before: int) -> dict[str, int]:
    """Bytes of one rank, estimated, by what they are for.

    Args:
        parts: Of the run.
        passes: Forward passes, the largest among them.
        before: What the process took before its first update, weights and all.
    """
    config, model = parts.config, parts.model_config
    weights = parts.parameters * (8 if config.precision == "float64" else 4)
    shards = parts.engine.ranks if config.parallel == "fsdp" else 1
    kept = max(kept_numbers(batch, model) for batch in passes) * _BYTES[config.precision]
    labels = max(batch.predicted for batch in passes)
    logits = labels * model.vocab_size * (8 if config.precision == "float64" else 4)
    found = {
        "parameters": weights,
        "gradients": weights,
        "optimizer": 0 if config.optimizer.name == "sgd" else 2 * weights // shards,
        "activations": kept,
        "logits": min(logits, _KEPT_LOGITS),
    }
    if not _is_on_gpu(parts):
        found["fragmentation"] = int(_FRAGMENTATION * kept)
        found["framework"] = max(before - weights, 0)
    return found


def kept_numbers(batch: Batch, config: XLMConfig) -> int:
    """How many numbers the layers keep of a forward pass for the way back, about.

    Padding is counted: where there is little of it, it is computed.

    Args:
        batch: Of the pass.
        config: Of the model.
    """
    rows, own = (int(size) for size in batch.input_ids.shape)
    layers = config.encoder_layers or config.n_layers
    # Widths of the model, and pairs of positions of which one looks at the other.
    widths, pairs = layers * _KEPT * own, layers * own * own
    if batch.task.objective == "mt":
        target = int(batch.labels.shape[1])
        layers = config.decoder_layers or config.n_layers
        widths += layers * (_KEPT + _KEPT_OF_SOURCE) * target
        pairs += layers * target * (target + own)
    weights = _KEPT_WEIGHTS * config.n_heads * pairs if config.attention_dropout else 0
    return rows * (widths * config.emb_dim + weights)


def _is_on_gpu(parts: RunParts) -> bool:
    if parts.framework == "torch":
        return bool(parts.library.cuda.is_available())
    return bool(parts.library.config.list_physical_devices("GPU"))


def _peak(parts: RunParts) -> float:
    if _is_on_gpu(parts) and parts.framework == "torch":
        return float(parts.library.cuda.max_memory_allocated())
    if _is_on_gpu(parts):
        return float(parts.library.config.experimental.get_memory_info("GPU:0")["peak"])
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(found if sys.platform == "darwin" else 1024 * found)


def _range(numbers: tuple[int, int]) -> str:
    least, most = numbers
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _megabytes(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
