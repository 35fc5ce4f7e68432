"""What transformers' PreTrainedModel shows is here or explained."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel

from tests.support.public_names import assert_complete, public
from xlm_torch import XLMModel


def test_every_name_is_here_or_explained() -> None:
    assert_complete("PreTrainedModel", public(PreTrainedModel) - public(nn.Module), XLMModel)
