"""Open the class that a folder names."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from xlm_core.checkpoints import open_as_asked
from xlm_core.config import XLMConfig
from xlm_core.errors import CheckpointError
from xlm_tf.classification import (
    TFXLMForMultipleChoice,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
)
from xlm_tf.language_model import TFXLMWithLMHeadModel
from xlm_tf.model import TFXLMModel
from xlm_tf.pretrained import TFXLMPreTrainedModel, arrays_of
from xlm_tf.question_answering import TFXLMForQuestionAnswering, TFXLMForQuestionAnsweringSimple
from xlm_tf.translation import TFXLMForConditionalGeneration

# The name in config.json's "architectures" -> class.
MODEL_CLASSES: dict[str, type[TFXLMPreTrainedModel]] = {
    model_class.architecture: model_class
    for model_class in (
        TFXLMModel,
        TFXLMWithLMHeadModel,
        TFXLMForSequenceClassification,
        TFXLMForMultipleChoice,
        TFXLMForTokenClassification,
        TFXLMForQuestionAnsweringSimple,
        TFXLMForQuestionAnswering,
        TFXLMForConditionalGeneration,
    )
}


def from_pretrained(
    path: str | os.PathLike[str] | None = None,
    *,
    config: XLMConfig | str | os.PathLike[str] | None = None,
    dtype: Any = None,
    device_map: Any = None,
    state_dict: Mapping[str, Any] | None = None,
    ignore_mismatched_sizes: bool = False,
    output_loading_info: bool = False,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    token: str | bool | None = None,
    subfolder: str = "",
    variant: str | None = None,
    use_safetensors: bool | None = None,
    tied: str | None = None,
    **config_overrides: Any,
) -> Any:
    """Open a checkpoint in the class that its configuration names, or its tensors show.

    Args:
        path, config, dtype, device_map, state_dict, ignore_mismatched_sizes, output_loading_info,
            revision, local_files_only, cache_dir, force_download, token, subfolder, variant,
            use_safetensors, tied, config_overrides: As in `TFXLMPreTrainedModel.from_pretrained`.

    Returns:
        The model; with output_loading_info, a pair of it and what the file lacks and has beside.

    Raises:
        CheckpointError: If it names none of the family's classes, or does not fit.
    """
    dtype = config_overrides.pop("torch_dtype", dtype)  # transformers' older name
    checkpoint = open_as_asked(
        path,
        config_overrides,
        config=config,
        tensors=None if state_dict is None else arrays_of(state_dict),
        revision=revision,
        local_files_only=local_files_only,
        cache_dir=cache_dir,
        force_download=force_download,
        token=token,
        subfolder=subfolder,
        variant=variant,
        use_safetensors=use_safetensors,
        tied=tied,
    )
    if checkpoint.architecture is None:
        raise CheckpointError(
            f"{checkpoint.source}: config.json has architectures "
            f"{checkpoint.config.architectures!r}: expected one of {list(MODEL_CLASSES)}. Use "
            "from_pretrained of the class that you want."
        )
    model_class = MODEL_CLASSES[checkpoint.architecture]
    return model_class._opened(
        checkpoint,
        dtype,
        device_map,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        output_loading_info=output_loading_info,
    )
