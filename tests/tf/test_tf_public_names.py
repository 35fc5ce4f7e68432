"""What transformers' TFPreTrainedModel shows, beside Keras' own names, is here or explained."""

from __future__ import annotations

import tf_keras
from transformers import TFPreTrainedModel

from tests.support.public_names import assert_complete, public
from xlm_tf import TFXLMModel


def test_every_name_is_here_or_explained() -> None:
    theirs = public(TFPreTrainedModel) - public(tf_keras.Model)
    assert_complete("TFPreTrainedModel", theirs, TFXLMModel)
