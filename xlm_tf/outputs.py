"""Registers the output classes of `xlm_core.outputs` with Keras, and re-exports them.

What a tokenizer returns is registered too, so that `fit`, `predict` and models take it.

TensorFlow's own structures (tf.nest, tf.function) take them as the dictionaries that they are.
"""

from typing import Any

import optree

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
from xlm_core.tokenization.calls.encoding import BatchEncoding

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


def _register(output_class: type[ModelOutput]) -> None:
    def flatten(output: ModelOutput) -> tuple[tuple[Any, ...], tuple[str, ...], tuple[str, ...]]:
        names = tuple(output.keys())
        return output.to_tuple(), names, names

    def unflatten(names: tuple[str, ...], values: tuple[Any, ...]) -> ModelOutput:
        # Keras fills structures with values of any kind, so no value may be taken for a mapping.
        output = output_class.__new__(output_class)
        for field in output_class.field_names():
            object.__setattr__(output, field, None)
        for name, value in zip(names, values, strict=True):
            object.__setattr__(output, name, value)
            dict.__setitem__(output, name, value)
        return output

    # optree's types name str where they mean anything.
    optree.register_pytree_node(output_class, flatten, unflatten, namespace="keras")  # type: ignore[arg-type]


def _register_encoding() -> None:
    def flatten(
        encoding: BatchEncoding,
    ) -> tuple[tuple[Any, ...], tuple[str, ...], tuple[str, ...]]:
        names = tuple(encoding)
        return tuple(encoding.values()), names, names

    def unflatten(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(names, values, strict=True))

    optree.register_pytree_node(BatchEncoding, flatten, unflatten, namespace="keras")  # type: ignore[arg-type]


# Keras' predict, functional models and symbolic calls look inside what models return.
for _output_class in OUTPUT_CLASSES:
    _register(_output_class)
_register_encoding()
