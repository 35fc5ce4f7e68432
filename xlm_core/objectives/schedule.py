"""Which task each step of a run works on.

Source: the training loop in train.py and shuf_order in xlm/utils.py of the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xlm_core.errors import ConfigError, InputError
from xlm_core.objectives.randomness import generator_of
from xlm_core.objectives.sampling import language_probabilities
from xlm_core.objectives.tasks import Task, check_different

Places = npt.NDArray[np.int64]

# An iteration has at most so many steps of one kind.
MOST_DRAWS = 5
# Steps whose draws are made together, and at most how many draws: memory is bounded by them.
_STEPS, _DRAWS = 4096, 1 << 18


@dataclass(frozen=True)
class Draw:
    """What one part of a step works on.

    Attributes:
        task: Its task.
        use: How many batches of this task the run has taken before.
    """

    task: Task
    use: int


class Schedule:
    """The task of every part of every step.

    The steps of an iteration, each one update of the weights, are those of "clm", then "mlm" and
    "tlm", then "mt"; of each kind, single languages first and then pairs. There are as many steps
    as tasks of the kind, but at most five, and each draws its task with replacement.

    A step's tasks depend on the seed and its number, so that any step can be asked for. To know
    how many batches of a task were taken before, the draws of earlier steps are counted, a million
    in less than a second.

    Args:
        tasks: All of them.
        sentences: How many each has to read.
        factor: As `lg_sampling_factor` in `ObjectiveSettings`.
        parts: Of a step, each with a draw of its own.
        seed: Of the run.

    Raises:
        ConfigError: If there are no tasks, or one is given twice.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        sentences: Mapping[Task, int],
        *,
        factor: float = -1.0,
        parts: int = 1,
        seed: int = 0,
    ) -> None:
        if not tasks:
            raise ConfigError("there is no task: give languages for clm, mlm, tlm or mt.")
        check_different(tasks)
        if not isinstance(parts, int) or parts < 1:
            raise ConfigError(f"parts is {parts!r}: expected a positive whole number.")
        if missing := [task.name for task in tasks if task not in sentences]:
            raise ConfigError(f"sentences lacks {', '.join(missing)}: say how many each task has.")
        self.tasks, self.parts, self.seed = tuple(tasks), parts, seed
        kinds = [
            [task for task in tasks if task.objective in objectives and task.is_stream == single]
            for objectives in (("clm",), ("mlm", "tlm"), ("mt",))
            for single in (True, False)
        ]
        # For each step of an iteration, the tasks that it draws from, and how likely each is.
        self.slots: list[tuple[list[Task], npt.NDArray[np.float64]]] = []
        for kind in filter(None, kinds):
            shares = language_probabilities([sentences[task] for task in kind], factor)
            self.slots += [(kind, shares)] * min(len(kind), MOST_DRAWS)
        self._ends = [np.cumsum(shares)[:-1] for _, shares in self.slots]
        places = {task: place for place, task in enumerate(self.tasks)}
        self._places = [np.array([places[task] for task in kind]) for kind, _ in self.slots]
        self._steps = min(_STEPS, max(1, _DRAWS // parts))
        # Uses of each task before each block that was asked for.
        self._uses_before = [np.zeros(len(self.tasks), dtype=np.int64)]
        # The blocks that were asked for last.
        self._blocks: dict[int, tuple[Places, Places]] = {}

    def draws(self, step: int) -> tuple[Draw, ...]:
        """What each part of step `step`, counted from 0, works on."""
        block, row = self._place_of(step)
        places, uses = self._block(block)
        return tuple(
            Draw(self.tasks[place], use)
            for place, use in zip(places[row].tolist(), uses[row].tolist(), strict=True)
        )

    def uses(self, step: int) -> dict[Task, int]:
        """How many batches of each task are taken before step `step`."""
        block, row = self._place_of(step)
        before = self._before(block)
        taken = np.bincount(self._places_of(block)[:row].ravel(), minlength=len(self.tasks))
        return dict(zip(self.tasks, (before + taken).tolist(), strict=True))

    def step_of(self, task: Task, use: int) -> int:
        """The step that takes the batch of a task before which `use` of it were taken."""
        first, behind = 0, 1  # uses(first) <= use < uses(behind), once behind is far enough
        while self.uses(behind)[task] <= use:
            first, behind = behind, 2 * behind
        while behind - first > 1:
            middle = (first + behind) // 2
            if self.uses(middle)[task] <= use:
                first = middle
            else:
                behind = middle
        return first

    def _place_of(self, step: int) -> tuple[int, int]:
        """The block of a step, and its place there.

        Raises:
            InputError: If there is no such step.
        """
        if not hasattr(step, "__index__") or step < 0:
            raise InputError(f"step is {step}: expected a whole number from 0.")
        return divmod(int(step), self._steps)

    def _places_of(self, block: int) -> Places:
        """The places in `tasks` of a block's draws, int64, shape (steps, parts)."""
        chances = generator_of(self.seed, "languages", block).random((self._steps, self.parts))
        places = np.empty(chances.shape, dtype=np.int64)
        first = block * self._steps % len(self.slots)
        for slot, (ends, where) in enumerate(zip(self._ends, self._places, strict=True)):
            rows = slice((slot - first) % len(self.slots), None, len(self.slots))
            places[rows] = where[np.searchsorted(ends, chances[rows], side="right")]
        return places

    def _before(self, block: int) -> Places:
        """Uses of each task before a block, int64, shape (tasks,)."""
        while len(self._uses_before) <= block:
            places = self._places_of(len(self._uses_before) - 1)
            taken = np.bincount(places.ravel(), minlength=len(self.tasks))
            self._uses_before.append(self._uses_before[-1] + taken)
        return self._uses_before[block]

    def _block(self, block: int) -> tuple[Places, Places]:
        """The places of a block's draws, and earlier uses of each: int64, (steps, parts)."""
        if block not in self._blocks:
            kept = list(self._blocks.items())[-1:]
            self._blocks = {**dict(kept), block: self._drawn_block(block)}
        return self._blocks[block]

    def _drawn_block(self, block: int) -> tuple[Places, Places]:
        places = self._places_of(block)
        flat = places.ravel()
        uses = np.empty_like(flat)
        before = self._before(block)
        for place in range(len(self.tasks)):
            here = np.flatnonzero(flat == place)
            uses[here] = before[place] + np.arange(len(here))
        return places, uses.reshape(places.shape)
