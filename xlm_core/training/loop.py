"""The loop of a run: updates, logs, evaluations, checkpoints, and when it is over.

It asks an engine for all that a framework does, so that both families run the same loop, and every
rank of a run makes the same calls.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xlm_core.containers.json_files import read_object
from xlm_core.errors import (
    CheckpointError,
    ConfigError,
    OtherRunError,
    TrainingError,
    XLMError,
    nearest,
)
from xlm_core.training.checkpoints import BEST, MODEL, RunFolder
from xlm_core.training.config import TrainingConfig
from xlm_core.training.engine import Engine, Update
from xlm_core.training.events import (
    Begun,
    Ended,
    Evaluated,
    Event,
    Failed,
    Listener,
    Logged,
    Saved,
    Updated,
    Warned,
)
from xlm_core.training.figures import Stopping
from xlm_core.training.main_rank import found_by_main
from xlm_core.training.saved import STATE

# Updates after the warm-up whose mean loss is compared with the entropy.
_COMPARED = 50
# So few of them do, where a run ends before.
_LEAST_COMPARED = 10
Passes = Callable[[int], Mapping[str, float]]
Figures = Callable[[], Mapping[str, float]]


@dataclass
class Sums:
    """Sums over the updates of an interval; a checkpoint keeps them.

    Attributes:
        updates, tokens, seconds: Their number, what they read, how long they took.
        losses, times: By task: the sum of its losses, and the number of updates that it was in.
        norm, norms: Of the gradients' norms, and their number. Those of updates that float16 left
            out are not finite and do not count.
    """

    updates: int = 0
    tokens: int = 0
    seconds: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    norm: float = 0.0
    norms: int = 0

    def add(self, update: Update, seconds: float) -> None:
        """Add an update."""
        self.updates += 1
        self.tokens += update.tokens
        self.seconds += seconds
        if update.gradient_norm is not None and math.isfinite(update.gradient_norm):
            self.norm += update.gradient_norm
            self.norms += 1
        for name, loss in update.losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + loss
            self.times[name] = self.times.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """The mean loss of each task."""
        return {name: loss / self.times[name] for name, loss in self.losses.items()}


def check_identity(checkpoint: Path, own: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` if a checkpoint is of something else than a run; writes nothing.

    Args:
        checkpoint: To go on from.
        own: What the run is about, as `Loop` gets it.
    """
    if (checkpoint / STATE).is_file():  # else it is damaged, as the engine says
        _compare_identity(checkpoint, read_object(checkpoint / STATE).get("caller"), own)


def _compare_identity(checkpoint: Path, state: Any, own: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` if a checkpoint is of something else than this run."""
    identity = state.get("identity") if isinstance(state, dict) else None
    if not isinstance(identity, dict):
        raise CheckpointError(
            f"{checkpoint} does not say what it is about: it was not written by `xlm pretrain`."
        )
    # What checkpoints of earlier versions did not note yet contradicts nothing.
    later = {"vocabulary", "counts of words"} - identity.keys()
    before, now = _by_text(identity, own), _by_text(own, own)
    differing = [
        f"{name} was {before.get(name)!r:.200} and is {now.get(name)!r:.200}"
        for name in sorted((before.keys() | now.keys()) - later)
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise OtherRunError(f"{checkpoint} is of another run: {'; '.join(differing)}.")


def _by_text(identity: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a run is about, each text of a pair by itself, with its name."""
    found: dict[str, Any] = {}
    for name, value in identity.items():
        names = own.get(name)
        if isinstance(value, list) and isinstance(names, dict) and len(value) == len(names):
            value = dict(zip(names, value, strict=True))  # of an earlier version
        if isinstance(value, dict):
            found |= {f"{name} ({each})": text for each, text in value.items()}
        else:
            found[name] = value[0] if isinstance(value, list) and len(value) == 1 else value
    return found


class Loop:
    """Runs an engine as a configuration says.

    Args:
        engine: Of either family.
        config: What to do, and until when.
        folder: Where checkpoints and models are written.
        evaluate: Computes the figures of an evaluation; every rank calls it, and all get the same.
        listeners: Hear what happens, on the main rank alone.
        passes: Of each task over its text, before an update.
        entropies: Of each task's labels, in nats; or what finds them, which the main rank calls
            unless a checkpoint has them.
        stop: Whether this process was asked to stop.
        identity: What the run is about, as JSON holds it, such as the sizes of its corpora; a
            checkpoint of another one is refused.
    """

    def __init__(
        self,
        engine: Engine,
        config: TrainingConfig,
        folder: RunFolder,
        *,
        evaluate: Figures | None = None,
        listeners: Iterable[Listener] = (),
        passes: Passes | None = None,
        entropies: Mapping[str, float] | Figures | None = None,
        stop: Callable[[], bool] = lambda: False,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.engine, self.config, self.folder = engine, config, folder
        self._tasks = [task.name for task in config.tasks]
        self._evaluate, self._passes, self._stop = evaluate, passes, stop
        self._listeners = tuple(listeners) if engine.is_main else ()
        self._find_entropies = entropies if callable(entropies) else None
        self._entropies = {} if callable(entropies) else dict(entropies or {})
        self._identity = dict(identity or {})
        self.stopping = Stopping(config.stopping.criterion, config.stopping.patience)
        if self.stopping.figure is not None and evaluate is None:
            raise ConfigError(
                f"stopping.criterion is {config.stopping.criterion!r}, and nothing is evaluated: "
                "give evaluate=, or no criterion."
            )
        self._interval, self._compared = Sums(), Sums()
        self._seconds = self._learning_rate = 0.0
        self._since = 0.0
        self._saved: Path | None = None
        self._evaluated: int | None = None
        self._warned = False  # of losses that do not fall: once in the whole run

    # -- the run -----------------------------------------------------------------------------------

    def run(self, checkpoint: Path | None = None) -> Ended:
        """Train until the run is over.

        Args:
            checkpoint: Go on from this one.

        Returns:
            How it ended.

        Raises:
            CheckpointError: If the checkpoint is damaged, or of another run.
            TrainingError: If a loss is NaN, an evaluation cannot be made, or files cannot be
                written; checkpoints stay.
        """
        if checkpoint is not None:
            self._resume(checkpoint)
        if self._find_entropies is not None and not self._entropies:  # which reads all text
            found = found_by_main(self.engine, self._find_entropies, failed="could not count words")
            self._entropies = dict(found or {})
        engine, duration = self.engine, self.config.duration
        self._since = time.perf_counter()
        with self._names_the_last_checkpoint():
            self._tell(Begun(engine.update, engine.tokens, checkpoint, self._entropies))
            self._check_warmup()
            updates = engine.updates()
            while not (self._is_done() or self.stopping.is_over):
                if any(engine.of_all_ranks(self._stop())):
                    if not self._is_saved():
                        self._save()
                    return self._end("interrupted")
                before = engine.update, engine.tokens
                self._update(updates)
                now = engine.update, engine.tokens
                if duration.is_due("log_every", before, now):
                    self._log()
                is_last = bool(duration.evaluate_every) and self._is_done()
                if is_last or duration.is_due("evaluate_every", before, now):
                    self._make_figures()  # before a checkpoint, which replaces the last good one
                is_over = self._is_done() or self.stopping.is_over
                if is_over and _LEAST_COMPARED <= self._compared.updates < _COMPARED:
                    self._judge()  # before a checkpoint, which knows whether it was said
                if duration.is_due("save_every", before, now):
                    self._save()
            evaluated = bool(duration.evaluate_every) and self._evaluated != engine.update
            if evaluated:
                self._make_figures()
            # What a checkpoint of this update knows of the best figure may be older than it. Behind
            # one of an interruption, without intervals, `resume` would make all of this again.
            if (duration.save_every or self._saved is not None) and (
                evaluated or not self._is_saved()
            ):
                self._save()
            path = self.folder.save_model(engine, MODEL)
            self._tell(Saved(path, engine.update))
            return self._end("done" if self._is_done() else "early")

    def _is_done(self) -> bool:
        return self.config.duration.share(self.engine.update, self.engine.tokens) >= 1

    def _update(self, updates: Iterator[Update]) -> None:
        begin = time.perf_counter()
        update = next(updates)
        seconds = time.perf_counter() - begin
        self._interval.add(update, seconds)
        self._learning_rate = update.learning_rate
        tokens = self.engine.tokens
        share = self.config.duration.share(self.engine.update, tokens)
        self._tell(Updated(update, tokens, share, seconds))
        self._compare(update)

    def _log(self) -> None:
        sums, self._interval = self._interval, Sums()
        means = sums.means()
        engine, clips = self.engine, self.config.optimizer.clip_grad_norm > 0
        self._tell(
            Logged(
                update=engine.update,
                tokens=engine.tokens,
                seconds=self._elapsed(),
                losses={name: means[name] for name in self._tasks if name in means},
                learning_rate=self._learning_rate,
                gradient_norm=sums.norm / sums.norms if clips and sums.norms else None,
                tokens_per_second=sums.tokens / max(sums.seconds, 1e-9),
                passes=dict(self._passes(engine.update)) if self._passes else {},
            )
        )

    def _make_figures(self) -> None:
        self._evaluated = self.engine.update
        if self._evaluate is None:
            return
        figures = dict(self._evaluate())
        if (figure := self.stopping.figure) is not None and figure not in figures:
            raise ConfigError(
                f"stopping.criterion is {figure!r}, which the evaluation does not compute: it has "
                f"{', '.join(figures) or 'none'}.{nearest(figure, figures)}"
            )
        if not figures:  # no task has text to evaluate
            return
        is_best = self.stopping.is_better(figures)
        engine = self.engine
        self._tell(Evaluated(engine.update, engine.tokens, self._elapsed(), figures, is_best))
        if is_best:
            path = self.folder.save_model(engine, BEST)
            self._tell(Saved(path, engine.update))

    def _check_warmup(self) -> None:
        """Warn of a run whose learning rate never reaches what the configuration says.

        What goes on from behind its end makes no more updates: it is told instead.
        """
        settings, whole = self.config.optimizer, self.config.duration.updates
        made = self.engine.update
        if whole and made >= whole:
            if made > whole:
                said = f"{made:,} updates were made, and duration.updates is {whole:,}"
                self._tell(Warned(f"{said}: no more are made."))
            return
        before = self.engine.updates_before  # of the original: its warm-up is over, or nearly
        if (
            settings.name == "adam_inverse_sqrt"
            and whole
            and before + whole < settings.warmup_updates
        ):
            self._tell(
                Warned(
                    f"the run ends after {whole:,} updates, within its warm-up of "
                    f"{settings.warmup_updates:,} (optimizer.warmup_updates): the learning rate "
                    f"never reaches {settings.learning_rate:g}."
                )
            )

    # -- a loss that does not fall -----------------------------------------------------------------

    def _compare(self, update: Update) -> None:
        """Warn once if losses after the warm-up are no better than knowing how frequent words are.

        Only the first updates after the warm-up are looked at.
        """
        begin = self._begin_of_comparing()
        if not begin <= update.number < begin + _COMPARED:
            return
        self._compared.add(update, 0.0)
        if self._compared.updates == _COMPARED:
            self._judge()

    def _warmup_left(self) -> int:
        """Updates of the warm-up that this run makes itself."""
        settings = self.config.optimizer
        if settings.name != "adam_inverse_sqrt":
            return 0
        return max(settings.warmup_updates - self.engine.updates_before, 0)

    def _begin_of_comparing(self) -> int:
        return self._warmup_left() or 1000

    def _judge(self) -> None:
        """Warn if the losses that were looked at are no better."""
        settings, begin = self.config.optimizer, self._begin_of_comparing()
        high = {
            name: (loss, self._entropies[name])
            for name, loss in self._compared.means().items()
            if loss >= self._entropies.get(name, math.inf)
        }
        if high and not self._warned:
            self._warned = True
            found = ", ".join(f"{name} {a:.2f} (entropy {b:.2f})" for name, (a, b) in high.items())
            tokens = self._compared.tokens / self._compared.updates
            warm = f", after {begin:,} updates"
            if self._warmup_left():
                warm += " of warm-up (optimizer.warmup_updates)"
            self._tell(
                Warned(
                    f"losses are not below the entropy of words by their counts{warm}: {found}. "
                    f"The learning rate {settings.learning_rate:g} (optimizer.learning_rate) may "
                    f"be too high or too low, the warm-up too short, or {tokens:,.0f} tokens an "
                    "update too few."
                )
            )

    # -- checkpoints -------------------------------------------------------------------------------

    def _is_saved(self) -> bool:
        """Whether the last checkpoint is of this update."""
        return self._saved is not None and self.folder.update_of(self._saved) == self.engine.update

    def _save(self) -> None:
        state = {
            "identity": self._identity,
            "criterion": self.stopping.figure,
            "stopping": self.stopping.state(),
            "interval": asdict(self._interval),
            "compared": asdict(self._compared),
            "seconds": self._elapsed(),
            "evaluated": self._evaluated,
            "warned": self._warned,
            "entropies": self._entropies,
        }
        self._saved = self.folder.save(self.engine, state)
        self._tell(Saved(self._saved, self.engine.update))

    def _resume(self, checkpoint: Path) -> None:
        with self.folder.naming_older(checkpoint):
            # Before the engine reads it, to whom one of another framework is just damaged.
            check_identity(checkpoint, self._identity)
            state = self.engine.resume(checkpoint)
            _compare_identity(checkpoint, state, self._identity)
            self._take(checkpoint, state)
        self._saved = checkpoint

    def _take(self, checkpoint: Path, state: Mapping[str, Any]) -> None:
        """Go on with the loop's own state."""
        try:
            for sums in (state["interval"], state["compared"]):
                sums.setdefault("norms", sums["updates"])  # which earlier versions did not count
            self._interval, self._compared = Sums(**state["interval"]), Sums(**state["compared"])
            self._seconds, self._evaluated = float(state["seconds"]), state["evaluated"]
            self._warned = bool(state.get("warned"))
            if self._find_entropies is not None:
                self._entropies = dict(state.get("entropies") or {})
            if state["criterion"] == self.stopping.figure:
                self.stopping.resume(state["stopping"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint} is damaged: the state of its run cannot be read ({error!r:.200})."
            ) from error

    @contextmanager
    def _names_the_last_checkpoint(self) -> Iterator[None]:
        """Say with an error of the run from where it can go on."""
        try:
            yield
        except Exception as error:
            lost = self.engine.lost_process(error)
            if lost is None and not isinstance(error, OSError | XLMError):
                raise
            if self._saved is None:
                kept = "There is no checkpoint yet."
            elif isinstance(error, TrainingError):  # to which the same updates lead again
                kept = (
                    f"The last good checkpoint is {self._saved}: start another run from its model "
                    f"(start.model = {str(self._saved / MODEL)!r}) with a lower learning rate."
                )
            else:
                kept = (
                    f"The last good checkpoint is {self._saved}: go on from it by resume=True "
                    "(--resume)."
                )
            found = lost or str(error).rstrip()
            if isinstance(error, OSError):
                where = f" ({error.filename})" if error.filename else ""
                reason = f"{error.strerror}{where}." if error.strerror else found
                found = f"update {self.engine.update}: {reason}"
            with suppress(OSError):  # the disk may be full for the logs too
                self._tell(Failed(f"{found} {kept}", self.engine.update, self.engine.tokens))
            raise TrainingError(f"{found} {kept}") from error

    # -- what is heard of it -----------------------------------------------------------------------

    def _end(self, reason: str) -> Ended:
        ended = Ended(reason, self.engine.update, self.engine.tokens, self._elapsed())
        self._tell(ended)
        return ended

    def _elapsed(self) -> float:
        return self._seconds + time.perf_counter() - self._since

    def _tell(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)
