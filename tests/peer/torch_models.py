"""transformers' common tests of PyTorch models, for XLM's: one small model of every class."""

from __future__ import annotations

import unittest
from typing import Any

import torch
from peer_tests import test_modeling_common
from peer_tests.generation.test_utils import GenerationTesterMixin
from peer_tests.test_configuration_common import ConfigTester
from peer_tests.test_modeling_common import ModelTesterMixin, ids_tensor, random_attention_mask
from transformers.models.xlm.modeling_xlm import create_sinusoidal_embeddings

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


# One of the common tests holds that a tester has this exactly if one of its classes generates.
_GENERATION = (GenerationTesterMixin,) if any(each.can_generate() for each in CLASSES) else ()


class XLMModelTest(ModelTesterMixin, *_GENERATION, unittest.TestCase):  # type: ignore[misc]
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

    # What transformers' file for XLM tests beside the common tests, which its source distribution
    # lacks: every class is called as published, and its outputs have their shapes.

    def _model(self, name: str) -> Any:
        return getattr(family, name)(self.model_tester.get_config()).eval()

    def _drawn(self, below: int, *more: int) -> torch.Tensor:
        """Integers below a bound, one for each sequence of the batch or one for each token."""
        drawn: torch.Tensor = ids_tensor([self.model_tester.batch_size, *more], below)
        return drawn

    def test_xlm_model(self) -> None:
        tester, model = self.model_tester, self._model("XLMModel")
        shape = (tester.batch_size, tester.seq_length)
        ids, langs = self._drawn(tester.vocab_size, shape[1]), self._drawn(2, shape[1])
        model(ids, lengths=self._drawn(2) + shape[1] - 2, langs=langs)
        model(ids, langs=langs)
        assert model(ids).last_hidden_state.shape == (*shape, tester.hidden_size)

    def test_xlm_model_with_sinusoidal_encodings(self) -> None:
        config = XLMConfig(sinusoidal_embeddings=True, n_layers=1, vocab_size=99)
        positions = family.XLMModel(config).position_embeddings.weight
        expected = torch.empty(config.max_position_embeddings, config.emb_dim)
        create_sinusoidal_embeddings(*expected.shape, expected)
        assert torch.equal(positions, expected)

    def test_xlm_lm_head(self) -> None:
        tester, model = self.model_tester, self._model("XLMWithLMHeadModel")
        ids, langs = self._drawn(tester.vocab_size, 7), self._drawn(2, 7)
        found = model(ids, token_type_ids=langs, labels=self._drawn(2, 7))
        assert found.loss.shape == ()
        assert found.logits.shape == (*ids.shape, tester.vocab_size)

    def test_xlm_simple_qa(self) -> None:
        ids, model = self._drawn(99, 7), self._model("XLMForQuestionAnsweringSimple")
        model(ids)
        found = model(ids, start_positions=self._drawn(2), end_positions=self._drawn(2))
        assert found.start_logits.shape == found.end_logits.shape == ids.shape

    def test_xlm_qa(self) -> None:
        ids, model = self._drawn(99, 7), self._model("XLMForQuestionAnswering")
        found = model(ids)
        span = {"start_positions": self._drawn(2), "end_positions": self._drawn(2)}
        answer = {"cls_index": self._drawn(2), "is_impossible": self._drawn(2).float()}
        model(ids, **span, **answer, p_mask=random_attention_mask(list(ids.shape)))
        for labels in ({**span, **answer}, span):
            (loss,) = model(ids, **labels).to_tuple()
            assert loss.shape == ()
        starts, ends = model.config.start_n_top, model.config.end_n_top
        for name, count in (("start", starts), ("end", starts * ends)):
            assert found[f"{name}_top_log_probs"].shape == (len(ids), count)
            assert found[f"{name}_top_index"].shape == (len(ids), count)
        assert found.cls_logits.shape == (len(ids),)

    def test_xlm_sequence_classif(self) -> None:
        ids, model = self._drawn(99, 7), self._model("XLMForSequenceClassification")
        model(ids)
        found = model(ids, labels=self._drawn(2))
        assert found.loss.shape == ()
        assert found.logits.shape == (len(ids), 2)

    def test_xlm_token_classif(self) -> None:
        ids, model = self._drawn(99, 7), self._model("XLMForTokenClassification")
        mask = random_attention_mask(list(ids.shape))
        found = model(ids, attention_mask=mask, labels=self._drawn(2, 7))
        assert found.logits.shape == (*ids.shape, 2)

    def test_xlm_for_multiple_choice(self) -> None:
        choices, model = self.model_tester.num_choices, self._model("XLMForMultipleChoice")
        ids, langs = self._drawn(99, choices, 7), self._drawn(2, choices, 7)
        mask = random_attention_mask([len(ids), 7])[:, None].repeat(1, choices, 1)
        labels = self._drawn(choices)
        found = model(ids, attention_mask=mask, token_type_ids=langs, labels=labels)
        assert found.logits.shape == (len(ids), choices)
