"""What a training run does: the file that says it, and what is refused of it before it begins."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from xlm_core.errors import ConfigError, nearest
from xlm_core.objectives import ObjectiveSettings, Task, tasks_of
from xlm_core.objectives.settings import LARGEST
from xlm_core.objectives.tasks import DASHES, check_different
from xlm_core.training.figures import figure_name

Section = TypeVar("Section")

PRECISIONS = ("float32", "bfloat16", "float16", "float64")
OPTIMIZERS = ("adam", "adam_inverse_sqrt", "adamw", "sgd")
MATCHES = ("all", "words")
UNITS = ("updates", "tokens")
# Intervals of a run, and their defaults in updates.
INTERVALS = {"evaluate_every": 1000, "save_every": 1000, "log_every": 50}
PARALLELS = ("ddp", "fsdp")
# What every framework's generators take.
LARGEST_SEED = 2**32 - 1
# The longest duration, in updates or tokens: floats count so far exactly, and no run gets there.
LONGEST = 10**15


@dataclass(frozen=True)
class StartSettings:
    """What the weights start from; all None: they are drawn.

    Attributes:
        model: A checkpoint of the whole model.
        encoder, decoder: Checkpoints of an encoder-decoder's parts.
        match: "all": vocabulary and languages are those of the checkpoint; "words": rows are
            copied by word and by language name, and the others start afresh.
    """

    model: str | None = None
    encoder: str | None = None
    decoder: str | None = None
    match: str = "all"


@dataclass(frozen=True)
class DataSettings:
    """Corpora, by split.

    Attributes:
        train, valid, test: The corpus of a language ("en"), or the two of a pair ("en-fr").
    """

    train: dict[str, Any] = field(default_factory=dict)
    valid: dict[str, Any] = field(default_factory=dict)
    test: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimizerSettings:
    """How weights are updated.

    Attributes:
        name: "adam_inverse_sqrt" (the original's Adam with warm-up), "adam" (without), "adamw" or
            "sgd" (the framework's own).
        learning_rate: Highest one; at least warmup_init_lr, where there is a warm-up.
        betas, eps, weight_decay: Of Adam.
        warmup_updates, warmup_init_lr: As in `InverseSquareRoot`.
        clip_grad_norm: Largest norm of all gradients together; 0: any.
        accumulate: Global batches whose gradients make one update.
        mean_of_ranks: Take the mean of each rank's loss, as the original does, in place of that
            over all labelled tokens.
    """

    name: str = "adam_inverse_sqrt"
    learning_rate: float = 1e-4
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    weight_decay: float = 0.0
    warmup_updates: int = 4000
    warmup_init_lr: float = 1e-7
    clip_grad_norm: float = 5.0
    accumulate: int = 1
    mean_of_ranks: bool = False

    def __post_init__(self) -> None:
        _one_of("optimizer.name", self.name, OPTIMIZERS)
        _number("optimizer.learning_rate", self.learning_rate, above=0)
        _number("optimizer.eps", self.eps, above=0)
        for name in ("weight_decay", "warmup_init_lr", "clip_grad_norm"):
            _number(f"optimizer.{name}", getattr(self, name))
        if self.name == "adam_inverse_sqrt" and self.learning_rate < self.warmup_init_lr:
            raise ConfigError(
                f"optimizer.learning_rate is {self.learning_rate}: expected at least "
                f"optimizer.warmup_init_lr, {self.warmup_init_lr}, at which the warm-up begins."
            )
        for name in ("warmup_updates", "accumulate"):
            _positive(f"optimizer.{name}", number := getattr(self, name))
            if number > LARGEST:
                raise ConfigError(f"optimizer.{name} is {number}: expected at most {LARGEST}.")
        numbers = [beta for beta in self.betas if type(beta) in (int, float) and 0 <= beta < 1]
        if len(self.betas) != 2 or len(numbers) != 2:
            raise ConfigError(
                f"optimizer.betas is {self.betas!r:.80}: expected two numbers, from 0 and below 1."
            )
        # PyTorch's AdamW takes no whole number, as which 0 may stand in a file.
        object.__setattr__(self, "betas", [float(beta) for beta in numbers])
        # What an optimizer does not have would change nothing, in silence.
        unused = {
            "adam_inverse_sqrt": (),
            "sgd": ("warmup_updates", "warmup_init_lr", "betas", "eps", "weight_decay"),
        }.get(self.name, ("warmup_updates", "warmup_init_lr"))
        plain = OptimizerSettings.__dataclass_fields__
        for name in unused:
            default = plain[name]
            usual = default.default if default.default is not MISSING else None
            if getattr(self, name) != (usual if usual is not None else [0.9, 0.999]):
                raise ConfigError(
                    f"optimizer.{name} is {getattr(self, name)!r}, which {self.name} does not "
                    "have: leave it out, or choose adam_inverse_sqrt."
                )


@dataclass(frozen=True)
class DurationSettings:
    """How long a run takes, and what happens meanwhile.

    Attributes:
        updates: Of the weights, in the whole run; or
        tokens: Read in the whole run, over all ranks.
        interval_unit: What the three intervals count: "updates", or "tokens" over all ranks.
        evaluate_every, save_every, log_every: From one evaluation, checkpoint and line of the log
            to the next; 0: never. Of updates, 1000, 1000 and 50 by default.
        keep: Checkpoints that are kept besides the best, the latest; 0: all.

    Raises:
        ConfigError: For an unknown unit, or if intervals of tokens are not given.
    """

    updates: int | None = None
    tokens: int | None = None
    interval_unit: str = "updates"
    evaluate_every: int | None = None
    save_every: int | None = None
    log_every: int | None = None
    keep: int = 1

    def __post_init__(self) -> None:
        _one_of("duration.interval_unit", self.interval_unit, UNITS)
        for name, default in INTERVALS.items():
            if getattr(self, name) is None:
                if self.interval_unit == "tokens":
                    raise ConfigError(
                        f"duration.{name} is missing: intervals of tokens have no default. Give "
                        f"{', '.join(INTERVALS)}; 0 is never."
                    )
                object.__setattr__(self, name, default)

    def is_due(self, name: str, before: tuple[int, int], now: tuple[int, int]) -> bool:
        """Whether an interval ended with the last update.

        Args:
            name: "evaluate_every", "save_every" or "log_every".
            before, now: Updates and tokens before the last update, and behind it.
        """
        every: int = getattr(self, name)
        unit = UNITS.index(self.interval_unit)
        return every > 0 and before[unit] // every < now[unit] // every

    def share(self, updates: int, tokens: int) -> float:
        """How much of the run is done, from 0 to 1."""
        done, whole = (updates, self.updates) if self.tokens is None else (tokens, self.tokens)
        return min(done / (whole or 1), 1.0)


@dataclass(frozen=True)
class StoppingSettings:
    """When a run stops early.

    Attributes:
        criterion: A figure of the evaluation, such as "valid_en_mlm_ppl"; None: never. A leading
            underscore, as the original has it, means that less is better; without it, that is
            known for perplexities.
        patience: Evaluations without a better one before it stops.

    Raises:
        ConfigError: For values that cannot be.
    """

    criterion: str | None = None
    patience: int = 10

    def __post_init__(self) -> None:
        _from_zero("stopping.patience", self.patience)


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A training run.

    Attributes:
        output: The folder of the run: checkpoints, logs, and the page of its curves.
        tokenizer: Folder of the tokenizer that the corpora were made with.
        seed: Of everything that is drawn.
        precision: "float32", "bfloat16", "float16" (GPUs alone) or "float64".
        readers: Processes that read batches ahead; 0: the one that trains reads.
        parallel: What several processes have: "ddp", copies of the model; "fsdp" (PyTorch alone),
            shards of it.
        model: Fields of `XLMConfig`, for weights that are drawn.
        objectives: Languages and pairs by objective: clm, mlm, mt.
        start, data, batches, optimizer, duration, stopping: See their classes.

    Raises:
        ConfigError: For values that cannot be, or that contradict each other.
    """

    output: str
    tokenizer: str
    objectives: dict[str, Any]
    seed: int = 0
    precision: str = "float32"
    readers: int = 0
    parallel: str = "ddp"
    model: dict[str, Any] = field(default_factory=dict)
    start: StartSettings = field(default_factory=StartSettings)
    data: DataSettings = field(default_factory=DataSettings)
    batches: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    duration: DurationSettings = field(default_factory=DurationSettings)
    stopping: StoppingSettings = field(default_factory=StoppingSettings)

    def __post_init__(self) -> None:
        _one_of("precision", self.precision, PRECISIONS)
        _one_of("parallel", self.parallel, PARALLELS)
        _one_of("start.match", self.start.match, MATCHES)
        _from_zero("readers", self.readers)
        _from_zero("seed", self.seed)
        if self.seed > LARGEST_SEED:
            raise ConfigError(
                f"seed is {self.seed}: expected a whole number from 0 to {LARGEST_SEED}."
            )
        for name in ("output", "tokenizer"):
            if not (path := getattr(self, name)) or "\0" in path:
                found = repr(path) if path else "empty"
                raise ConfigError(f"{name} is {found}: expected the path of a folder.")
        tasks = self.tasks  # which refuses what is none
        if not tasks:
            raise ConfigError("objectives names no language: give some for clm, mlm or mt.")
        if {"clm", "mt"} <= {task.objective for task in tasks}:
            raise ConfigError(
                "objectives has clm and mt: an encoder-decoder is trained on mlm and mt. Train a "
                "decoder on clm in a run of its own, and give it as start.decoder."
            )
        started = [n for n in ("model", "encoder", "decoder") if getattr(self.start, n) is not None]
        if "model" in started and len(started) > 1:
            raise ConfigError(
                f"start gives {' and '.join(started)}: give model alone, or the parts."
            )
        for name in started:
            if not getattr(self.start, name):
                raise ConfigError(f"start.{name} is empty: expected a checkpoint.")
        if {"encoder", "decoder"} & {*started} and all(task.objective != "mt" for task in tasks):
            raise ConfigError(
                "start.encoder and start.decoder make an encoder-decoder, whose decoder is trained "
                "by mt alone: give start.model, or objectives.mt."
            )
        if not started and self.start.match != "all":
            raise ConfigError(
                f"start.match is {self.start.match!r}, and start names no checkpoint: give "
                "start.model, or start.encoder and start.decoder."
            )
        if not started and not self.model:
            raise ConfigError("neither start nor model is given: say what the weights start from.")
        if (self.duration.updates is None) == (self.duration.tokens is None):
            raise ConfigError("duration needs updates or tokens: give one of them.")
        duration = "updates" if self.duration.tokens is None else "tokens"
        number = getattr(self.duration, duration)
        _positive(f"duration.{duration}", number)
        if number > LONGEST:
            raise ConfigError(f"duration.{duration} is {number}: expected at most {LONGEST}.")
        for name in (*INTERVALS, "keep"):
            _from_zero(f"duration.{name}", getattr(self.duration, name))
        self._check_data(tasks)
        criterion = self.stopping.criterion
        if criterion is not None and criterion.lstrip("_") not in self.figures():
            known = self.figures()
            expected = f"expected one of {', '.join(known)}.{nearest(criterion, known)}"
            raise ConfigError(
                f"stopping.criterion is {criterion!r}, which no evaluation of this run computes: "
                f"{expected if known else 'data.valid and data.test have no text of its tasks.'}"
            )
        if criterion is not None and not self.duration.evaluate_every:
            raise ConfigError(
                f"stopping.criterion is {criterion!r}, which no evaluation of this run computes: "
                "duration.evaluate_every is 0. Give an interval, or no criterion."
            )

    def _check_data(self, tasks: tuple[Task, ...]) -> None:
        """Raise `ConfigError` unless every task has text to train on, of the right form."""
        for split in ("train", "valid", "test"):
            for name, given in getattr(self.data, split).items():
                two = (
                    isinstance(given, list)
                    and len(given) == 2
                    and all(isinstance(each, str) for each in given)
                )
                paths = given if isinstance(given, list) else [given]
                if not (two if "-" in name else isinstance(given, str)) or "" in paths:
                    expected = "the two corpora of a pair" if "-" in name else "one corpus"
                    hint = DASHES if "-" in name and isinstance(given, str) else ""
                    raise ConfigError(
                        f"data.{split}.{name} is {given!r:.80}: expected {expected}.{hint}"
                    )
                other = "-".join(reversed(name.split("-")))
                if name < other and other in getattr(self.data, split):
                    raise ConfigError(
                        f"data.{split} has {name} and {other}: a pair serves both directions, give "
                        "one of them."
                    )
        for task in tasks:
            if not self.has_text("train", task):
                unnamed = not task.is_stream and self.data.train.keys().isdisjoint(task.languages)
                raise ConfigError(
                    f"{task.name} has no text to train on: data.train has "
                    f"{', '.join(self.data.train) or 'nothing'}.{DASHES if unnamed else ''}"
                )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, in the original's order."""
        found: tuple[Task, ...] = ()
        for objective, languages in self.objectives.items():
            if not (isinstance(languages, list) and all(isinstance(x, str) for x in languages)):
                raise ConfigError(
                    f"objectives.{objective} is {languages!r:.80}: expected a list of languages "
                    'and pairs, such as ["en", "en-fr"].'
                )
            found += tasks_of(objective, languages)
        check_different(found)  # "mlm" and "tlm" of a pair are one task
        return found

    def has_text(self, split: str, task: Task) -> bool:
        """Whether a split has the text of a task."""
        names = {"-".join(task.languages), "-".join(reversed(task.languages))}
        return not names.isdisjoint(getattr(self.data, split))

    def figures(self) -> list[str]:
        """Names of the figures that an evaluation computes, as the original names them."""
        names = []
        for split in ("valid", "test"):
            evaluated = [task for task in self.tasks if self.has_text(split, task)]
            for task in evaluated:
                more = {"mt": ("bleu",), "clm": ("word_ppl",)}.get(task.objective, ())
                names += [figure_name(split, task, kind) for kind in ("ppl", "acc", *more)]
            for objective in ("clm", "mlm"):
                if any(task.objective == objective and task.is_stream for task in evaluated):
                    names += [f"{split}_{objective}_{kind}" for kind in ("ppl", "acc")]
        return names

    @classmethod
    def from_toml(cls, path: str | Path) -> TrainingConfig:
        """Read a file.

        Raises:
            ConfigError: If it cannot be read, has unknown keys, or impossible values.
        """
        path = Path(path)
        return cls.from_bytes(read_file(path), str(path))

    @classmethod
    def from_bytes(cls, content: bytes, what: str) -> TrainingConfig:
        """As `from_toml`, of a file that was read; `what` names it in messages."""
        try:
            values = tomllib.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, thousands of digits
            raise ConfigError(f"{what} is no TOML: {error}.") from error
        try:
            return _section(cls, values, "")
        except ConfigError as error:
            raise ConfigError(f"{what}: {error}") from error


def read_file(path: Path) -> bytes:
    """What a file holds; raises `ConfigError` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from error


def _section(kind: type[Section], values: Mapping[str, Any], where: str) -> Section:
    """A section of the file as its class.

    Raises:
        ConfigError: For keys that are unknown or missing, or values of another type.
    """
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]
    hints = get_type_hints(kind)
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(
                f"{where}{name} is unknown: {where.removesuffix('.') or 'the file'} has "
                f"{', '.join(known)}."
                f"{nearest(name, known)}"
            )
        hint = hints[name]
        if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}{name} is {value!r:.80}: expected a section.")
            given[name] = _section(hint, value, f"{where}{name}.")
        else:
            given[name] = _value(value, hint, f"{where}{name}")
    for name, each in known.items():
        if name not in given and each.default is MISSING and each.default_factory is MISSING:
            raise ConfigError(f"{where}{name} is missing.")
    return kind(**given)


def _value(value: Any, hint: Any, where: str) -> Any:
    """A value of one of the types that a field may have; whole numbers serve as floats."""
    if hint is Any:
        return value
    allowed = [
        get_origin(each) or each
        for each in (get_args(hint) if isinstance(hint, UnionType) else (hint,))
    ]
    if float in allowed and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise ConfigError(f"{where} is too large: expected a number.") from None
    if type(value) not in allowed:
        expected = " or ".join(_WORDS[each] for each in allowed if each is not NoneType)
        raise ConfigError(f"{where} is {value!r:.80}: expected {expected}.")
    return value


_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a section",
}


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"{name} is {value!r}: expected one of {', '.join(known)}.{nearest(value, known)}"
        )


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ConfigError(f"{name} is {value}: expected a positive whole number.")


def _from_zero(name: str, value: int) -> None:
    if value < 0:
        raise ConfigError(f"{name} is {value}: expected a whole number from 0.")


def _number(name: str, value: float, *, above: float | None = None) -> None:
    """Raise `ConfigError` unless a number is finite, and from 0 or above a bound."""
    if not (math.isfinite(value) and (value >= 0 if above is None else value > above)):
        expected = "a number from 0" if above is None else f"a number above {above}"
        raise ConfigError(f"{name} is {value}: expected {expected}.")
