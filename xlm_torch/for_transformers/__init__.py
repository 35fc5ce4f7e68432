"""XLM as transformers' own kind: for its Trainer, pipelines, `generate`, for PEFT and accelerate.

The classes have the published names, and are both this library's and transformers' (4.57 or 5):
`isinstance(model, transformers.PreTrainedModel)` holds, which those tools ask before they save a
whole folder, pad, generate or adapt. What is computed, opened and written is this library's.
Importing this changes nothing in transformers; `register()` lets its Auto classes open XLM so.

This is the only part of the library that imports transformers.
"""

from xlm_torch.for_transformers.configuration import XLMConfig
from xlm_torch.for_transformers.models import (
    XLMForConditionalGeneration,
    XLMForMultipleChoice,
    XLMForQuestionAnswering,
    XLMForQuestionAnsweringSimple,
    XLMForSequenceClassification,
    XLMForTokenClassification,
    XLMModel,
    XLMPreTrainedModel,
    XLMWithLMHeadModel,
)
from xlm_torch.for_transformers.registration import register
from xlm_torch.for_transformers.tokenizer import XLMTokenizer

__all__ = [
    "XLMConfig",
    "XLMForConditionalGeneration",
    "XLMForMultipleChoice",
    "XLMForQuestionAnswering",
    "XLMForQuestionAnsweringSimple",
    "XLMForSequenceClassification",
    "XLMForTokenClassification",
    "XLMModel",
    "XLMPreTrainedModel",
    "XLMTokenizer",
    "XLMWithLMHeadModel",
    "register",
]
