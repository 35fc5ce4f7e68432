"""What models of this kind return: transformers' own output classes, with the library's values.

Its pipelines look for these: they index outputs by number and put keys into them.
"""

from __future__ import annotations

from typing import Any

from transformers import modeling_outputs
from transformers.models.xlm import modeling_xlm

from xlm_torch import outputs

_CLASSES: dict[type[outputs.ModelOutput], type[Any]] = {
    outputs.BaseModelOutput: modeling_outputs.BaseModelOutput,
    outputs.MaskedLMOutput: modeling_outputs.MaskedLMOutput,
    outputs.Seq2SeqLMOutput: modeling_outputs.Seq2SeqLMOutput,
    outputs.SequenceClassifierOutput: modeling_outputs.SequenceClassifierOutput,
    outputs.MultipleChoiceModelOutput: modeling_outputs.MultipleChoiceModelOutput,
    outputs.TokenClassifierOutput: modeling_outputs.TokenClassifierOutput,
    outputs.QuestionAnsweringModelOutput: modeling_outputs.QuestionAnsweringModelOutput,
    outputs.XLMForQuestionAnsweringOutput: modeling_xlm.XLMForQuestionAnsweringOutput,
}


def as_transformers_output(output: outputs.ModelOutput) -> Any:
    """The output of transformers' class of the same name."""
    return _CLASSES[type(output)](**output)
