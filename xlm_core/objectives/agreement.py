"""Whether a model and the batches that it is given belong together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xlm_core.config import XLMConfig
from xlm_core.errors import ConfigError
from xlm_core.objectives.tasks import Task


def check_objectives(
    name: str, config: XLMConfig, tasks: Iterable[Task], *, translates: bool
) -> None:
    """Raise `ConfigError` unless a model can be trained on tasks.

    Args:
        name: Of its class.
        config: Its configuration.
        tasks: What it is to be trained on.
        translates: Whether it is an encoder-decoder; else it is a language model.
    """
    allowed = ("mlm", "tlm", "mt") if translates else ("clm", "mlm", "tlm")
    for task in tasks:
        if task.objective not in allowed:
            raise ConfigError(
                f"{task.name} cannot train {name}: expected tasks of {', '.join(allowed)}."
            )
        check_causal(task, config)


def check_causal(task: Task, config: XLMConfig) -> None:
    """Raise `ConfigError` unless a model looks ahead where a task wants that, and only there.

    One that sees the words behind would learn to copy the one that it predicts.
    """
    if task.objective != "mt" and config.causal != (task.objective == "clm"):
        raise ConfigError(
            f"{task.name} trains a model with causal={not config.causal}, and this one has "
            f"causal={config.causal}: choose one kind of objective for a model."
        )


def needs_of(config: XLMConfig) -> dict[str, Any]:
    """What batches take from a model's configuration, and another model would read otherwise."""
    return {
        "pad_index": config.pad_index,
        "eos_index": config.eos_index,
        "mask_index": config.mask_index,
        "several languages": config.n_langs > 1,
    }


def languages_of(config: XLMConfig, tasks: Iterable[Task]) -> dict[str, int | None]:
    """The numbers of the languages of tasks; empty of a model that names none, or has but one."""
    known = (config.lang2id or {}) if config.n_langs > 1 else {}
    names = sorted({language for task in tasks for language in task.languages})
    return {name: known.get(name) for name in names if known}


def sizes_of(config: XLMConfig) -> dict[str, int]:
    """How many words and positions batches may have: a model may have more."""
    return {name: getattr(config, name) for name in ("vocab_size", "max_position_embeddings")}


def check_made_for(config: XLMConfig, model: XLMConfig, tasks: Iterable[Task]) -> None:
    """Raise `ConfigError` unless batches that were made for one configuration suit a model.

    Args:
        config: What the batches were made for.
        model: The configuration of the model that is given them.
        tasks: Of the batches.
    """
    tasks = tuple(tasks)
    needs, own = needs_of(config), needs_of(model)
    if names := languages_of(model, tasks):  # else the batches' numbers contradict nothing
        needs["lang2id"], own["lang2id"] = languages_of(config, tasks), names
    differing = [
        f"{name} {value!r:.80} (the model's: {own[name]!r:.80})"
        for name, value in needs.items()
        if own[name] != value
    ]
    sizes, most = sizes_of(config), sizes_of(model)
    differing += [
        f"{name} {size} (the model's: {most[name]})"
        for name, size in sizes.items()
        if most[name] < size
    ]
    if differing:
        raise ConfigError(
            f"the batches were made for another model, with {', '.join(differing)}: give both the "
            "same config."
        )
