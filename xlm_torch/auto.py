"""Open the class that a folder names."""

from __future__ import annotations

import os
from typing import Any

import torch

from xlm_core.checkpoints import open_checkpoint
from xlm_core.errors import CheckpointError
from xlm_core.weights import ARCHITECTURES
from xlm_torch.classification import (
    XLMForMultipleChoice,
    XLMForSequenceClassification,
    XLMForTokenClassification,
)
from xlm_torch.language_model import XLMWithLMHeadModel
from xlm_torch.model import XLMModel
from xlm_torch.pretrained import XLMPreTrainedModel
from xlm_torch.question_answering import XLMForQuestionAnswering, XLMForQuestionAnsweringSimple

# The name in config.json's "architectures" -> class.
MODEL_CLASSES: dict[str, type[XLMPreTrainedModel]] = {
    model_class.architecture: model_class
    for model_class in (
        XLMModel,
        XLMWithLMHeadModel,
        XLMForSequenceClassification,
        XLMForMultipleChoice,
        XLMForTokenClassification,
        XLMForQuestionAnsweringSimple,
        XLMForQuestionAnswering,
    )
}


def from_pretrained(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | str | None = None,
    ignore_mismatched_sizes: bool = False,
    revision: str | None = None,
    local_files_only: bool = False,
    tied: str | None = None,
    **config_overrides: Any,
) -> XLMPreTrainedModel:
    """Open a checkpoint in the class that its configuration names, or its tensors show.

    Of an encoder-decoder, this is the language model of its encoder.

    Args:
        path, dtype, ignore_mismatched_sizes, revision, local_files_only, tied, config_overrides:
            As in `XLMPreTrainedModel.from_pretrained`.

    Raises:
        CheckpointError: If it names none of the family's classes, or does not fit.
    """
    dtype = config_overrides.pop("torch_dtype", dtype)  # transformers' older name
    checkpoint = open_checkpoint(
        path, revision=revision, local_files_only=local_files_only, tied=tied, **config_overrides
    ).as_model()
    if checkpoint.architecture is None:
        raise CheckpointError(
            f"{checkpoint.source}: config.json has architectures "
            f"{checkpoint.config.architectures!r}: expected one of {list(ARCHITECTURES)}. Use "
            "from_pretrained of the class that you want."
        )
    model_class = MODEL_CLASSES[checkpoint.architecture]
    return model_class._from_checkpoint(checkpoint, dtype, ignore_mismatched_sizes)
