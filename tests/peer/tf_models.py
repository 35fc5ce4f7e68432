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
from peer_tests.test_configuration_common import ConfigTester  # noqa: E402

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
        self.config_tester = ConfigTester(self, config_class=XLMConfig, emb_dim=37)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    # What transformers' file for XLM tests beside the common tests, which its source distribution
    # lacks: every class is called as published, and its outputs have their shapes.

    def _model(self, name: str) -> Any:
        return getattr(family, name)(self.model_tester.get_config())

    def _drawn(self, below: int, *more: int) -> tf.Tensor:
        """Integers below a bound, one for each sequence of the batch or one for each token."""
        return common.ids_tensor([self.model_tester.batch_size, *more], below)

    def _lengths(self) -> tf.Tensor:
        return self._drawn(2) + self.model_tester.seq_length - 2

    def test_xlm_model(self) -> None:
        tester, model = self.model_tester, self._model("TFXLMModel")
        ids, langs = self._drawn(tester.vocab_size, 7), self._drawn(2, 7)
        model({"input_ids": ids, "lengths": self._lengths(), "langs": langs})
        mask = common.random_attention_mask(list(ids.shape), dtype=tf.float32)
        found = model([ids, mask])
        assert found.last_hidden_state.shape == (*ids.shape, tester.hidden_size)

    def test_xlm_lm_head(self) -> None:
        tester, model = self.model_tester, self._model("TFXLMWithLMHeadModel")
        ids, langs = self._drawn(tester.vocab_size, 7), self._drawn(2, 7)
        found = model({"input_ids": ids, "lengths": self._lengths(), "langs": langs})
        assert found.logits.shape == (*ids.shape, tester.vocab_size)

    def test_xlm_qa(self) -> None:
        ids, model = self._drawn(99, 7), self._model("TFXLMForQuestionAnsweringSimple")
        found = model({"input_ids": ids, "lengths": self._lengths()})
        assert found.start_logits.shape == found.end_logits.shape == ids.shape

    def test_xlm_sequence_classif(self) -> None:
        ids, model = self._drawn(99, 7), self._model("TFXLMForSequenceClassification")
        found = model({"input_ids": ids, "lengths": self._lengths()})
        assert found.logits.shape == (len(ids), 2)

    def test_for_token_classification(self) -> None:
        ids, model = self._drawn(99, 7), self._model("TFXLMForTokenClassification")
        mask = common.random_attention_mask(list(ids.shape), dtype=tf.float32)
        langs = self._drawn(2, 7)
        found = model({"input_ids": ids, "attention_mask": mask, "token_type_ids": langs})
        assert found.logits.shape == (*ids.shape, 2)

    def test_for_multiple_choice(self) -> None:
        choices, model = self.model_tester.num_choices, self._model("TFXLMForMultipleChoice")
        ids, langs = self._drawn(99, choices, 7), self._drawn(2, choices, 7)
        mask = common.random_attention_mask([len(ids), 7], dtype=tf.float32)
        mask = tf.repeat(mask[:, None], choices, axis=1)
        found = model({"input_ids": ids, "attention_mask": mask, "token_type_ids": langs})
        assert found.logits.shape == (len(ids), choices)
