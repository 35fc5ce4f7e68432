"""An engine of training without a framework: one number that follows from every update made."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xlm_core.errors import CheckpointError, TrainingError
from xlm_core.objectives import Batch
from xlm_core.training.engine import Update
from xlm_core.training.figures import Tally
from xlm_core.training.saved import STATE
from xlm_core.whole_files import folder_written_whole


class FakeEngine:
    """Its losses are what it is given, the last one again and again.

    Attributes:
        weight: Changes with every update, so that one that is left out or made twice shows.
    """

    ranks, is_main = 1, True
    notes: tuple[str, ...] = ()
    updates_before = 0

    def __init__(self, losses: Iterable[float] = (3.0,), *, tokens: int = 10) -> None:
        self.losses, self.tokens_each = [*losses], tokens
        self.update = self.tokens = 0
        self.weight = 1.0
        self.full_disk = False

    def updates(self, until: int | None = None) -> Iterator[Update]:
        while until is None or self.update < until:
            loss = self.losses[min(self.update, len(self.losses) - 1)]
            if math.isnan(loss):
                raise TrainingError(f"the loss of MLM-en is {loss} in update {self.update}.")
            self.weight = self.weight * 1.01 + loss
            done = Update(self.update, {"MLM-en": loss}, 2, self.tokens_each, 1e-3, loss / 2)
            self.update += 1
            self.tokens += self.tokens_each
            yield done

    def go_to(self, update: int) -> None:
        self.update = update

    def of_all_ranks(self, value: float) -> list[float]:
        return [float(value)]

    def lost_process(self, error: BaseException) -> str | None:
        return f"another process ended ({error})." if "peer" in str(error) else None

    def evaluate(self, batches: Iterable[Batch]) -> Tally:
        labels = sum(batch.predicted for batch in batches)
        return Tally(labels * 2.0, labels, labels // 2)

    def save_model(self, folder: str | os.PathLike[str]) -> None:
        if self.full_disk:
            raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "weights").write_text(repr(self.weight))

    def save(
        self,
        folder: str | os.PathLike[str],
        state: Mapping[str, Any] | None = None,
        *,
        add_to_model: Callable[[Path], object] | None = None,
    ) -> None:
        with folder_written_whole(Path(folder)) as temporary:
            self.save_model(temporary)
            if add_to_model is not None:
                add_to_model(temporary)
            values = {"update": self.update, "tokens": self.tokens, "caller": state}
            (temporary / STATE).write_text(json.dumps(values))

    def resume(self, folder: str | os.PathLike[str]) -> dict[str, Any]:
        try:
            values = json.loads((Path(folder) / STATE).read_text())
        except OSError as error:
            raise CheckpointError(f"{folder} is no checkpoint.") from error
        self.update, self.tokens = values["update"], values["tokens"]
        self.weight = float((Path(folder) / "weights").read_text())
        caller: dict[str, Any] = values["caller"]
        return caller
