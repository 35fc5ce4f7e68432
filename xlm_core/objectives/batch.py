"""A batch as a model takes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from xlm_core.objectives.tasks import Task

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# A label that does not count.
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """A batch of one task.

    Attributes:
        task: Which.
        input_ids: int64, shape (batch, sequence); of "mt" the source.
        lengths: int64, shape (batch,): tokens of each row. Padding is told by them and not by its
            id, which may be drawn in place of a word.
        labels: int64, shape (batch, sequence), -100 where nothing is predicted; of "mt" shape
            (batch, target sequence): the target behind its first `</s>`.
        langs: int64, like input_ids; None for models of one language.
        position_ids: int64, like input_ids; None: 0, 1, 2, ...
        decoder_langs: int64, like the labels of "mt"; else None.
    """

    task: Task
    input_ids: Ids
    lengths: Ids
    labels: Ids
    langs: Ids | None = None
    position_ids: Ids | None = None
    decoder_langs: Ids | None = None

    @property
    def predicted(self) -> int:
        """Number of labels that count."""
        return int(np.count_nonzero(self.labels != IGNORED))

    @property
    def tokens(self) -> int:
        """Tokens that models read, padding left out; of "mt" those of source and target."""
        target = self.predicted if self.task.objective == "mt" else 0
        return int(self.lengths.sum()) + target

    def __len__(self) -> int:
        return len(self.input_ids)

    def rows(self, first: int, end: int) -> Batch:
        """These rows alone, padded as the whole batch is."""
        parts: dict[str, Any] = {
            name: value[first:end]
            for name, value in self.__dict__.items()
            if isinstance(value, np.ndarray)
        }
        return replace(self, **parts)

    def arguments(self) -> dict[str, npt.NDArray[Any]]:
        """What to call a model with: numpy arrays by the names of its arguments."""
        attention_mask = np.arange(self.input_ids.shape[1]) < self.lengths[:, None]
        given = {
            "input_ids": self.input_ids,
            "attention_mask": attention_mask.astype(np.int64),
            "langs": self.langs,
            "position_ids": self.position_ids,
            "decoder_langs": self.decoder_langs,
            "labels": self.labels,
        }
        return {name: value for name, value in given.items() if value is not None}


def stand_in(batch: Batch) -> Batch:
    """A row of one word, of the same form, for a rank that has nothing of a batch to compute."""
    form = {name: x for name, x in batch.__dict__.items() if isinstance(x, np.ndarray)}
    row: dict[str, Any] = {n: np.zeros((1, *x.shape[1:]), x.dtype) for n, x in form.items()}
    return replace(batch, **{**row, "lengths": np.ones(1, np.int64)})


def pieces(rows: int, number: int) -> list[tuple[int, int]]:
    """Cut `rows` rows into `number` pieces in order, whose sizes differ by at most one."""
    ends = [(piece + 1) * rows // number for piece in range(number)]
    return list(zip([0, *ends[:-1]], ends, strict=True))
