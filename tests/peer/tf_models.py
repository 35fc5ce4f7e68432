"""transformers' common tests of TensorFlow models, for XLM's: one small model of every class."""

from __future__ import annotations

import unittest
from typing import Any

import tensorflow as tf
from transformers import testing_utils

from tests.peer.small_model import SmallModel
from tests.peer.subject import subject

# transformers 4.57, whose XLM this is, has lost these two of 4.52.
testing_utils.require_tf = lambda case: case
testing_utils.require_tf2onnx = unittest.skip("no tf2onnx")

from peer_tests import test_modeling_tf_common as common  # noqa: E402

THEIRS = subject() == "theirs"
if THEIRS:
    import transformers as family
    from transformers import XLMConfig
else:
    import keras

    import xlm_tf as family  # type: ignore[no-redef]
    from xlm_core import XLMConfig  # type: ignore[assignment]

NAMES = (
    "TFXLMModel",
    "TFXLMWithLMHeadModel",
    "TFXLMForSequenceClassification",
    "TFXLMForQuestionAnsweringSimple",
    "TFXLMForTokenClassification",
    "TFXLMForMultipleChoice",
)
CLASSES = tuple(getattr(family, name) for name in NAMES)

if not THEIRS:
    # The common tests ask transformers' tables what a class is for, and import its Keras.
    _BY_NAME = dict(zip(NAMES, CLASSES, strict=True))
    _get_values = common.get_values
    common.get_values = lambda table: [_BY_NAME.get(c.__name__, c) for c in _get_values(table)]
    common.keras = keras


class TFXLMModelTester(SmallModel):
    """Makes the configuration and the inputs that the common tests ask for."""

    config_class = XLMConfig

    def get_config(self) -> Any:
        """As there; theirs with a key more."""
        config = super().get_config()
        if THEIRS:  # Their summary asks for it, and their configuration has none.
            config.initializer_range = 0.02
        return config

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        """A configuration, and the arguments of `TFXLMModel.call`."""
        shape = [self.batch_size, self.seq_length]
        return self.get_config(), {
            "input_ids": common.ids_tensor(shape, self.vocab_size),
            "token_type_ids": common.ids_tensor(shape, 2),
            "langs": common.ids_tensor(shape, 2),
            "lengths": common.ids_tensor([self.batch_size], 2) + self.seq_length - 2,
        }


class TFXLMModelTest(common.TFModelTesterMixin, unittest.TestCase):  # type: ignore[misc]
    """Every class of both libraries' families; the beam head is ours alone."""

    all_model_classes = CLASSES
    test_head_masking = False
    test_onnx = False

    def setUp(self) -> None:
        tf.random.set_seed(0)
        self.model_tester = TFXLMModelTester(self)
