"""Tasks: an objective for a language or for a pair."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xlm_core.errors import ConfigError, nearest

OBJECTIVES = ("clm", "mlm", "tlm", "mt")
# Objectives of the original that this version does not have, by the names of its options.
_LATER = {
    "ae": "denoising",
    "bt": "back-translation",
    "pc": "parallel classification",
}


# What to do where a name has a dash that separates nothing.
DASHES = " A dash stands between the two languages of a pair: write the language zh-tw as zh_tw."


@dataclass(frozen=True)
class Task:
    """One objective for one language, or for a pair of them.

    Attributes:
        objective: "clm", "mlm", "tlm" (masked, over a sentence and its translation), or "mt".
        languages: One name, or two: the first and second sentence, for "mt" source and target.

    Raises:
        ConfigError: For an unknown objective, or another number of languages.
    """

    objective: str
    languages: tuple[str, ...]

    def __post_init__(self) -> None:
        check_objective(self.objective)
        allowed = {"clm": (1, 2), "mlm": (1,), "tlm": (2,), "mt": (2,)}[self.objective]
        if len(self.languages) not in allowed:
            expected = " or ".join(("a language", "a pair")[number - 1] for number in allowed)
            raise ConfigError(
                f"{self.objective} of {'-'.join(self.languages) or 'nothing'}: expected {expected}."
            )
        if not all(self.languages):
            found = "-".join(self.languages)
            raise ConfigError(f"{self.objective} of {found!r}: expected the name of a language.")
        if len(set(self.languages)) < len(self.languages):
            raise ConfigError(f"{self.name} pairs a language with itself: expected two languages.")

    @property
    def name(self) -> str:
        """As it is logged: "MLM-en", "TLM-en-fr", "MT-fr-en"."""
        return "-".join((self.objective.upper(), *self.languages))

    @property
    def is_stream(self) -> bool:
        """Whether it reads running text of one language, not pairs of sentences."""
        return len(self.languages) == 1


def check_objective(name: str) -> None:
    """Raise `ConfigError` unless there is such an objective."""
    if name in _LATER:
        raise ConfigError(
            f"the objective {name!r} ({_LATER[name]}) is not supported: expected one of "
            f"{', '.join(OBJECTIVES)}."
        )
    if name not in OBJECTIVES:
        raise ConfigError(
            f"unknown objective {name!r}: expected one of {', '.join(OBJECTIVES)}."
            f"{nearest(name, OBJECTIVES, 0.5)}"
        )


def tasks_of(objective: str, languages: Iterable[str] | str) -> tuple[Task, ...]:
    """The tasks of one objective, from texts such as "en" and "en-fr".

    As in the original, "mlm" of a pair is "tlm".

    Raises:
        ConfigError: For what is no task, or one given twice.
    """
    check_objective(objective)
    tasks = []
    for text in (languages,) if isinstance(languages, str) else languages:
        parts = tuple(text.split("-"))
        masked_pair = objective == "mlm" and len(parts) == 2
        if len(parts) > 2:
            raise ConfigError(f"{objective} of {text!r}: expected a language or a pair.{DASHES}")
        tasks.append(Task("tlm" if masked_pair else objective, parts))
    check_different(tasks)
    return tuple(tasks)


def check_different(tasks: Sequence[Task]) -> None:
    """Raise `ConfigError` if a task is given twice: it would be drawn twice as often."""
    if twice := sorted({task.name for task in tasks if tasks.count(task) > 1}):
        raise ConfigError(f"tasks are given twice: {', '.join(twice)}.")
