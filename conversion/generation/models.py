"""A model that writes: rows of ids in, rows of ids out, in either framework."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conversion.opening.models import Opened
from xlm_core.checkpoints.fitting import class_of
from xlm_core.checkpoints.opening import Checkpoint
from xlm_core.errors import InputError
from xlm_core.weights import ENCODER_DECODER

LANGUAGE_MODEL = "XLMWithLMHeadModel"


@dataclass(frozen=True)
class Rows:
    """What a model wrote for one line.

    Attributes:
        sequences: Its texts, the best first: ids without padding.
        scores: The score of each; None where the search has none.
    """

    sequences: list[list[int]]
    scores: list[float] | None


class Writer:
    """Calls `generate` of a model.

    Args:
        opened: The model.
        settings: Arguments of `generate`.
        pad: Id of padding.
        side: Where rows are padded: "right" for sources, "left" for prompts.
    """

    def __init__(self, opened: Opened, settings: Mapping[str, Any], *, pad: int, side: str) -> None:
        self._opened = opened
        # Padding that the model's folder names otherwise would not be told from what was written.
        self._settings = {**settings, "pad_token_id": pad}
        self._pad = pad
        self._side = side
        self._returned = int(settings.get("num_return_sequences", 1))

    def write(self, rows: Sequence[Sequence[int]], **settings: Any) -> list[Rows]:
        """What the model writes for each row.

        Args:
            rows: Their ids, framed.
            **settings: Further arguments of `generate`, for this batch.
        """
        width = max(map(len, rows))
        ids = np.full((len(rows), width), self._pad, np.int64)
        mask = np.zeros((len(rows), width), np.int64)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if self._side == "left" else slice(len(row))
            ids[index, place] = row
            mask[index, place] = 1
        opened = self._opened
        if opened.framework == "torch":
            device = opened.model.device
            tensors = [opened.library.from_numpy(each).to(device) for each in (ids, mask)]
        else:
            tensors = [opened.library.convert_to_tensor(each) for each in (ids, mask)]
        found = opened.model.generate(
            input_ids=tensors[0],
            attention_mask=tensors[1],
            return_dict_in_generate=True,
            **{**self._settings, **settings},
        )
        sequences = _array(found["sequences"])
        scores = found.get("sequences_scores")
        values = None if scores is None else _array(scores).astype(np.float64)
        written = []
        for index in range(len(rows)):
            own = slice(index * self._returned, (index + 1) * self._returned)
            before = width - len(rows[index]) if self._side == "left" else 0
            texts = [self._without_padding(row[before:]) for row in sequences[own].tolist()]
            written.append(Rows(texts, None if values is None else values[own].tolist()))
        return written

    def _without_padding(self, row: list[int]) -> list[int]:
        end = len(row)
        while end and row[end - 1] == self._pad:
            end -= 1
        return row[:end]


def _array(tensor: Any) -> Any:
    """A tensor of either framework as an array."""
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def check_translator(checkpoint: Checkpoint) -> None:
    """Refuse what is no translation model.

    Raises:
        InputError: If the checkpoint has no decoder.
    """
    architecture, source = class_of(checkpoint), checkpoint.source
    if architecture != ENCODER_DECODER:
        raise InputError(
            f"{source} is an encoder ({architecture}) and has no decoder, so it cannot translate. "
            f"A translation model is started from it by {ENCODER_DECODER}.from_pretrained("
            f"encoder={source!r}, decoder={source!r}), whose attention to the source is new, and "
            "has to be trained before it translates."
        )


def check_language_model(checkpoint: Checkpoint) -> None:
    """Refuse what does not continue texts.

    Raises:
        InputError: If the checkpoint is no language model.
    """
    architecture = class_of(checkpoint)
    if architecture == ENCODER_DECODER:
        raise InputError(
            f"{checkpoint.source} is a translation model, which continues no texts: use "
            "`xlm translate`."
        )
    if architecture != LANGUAGE_MODEL:
        raise InputError(
            f"{checkpoint.source} is a checkpoint of {architecture}, without an output layer over "
            f"the vocabulary: expected one of {LANGUAGE_MODEL}."
        )
