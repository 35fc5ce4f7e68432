"""What a run is made of: its data, its model and the engine that trains it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion.training.families import training_of
from xlm_core.config import XLMConfig
from xlm_core.corpus import Corpus, vocabulary_digest
from xlm_core.errors import WorkerError, XLMError
from xlm_core.objectives import TrainingBatches
from xlm_core.training.config import TrainingConfig
from xlm_core.training.data import TrainingData
from xlm_core.training.engine import Engine
from xlm_core.training.loop import check_identity


@dataclass(frozen=True)
class RunParts:
    """What a run is made of.

    Attributes:
        config: The run's.
        framework: A key of `FRAMEWORKS`.
        library: torch or tensorflow.
        data: Its corpora.
        model_config: The model's.
        parameters: Number of the model's weights.
        start: What the weights start from, in lines.
        batches: To train on.
        engine: Trains the model.
    """

    config: TrainingConfig
    framework: str
    library: Any
    data: TrainingData
    model_config: XLMConfig
    parameters: int
    start: str
    batches: TrainingBatches
    engine: Engine

    def passes(self, updates: int) -> dict[str, float]:
        """How often each task's text was read after so many updates."""
        steps = updates * self.config.optimizer.accumulate
        return {task.name: value for task, value in self.batches.passes(steps).items()}

    def entropies(self) -> dict[str, float]:
        """Of each task's labels, in nats, by how frequent words are."""
        return {task.name: self.data.unigram_entropy(task) for task in self.config.tasks}

    def identity(self) -> dict[str, Any]:
        """What makes it this run, beside its configuration: framework and texts."""
        data = self.data
        config = self.model_config
        found: dict[str, Any] = {"framework": self.framework}
        found["vocabulary"] = vocabulary_digest(data.tokenizer.get_vocab())[:12]
        if self.config.batches.sample_alpha:
            counts = data.counts(config.vocab_size).tobytes()
            found["counts of words"] = hashlib.sha256(counts).hexdigest()[:12]
        for split in ("train", "valid", "test"):
            for name, corpus in data.corpora[split].items():
                found[f"data.{split}.{name}"] = [_text_of(corpus)]
            for names, both in data.pairs[split].items():
                texts = map(_text_of, both)
                found[f"data.{split}.{'-'.join(names)}"] = dict(zip(names, texts, strict=True))
        return found

    def add_tokenizer(self, folder: Path) -> None:
        """Write the tokenizer into the folder of a model."""
        tokenizer = self.data.tokenizer
        table = dict(self.model_config.lang2id or {})
        tokenizer.lang2id = table or None
        tokenizer.id2lang = {number: name for name, number in table.items()} or None
        if table and tokenizer.lang not in table:  # what texts without a language are in
            tokenizer.lang = next(iter(table))
        tokenizer.save_pretrained(folder)


def _text_of(corpus: Corpus) -> str:
    return f"{corpus.described()}, vocabulary {corpus.info.vocab_digest[:12]}"


def set_up(
    config: TrainingConfig, data: TrainingData, framework: str, *, resumed: Path | None = None
) -> RunParts:
    """Make the model of a run and what trains it; every rank calls it.

    Args:
        config: The run's.
        data: Opened already, so that its mistakes are told before a framework is loaded.
        framework: A key of `FRAMEWORKS`.
        resumed: The checkpoint of this run that it goes on from; what it started from is not
            opened again.

    Raises:
        XLMError: If something is missing or does not go together.
    """
    training, library = training_of(framework)
    with training.making_models(config):
        dtype = training.model_dtype(config)
        model, report = training.start_model(config, data, resumed=resumed, dtype=dtype)
    model_config: XLMConfig = model.config
    batches = data.batches(model_config)
    data.check_evaluation(model_config)
    engine: Engine = training.configured_run(config, model, batches, resumed=resumed)
    parts = RunParts(
        config=config,
        framework=framework,
        library=library,
        data=data,
        model_config=model_config,
        parameters=model.num_parameters(),
        start="\n".join([report.text(), *engine.notes, *_smoothing(config, data)]),
        batches=batches,
        engine=engine,
    )
    if resumed is not None:  # before logs in the run's folder change; and of a dry run too
        check_identity(resumed, parts.identity())
    return parts


@contextmanager
def lost_processes_named(engine: Engine) -> Iterator[None]:
    """Raise `WorkerError` where another process of the run ended within the block."""
    try:
        yield
    except XLMError:
        raise
    except Exception as error:
        lost = engine.lost_process(error)
        if lost is None:
            raise
        raise WorkerError(lost) from error


def _smoothing(config: TrainingConfig, data: TrainingData) -> list[str]:
    """A line of where the counts come from by which frequent words are predicted less often."""
    alpha = config.batches.sample_alpha
    return [f"batches.sample_alpha {alpha:g}: {data.counts_from}"] if alpha else []
