"""What a run writes to go on from: the model, the optimizer's tensors, and where the run stands."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xlm_core.containers.json_files import read_object
from xlm_core.containers.lazy_tensors import LazyTensor
from xlm_core.containers.safetensors import read_safetensors, write_safetensors
from xlm_core.errors import CheckpointError, CheckpointFileError, OtherRunError
from xlm_core.objectives import TrainingBatches
from xlm_core.objectives.settings import SETTING_NAMES
from xlm_core.training.learning_rate import InverseSquareRoot
from xlm_core.whole_files import folder_written_whole, put_back

MODEL, OPTIMIZER, STATE = "model", "optimizer.safetensors", "training.json"
# Names of tensors that are states of random numbers, shape (ranks, size).
RANDOM = "random/"


@dataclass(frozen=True)
class SavedRun:
    """What a folder holds beside the model, none of its tensors read.

    Attributes:
        folder: Where it is.
        state: Where the run stands, and what it does.
        tensors: Those of the optimizer, as "parameter/state", and random states.
    """

    folder: Path
    state: Mapping[str, Any]
    tensors: Mapping[str, LazyTensor]

    def check_same(self, expected: Mapping[str, Any]) -> None:
        """Raise `CheckpointError` unless the run that wrote it does what is expected."""
        found, wanted = _by_full_names(self.state), _by_full_names(expected)
        differing = [
            f"{name} {found.get(name)!r:.80} (here {wanted.get(name)!r:.80})"
            for name in sorted(found.keys() | wanted.keys())
            if name.partition(".")[0] in expected and found.get(name) != wanted.get(name)
        ]
        if differing:
            raise OtherRunError(f"{self.folder} is of another run: {', '.join(differing)}.")


def _by_full_names(state: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their names, those of sections as "section.name"."""
    found: dict[str, Any] = {}
    for name, value in state.items():
        if isinstance(value, dict):
            found |= {f"{name}.{each}": value[each] for each in value}
        else:
            found[name] = value
    return found


def state_of(
    batches: TrainingBatches,
    *,
    accumulate: int,
    mean_of_ranks: bool,
    clip_grad_norm: float,
    hyperparameters: Mapping[str, Any],
    learning_rate: InverseSquareRoot | None = None,
) -> dict[str, Any]:
    """What a run does: a checkpoint of a run that does the same may be gone on from.

    Args:
        batches: Of the run.
        accumulate, mean_of_ranks, clip_grad_norm, learning_rate: As in `TrainingRun`.
        hyperparameters: Of its optimizer as they were given, by name, as JSON holds them.
    """
    schedule = None if learning_rate is None else asdict(learning_rate)
    return {
        "seed": batches.seed,
        "tasks": [task.name for task in batches.tasks],
        "texts": {task.name: batches.texts_of(task) for task in batches.tasks},
        "accumulate": accumulate,
        "mean_of_ranks": mean_of_ranks,
        "clip_grad_norm": float(clip_grad_norm),
        "learning_rate": schedule,
        # As it will be read again.
        "hyperparameters": json.loads(json.dumps(dict(hyperparameters), default=repr)),
        "settings": {name: getattr(batches.settings, name) for name in SETTING_NAMES},
    }


def check_target(folder: str | os.PathLike[str]) -> None:
    """Raise `CheckpointFileError` if a checkpoint there would replace what is none."""
    target = Path(folder)
    ours = {MODEL, OPTIMIZER, STATE}
    entries = target.iterdir() if target.is_dir() else ()
    others = sorted(x.name for x in entries if x.name not in ours and x.name[0] != ".")
    if others or (target.exists() and not target.is_dir()):
        found = f"holds {', '.join(others[:3])}" if others else "is a file"
        raise CheckpointFileError(
            f"{target} {found}, which is no part of a checkpoint and would be lost: give the name "
            "of a folder for the checkpoint alone."
        )


@contextmanager
def run_written_whole(
    folder: str | os.PathLike[str], state: Mapping[str, Any], tensors: Mapping[str, LazyTensor]
) -> Iterator[Path]:
    """Give the path to write the model to; the folder then has all, or stays what it was.

    Args:
        folder: Replaced if it exists.
        state: As JSON holds it.
        tensors: See `SavedRun`.

    Raises:
        CheckpointFileError: If it cannot be written.
    """
    target = Path(folder)
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with folder_written_whole(target, flushed=True) as temporary:
            write_safetensors(temporary / OPTIMIZER, tensors, {})
            text = json.dumps(dict(state), indent=2) + "\n"
            (temporary / STATE).write_text(text, encoding="utf-8")
            yield temporary / MODEL
    except OSError as error:
        advice = ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            advice = " Make room."
        raise CheckpointFileError(
            f"{target} cannot be written: {error.strerror or error}. What was written before is as "
            f"it was.{advice}"
        ) from error


def read_run(folder: str | os.PathLike[str]) -> SavedRun:
    """Open what `run_written_whole` wrote.

    Raises:
        CheckpointError: If it is absent or damaged.
    """
    source = Path(folder)
    put_back(source)
    try:
        state = read_object(source / STATE)
        tensors, _ = read_safetensors(source / OPTIMIZER)
    except (OSError, CheckpointError) as error:
        raise CheckpointError(
            f"{source} is no checkpoint of a training run, or is damaged: {error}"
        ) from error
    for name in ("update", "tokens", "updates_before"):
        value = state.get(name)
        if type(value) is not int or value < 0:
            raise CheckpointError(
                f"{source / STATE} is damaged: {name} is {value!r:.40}, expected a whole number."
            )
    return SavedRun(source, state, tensors)
