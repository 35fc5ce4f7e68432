"""Registers the output classes of `xlm_core.outputs` with PyTorch, and re-exports them."""

import torch

from xlm_core.outputs import (
    OUTPUT_CLASSES,
    BaseModelOutput,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
    XLMForQuestionAnsweringOutput,
)

__all__ = [
    "BaseModelOutput",
    "MaskedLMOutput",
    "ModelOutput",
    "MultipleChoiceModelOutput",
    "QuestionAnsweringModelOutput",
    "SequenceClassifierOutput",
    "TokenClassifierOutput",
    "XLMForQuestionAnsweringOutput",
]

# torch.compile, torch.export and DistributedDataParallel look inside what models return.
for _output_class in OUTPUT_CLASSES:
    torch.export.register_dataclass(
        _output_class, serialized_type_name=f"xlm_core.outputs.{_output_class.__name__}"
    )
