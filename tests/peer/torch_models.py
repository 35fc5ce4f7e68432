"""transformers' common tests of PyTorch models, for XLM's: one small model of every class."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from peer_tests import test_modeling_common
from peer_tests.test_configuration_common import ConfigTester
from peer_tests.test_modeling_common import ModelTesterMixin, ids_tensor, random_attention_mask

from tests.peer.small_model import SmallModel
from tests.peer.subject import subject

if subject() == "theirs":
    import transformers as family
    from transformers import XLMConfig
elif subject() == "kind":
    import xlm_torch.for_transformers as family  # type: ignore[no-redef]
    from xlm_torch.for_transformers import XLMConfig  # type: ignore[assignment]
else:
    import xlm_torch as family  # type: ignore[no-redef]
    from xlm_core import XLMConfig  # type: ignore[assignment]

CLASSES = tuple(
    getattr(family, name)
    for name in (
        "XLMModel",
        "XLMWithLMHeadModel",
        "XLMForQuestionAnswering",
        "XLMForSequenceClassification",
        "XLMForQuestionAnsweringSimple",
        "XLMForTokenClassification",
        "XLMForMultipleChoice",
    )
)


# Flags that only these tests read: whose attention kernels a class takes. XLM takes none of them.
if subject() == "ours":
    for _class in CLASSES:
        _class._supports_sdpa = _class._supports_flash_attn = _class._supports_flex_attn = False
        _class._can_set_attn_implementation = classmethod(lambda cls: False)


def _set_small_rounding(config: Any) -> None:
    # The tests' own sets keys of all kinds of models, of which ours refuses those that would
    # compute something else.
    config.layer_norm_eps = 1.0


if subject() != "theirs":
    test_modeling_common.set_config_for_less_flaky_test = _set_small_rounding


class XLMModelTester(SmallModel):
    """Makes the configuration and the inputs that the common tests ask for."""

    config_class = XLMConfig

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        """A configuration, and the arguments of `XLMModel.forward`."""
        shape = [self.batch_size, self.seq_length]
        return self.get_config(), {
            "input_ids": ids_tensor(shape, self.vocab_size),
            "token_type_ids": ids_tensor(shape, 2),
            "lengths": ids_tensor([self.batch_size], 2) + self.seq_length - 2,
            "attention_mask": random_attention_mask(shape),
        }


class XLMModelTest(ModelTesterMixin, unittest.TestCase):  # type: ignore[misc]
    """Every class of the family."""

    all_model_classes = CLASSES
    test_all_params_have_gradient = False  # language embeddings have none without langs

    def setUp(self) -> None:
        self.model_tester = XLMModelTester(self)
        self.config_tester = ConfigTester(self, config_class=XLMConfig, emb_dim=37)

    def _prepare_for_class(
        self, inputs_dict: dict[str, Any], model_class: Any, return_labels: bool = False
    ) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class.__name__ == "XLMForQuestionAnswering":
            for name in ("start_positions", "end_positions"):
                inputs[name] = torch.zeros(self.model_tester.batch_size, dtype=torch.long)
        return inputs

    def test_config(self) -> None:
        self.config_tester.run_common_tests()
