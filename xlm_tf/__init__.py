"""XLM in Keras 3 on TensorFlow: `TFXLMModel` and its heads."""

from xlm_core.config import XLMConfig
from xlm_core.distribution import __version__, missing_framework
from xlm_core.errors import MissingPackageError
from xlm_core.tokenization.tokenizer import XLMTokenizer

try:
    import keras
except ImportError as error:
    raise MissingPackageError(
        missing_framework("TensorFlow", ("tensorflow", "keras"), "tf", error)
    ) from error

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"xlm_tf needs Keras on TensorFlow, and finds it on {keras.backend.backend()!r}: set "
        "KERAS_BACKEND=tensorflow before keras is imported."
    )

from xlm_tf.auto import MODEL_CLASSES, from_pretrained
from xlm_tf.cache import KeyValueCache
from xlm_tf.classification import (
    TFXLMForMultipleChoice,
    TFXLMForSequenceClassification,
    TFXLMForTokenClassification,
)
from xlm_tf.fast import formulas_only
from xlm_tf.kernels import plain_kernels
from xlm_tf.language_model import TFXLMWithLMHeadModel
from xlm_tf.model import TFXLMModel
from xlm_tf.optimizers import AdamW, OriginalAdam
from xlm_tf.pretrained import TFXLMPreTrainedModel
from xlm_tf.quantization import quantize
from xlm_tf.question_answering import TFXLMForQuestionAnswering, TFXLMForQuestionAnsweringSimple
from xlm_tf.texts.embeddings import encode, encode_each
from xlm_tf.texts.filling import fill_mask
from xlm_tf.texts.scoring import score
from xlm_tf.translation import TFXLMForConditionalGeneration

__all__ = [  # noqa: RUF022  (one order for both families)
    "MODEL_CLASSES",
    "AdamW",
    "KeyValueCache",
    "OriginalAdam",
    "XLMConfig",
    "TFXLMForConditionalGeneration",
    "TFXLMForMultipleChoice",
    "TFXLMForQuestionAnswering",
    "TFXLMForQuestionAnsweringSimple",
    "TFXLMForSequenceClassification",
    "TFXLMForTokenClassification",
    "TFXLMModel",
    "TFXLMPreTrainedModel",
    "XLMTokenizer",
    "TFXLMWithLMHeadModel",
    "__version__",
    "encode",
    "encode_each",
    "fill_mask",
    "formulas_only",
    "from_pretrained",
    "plain_kernels",
    "quantize",
    "score",
]
