"""`xlm pretrain`: a run as its file says, from its beginning or from where it stopped."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from conversion.opening.models import framework_of
from conversion.training.bleu import BleuOfRun, Translated
from conversion.training.machine import fastest_of_all
from conversion.training.page import PAGE, write_curves
from conversion.training.setup import RunParts, lost_processes_named, set_up
from conversion.training.signals import StopSignals
from conversion.training.terminal import Shown
from xlm_core.errors import ConfigError
from xlm_core.objectives.sources import pair_of
from xlm_core.training.checkpoints import CONFIG, RunFolder
from xlm_core.training.config import TrainingConfig, read_file
from xlm_core.training.data import TrainingData
from xlm_core.training.engine import Engine
from xlm_core.training.evaluating import evaluate
from xlm_core.training.events import Begun, Ended, Event, Failed
from xlm_core.training.figures import figure_name
from xlm_core.training.logs import (
    EVENTS,
    LINES,
    TABLE,
    EventLog,
    LineLog,
    TableLog,
    columns_of,
)
from xlm_core.training.loop import Loop
from xlm_core.training.main_rank import found_by_main, write_on_main

_EVALUATED = ("valid", "test")


def pretrain(
    config_file: str | os.PathLike[str],
    *,
    framework: str | None = None,
    resume: bool = False,
    stream: TextIO | None = None,
) -> Ended:
    """Train as a file says; every rank of a run calls it.

    Args:
        config_file: TOML, see `TrainingConfig`.
        framework: "torch" or "tf"; default: PyTorch if it is installed.
        resume: Go on from the last checkpoint, if there is one.
        stream: Gets the lines of the log, and if it is a terminal a bar; None: nothing.

    Returns:
        How it ended.

    Raises:
        XLMError: If something is missing, does not go together, or goes wrong on the way.
    """
    file = Path(config_file)
    content = read_file(file)  # once: it may be a pipe, or change while the model is made
    config = TrainingConfig.from_bytes(content, str(file))
    folder = RunFolder(config.output, keep=config.duration.keep)
    folder.check_free()  # before a model takes memory from the run that goes on there
    folder.put_back()
    found = folder.check(config, resume=resume)
    data = TrainingData.open(config)
    with folder.naming_older(found):
        parts = set_up(config, data, framework_of(framework), resumed=found)
    engine = parts.engine
    folder = RunFolder(config.output, keep=config.duration.keep, add_to_model=parts.add_tokenizer)
    identity = parts.identity()
    with lost_processes_named(engine), ExitStack() as closing:
        # All have checked the folder: now it may change.
        _check_alike(engine, config, identity, None if found is None else found.name)

        def begin() -> None:
            closing.enter_context(folder.held())
            folder.begin(file, config, resume=resume, content=content)

        write_on_main(engine, begin)
        checkpoint = folder.newest()
        update = 0 if checkpoint is None else folder.update_of(checkpoint)
        fastest = fastest_of_all(engine, parts.framework, parts.library, config.precision)
        listeners: list[Callable[[Event], None]] = []
        if engine.is_main:
            shown = Shown(stream, config.duration, parts.model_config, fastest)
            shown.write(parts.start)
            lines = LineLog(folder.path / LINES)
            lines.write(parts.start)
            logs: list[Shown | LineLog | TableLog | EventLog] = [
                shown,
                lines,
                TableLog(folder.path / TABLE, columns_of(config), update=update),
                EventLog(folder.path / EVENTS, update=update),
            ]
            for log in logs:
                closing.callback(log.close)
            listeners = [*logs, _PageAtEnd(folder, parts)]
        stop = closing.enter_context(StopSignals())
        loop = Loop(
            engine,
            config,
            folder,
            evaluate=_Evaluation(parts, folder),
            listeners=listeners,
            passes=parts.passes,
            entropies=parts.entropies,
            stop=stop,
            identity=identity,
        )
        return loop.run(checkpoint)


# What of a configuration decides how a run goes; paths may be others on another machine.
_ALIKE = (
    *("seed", "precision", "parallel", "model", "objectives"),
    *("batches", "optimizer", "duration", "stopping"),
)


def _check_alike(
    engine: Engine, config: TrainingConfig, identity: Mapping[str, object], checkpoint: str | None
) -> None:
    """Raise `ConfigError` on every rank unless all do the same, from the same checkpoint."""
    own = {name: getattr(config, name) for name in _ALIKE}
    for what, value in (
        ("configurations", own),
        ("texts or vocabularies", identity),
        ("checkpoints to go on from (output has to be one folder for all)", checkpoint),
    ):
        digest = hashlib.sha256(repr(value).encode()).hexdigest()[:12]  # which a float holds
        if len({*engine.of_all_ranks(float(int(digest, 16)))}) > 1:
            raise ConfigError(f"the processes of this run have different {what}.")


class _Evaluation:
    """Computes all figures of a run; every rank calls it."""

    def __init__(self, parts: RunParts, folder: RunFolder) -> None:
        self._parts, self._folder = parts, folder
        config, data = parts.config, parts.data
        translated = [
            Translated(split, task, (both[1], both[0]) if swapped else both)
            for split in _EVALUATED
            for task in config.tasks
            if task.objective == "mt" and config.has_text(split, task)
            for both, swapped in [pair_of(task, data.pairs[split])]
        ]
        self._names = [figure_name(each.split, each.task, "bleu") for each in translated]
        self._bleu: BleuOfRun | None = None
        if translated and parts.engine.is_main:
            self._bleu = BleuOfRun(
                folder.path / "translations",
                data.tokenizer_folder,
                parts.model_config,
                translated,
                framework=parts.framework,
                dtype="float64" if config.precision == "float64" else None,
            )

    def __call__(self) -> dict[str, float]:
        parts = self._parts
        data, engine = parts.data, parts.engine
        figures = evaluate(
            engine,
            {split: data.evaluation(parts.model_config, split) for split in _EVALUATED},
            data.words_in,
            parts.model_config.eos_index,
        )
        if not self._names:
            return figures
        model = self._folder.save_model(engine, "translating")
        found = found_by_main(engine, lambda: self._translated(model), failed="could not translate")
        for name in self._names:
            figures[name] = engine.of_all_ranks((found or {}).get(name, 0.0))[0]
        return figures

    def _translated(self, model: Path) -> dict[str, float]:
        """The figures of its translations, on the main rank alone."""
        assert self._bleu is not None
        found = self._bleu(model, self._parts.engine.update)
        shutil.rmtree(model)
        return found


class _PageAtEnd:
    """Writes the page of a run's curves when it ends."""

    def __init__(self, folder: RunFolder, parts: RunParts) -> None:
        self._folder, self._parts = folder, parts
        self._entropies: Mapping[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Begun):
            self._entropies = event.entropies
        if not isinstance(event, Ended | Failed):
            return
        reason = event.reason if isinstance(event, Ended) else "failed"
        folder, parts = self._folder.path, self._parts
        facts = {
            "updates": f"{event.update:,}",
            "tokens": f"{event.tokens:,}",
            "framework": f"{parts.library.__name__} {parts.library.__version__}",
            "ranks": str(parts.engine.ranks),
            "configuration": str(folder / CONFIG),
        }
        write_curves(folder / PAGE, folder / TABLE, reason, parts.config, facts, self._entropies)
