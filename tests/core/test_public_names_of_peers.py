"""What transformers' tokenizer, its encodings and its configurations show is here or explained.

Models have the same test beside the others of their family.
"""

from __future__ import annotations

import pytest
from transformers import BatchEncoding, PretrainedConfig, PreTrainedTokenizer

import xlm_core
from tests.support.public_names import assert_complete, public

CASES: dict[str, tuple[set[str], object]] = {
    "PreTrainedTokenizer": (public(PreTrainedTokenizer), xlm_core.XLMTokenizer),
    "BatchEncoding": (public(BatchEncoding), xlm_core.BatchEncoding()),
    "PretrainedConfig": (public(PretrainedConfig, PretrainedConfig()), xlm_core.XLMConfig()),
}


@pytest.mark.parametrize("title", CASES)
def test_every_name_is_here_or_explained(title: str) -> None:
    assert_complete(title, *CASES[title])
