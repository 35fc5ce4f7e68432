"""Registers the output classes of `xlm_core.outputs` with PyTorch, and re-exports them."""

from collections.abc import Iterable
from functools import partial
from typing import Any

from torch.utils import _pytree as pytree

from xlm_core.outputs import (
    OUTPUT_CLASSES,
    BaseModelOutput,
    BaseModelOutputWithCrossAttentions,
    GenerateOutput,
    MaskedLMOutput,
    ModelOutput,
    MultipleChoiceModelOutput,
    QuestionAnsweringModelOutput,
    Seq2SeqLMOutput,
    SequenceClassifierOutput,
    TokenClassifierOutput,
    XLMForQuestionAnsweringOutput,
)

__all__ = [
    "BaseModelOutput",
    "BaseModelOutputWithCrossAttentions",
    "GenerateOutput",
    "MaskedLMOutput",
    "ModelOutput",
    "MultipleChoiceModelOutput",
    "QuestionAnsweringModelOutput",
    "Seq2SeqLMOutput",
    "SequenceClassifierOutput",
    "TokenClassifierOutput",
    "XLMForQuestionAnsweringOutput",
]


def _flatten(output: ModelOutput) -> tuple[list[Any], list[str]]:
    return list(output.values()), list(output)


def _flatten_with_keys(output: ModelOutput) -> tuple[list[tuple[Any, Any]], list[str]]:
    return [(pytree.MappingKey(key), value) for key, value in output.items()], list(output)


def _unflatten(kind: type[ModelOutput], values: Iterable[Any], keys: list[str]) -> ModelOutput:
    output = kind()
    for key, value in zip(keys, values, strict=True):
        output[key] = value
    return output


# torch.compile, torch.export and DistributedDataParallel look inside what models return; keys that
# users set are kept, which `torch.export.register_dataclass` would drop.
for _output_class in OUTPUT_CLASSES:
    pytree.register_pytree_node(
        _output_class,
        _flatten,
        partial(_unflatten, _output_class),
        serialized_type_name=f"xlm_core.outputs.{_output_class.__name__}",
        flatten_with_keys_fn=_flatten_with_keys,
    )
