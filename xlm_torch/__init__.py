"""XLM in PyTorch: `XLMModel` and its heads."""

from xlm_core.config import XLMConfig
from xlm_core.distribution import __version__, missing_framework
from xlm_core.errors import MissingPackageError
from xlm_core.tokenization.tokenizer import XLMTokenizer

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise MissingPackageError(missing_framework("PyTorch", ("torch",), "torch", error)) from error

from xlm_torch.auto import MODEL_CLASSES, from_pretrained
from xlm_torch.cache import KeyValueCache
from xlm_torch.classification import (
    XLMForMultipleChoice,
    XLMForSequenceClassification,
    XLMForTokenClassification,
)
from xlm_torch.fast import formulas_only
from xlm_torch.fast.packing import pack_weights, unpack_weights
from xlm_torch.kernels import plain_kernels
from xlm_torch.language_model import XLMWithLMHeadModel
from xlm_torch.model import XLMModel
from xlm_torch.optimizers import OriginalAdam
from xlm_torch.pretrained import XLMPreTrainedModel
from xlm_torch.quantization import quantize
from xlm_torch.question_answering import XLMForQuestionAnswering, XLMForQuestionAnsweringSimple
from xlm_torch.texts.embeddings import encode, encode_each
from xlm_torch.texts.filling import fill_mask
from xlm_torch.texts.scoring import score
from xlm_torch.translation import XLMForConditionalGeneration
from xlm_torch.vector_math import settle_functions

settle_functions()

__all__ = [
    "MODEL_CLASSES",
    "KeyValueCache",
    "OriginalAdam",
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
    "__version__",
    "encode",
    "encode_each",
    "fill_mask",
    "formulas_only",
    "from_pretrained",
    "pack_weights",
    "plain_kernels",
    "quantize",
    "score",
    "unpack_weights",
]
