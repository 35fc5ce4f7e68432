"""Pointing transformers' Auto classes to the classes of this package."""

from __future__ import annotations

from typing import Any

import transformers
from transformers.models.auto import tokenization_auto

from xlm_torch.for_transformers import models
from xlm_torch.for_transformers.configuration import XLMConfig
from xlm_torch.for_transformers.tokenizer import XLMTokenizer

_CLASSES: dict[str, type[Any]] = {
    "AutoModel": models.XLMModel,
    "AutoModelForPreTraining": models.XLMWithLMHeadModel,
    "AutoModelWithLMHead": models.XLMWithLMHeadModel,
    "AutoModelForMaskedLM": models.XLMWithLMHeadModel,
    "AutoModelForCausalLM": models.XLMWithLMHeadModel,
    "AutoModelForSeq2SeqLM": models.XLMForConditionalGeneration,
    "AutoModelForSequenceClassification": models.XLMForSequenceClassification,
    "AutoModelForMultipleChoice": models.XLMForMultipleChoice,
    "AutoModelForTokenClassification": models.XLMForTokenClassification,
    "AutoModelForQuestionAnswering": models.XLMForQuestionAnsweringSimple,
}


def register() -> None:
    """Let `AutoConfig`, `AutoTokenizer` and `AutoModel...` open XLM in the classes of this package.

    For folders and published names whose model_type is "xlm", in this process, from now on; calling
    it again changes nothing. `pipeline("fill-mask", folder)` and tools that use Auto classes then
    run this library.
    """
    transformers.AutoConfig.register("xlm", XLMConfig, exist_ok=True)
    for name, model_class in _CLASSES.items():
        auto = getattr(transformers, name, None)
        if auto is not None:
            auto.register(XLMConfig, model_class, exist_ok=True)
    _register_tokenizer()


def _register_tokenizer() -> None:
    transformers.AutoTokenizer.register(XLMConfig, XLMTokenizer, exist_ok=True)
    names = tokenization_auto.TOKENIZER_MAPPING_NAMES
    if isinstance(names.get("xlm"), tuple):
        # transformers 4 looks the name in tokenizer_config.json up among its own classes first.
        del names["xlm"]
