"""Labels that do not fit are refused in the PyTorch family's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tf.refusals import GOOD, IDS, LANGS, VECTOR, assert_refused_alike, pair, with_value
from xlm_core import XLMWarning

# (architecture, labels, message)
WRONG_LABELS: list[tuple[str, dict[str, Any], str]] = [
    ("XLMWithLMHeadModel", {"labels": with_value(IDS, 50)}, "labels holds 50: "),
    ("XLMWithLMHeadModel", {"labels": with_value(IDS, -1)}, "labels holds -1: "),
    ("XLMWithLMHeadModel", {"labels": IDS[:, 1:]}, "labels has shape (2, 5)"),
    ("XLMWithLMHeadModel", {"labels": IDS.astype(np.float32)}, "labels has a float dtype"),
    ("XLMWithLMHeadModel", {"labels": IDS.tolist()}, "labels is a list"),
    ("XLMForTokenClassification", {"labels": with_value(LANGS, 7)}, "labels holds 7: "),
    ("XLMForTokenClassification", {"labels": VECTOR}, "labels has shape (2"),
    ("XLMForSequenceClassification", {"labels": VECTOR + 6}, "labels holds 7: "),
    ("XLMForSequenceClassification", {"labels": VECTOR - 1}, "labels holds -1"),
    ("XLMForSequenceClassification", {"labels": LANGS}, "labels has shape (2, 6)"),
    ("XLMForSequenceClassification", {"labels": np.ones((2, 6))}, "labels has shape (2, 6)"),
    ("XLMForSequenceClassification", {"labels": [0, 1]}, "labels is a list"),
    ("XLMForQuestionAnsweringSimple", {"start_positions": VECTOR}, "only start_positions"),
    ("XLMForQuestionAnsweringSimple", {"end_positions": VECTOR}, "only end_positions"),
    ("XLMForQuestionAnsweringSimple", {"start_positions": LANGS, "end_positions": VECTOR},
     "start_positions has shape (2, 6): expected (batch,)"),
    ("XLMForQuestionAnsweringSimple", {"start_positions": VECTOR * 1.0, "end_positions": VECTOR},
     "start_positions has a float dtype"),
    ("XLMForQuestionAnswering", {"start_positions": VECTOR + 5, "end_positions": VECTOR},
     "start_positions holds 6: "),
    ("XLMForQuestionAnswering", {"start_positions": VECTOR, "end_positions": VECTOR - 1},
     "end_positions holds -1"),
    ("XLMForQuestionAnswering", {"start_positions": VECTOR}, "only start_positions"),
    ("XLMForQuestionAnswering", {"cls_index": VECTOR + 5}, "cls_index holds 6"),
    ("XLMForQuestionAnswering", {"p_mask": np.ones((2, 5))}, "p_mask has shape (2, 5)"),
    ("XLMForQuestionAnswering", {"is_impossible": np.ones(3)}, "is_impossible has shape"),
    ("XLMForQuestionAnswering", {"is_impossible": VECTOR + 1}, "is_impossible holds 2"),
    ("XLMForQuestionAnswering", {"p_mask": np.full((2, 6), 0.5)}, "neither 0 nor 1"),
    ("XLMForQuestionAnswering", {"p_mask": LANGS + 3}, "neither 0 nor 1"),
    ("XLMForSequenceClassification", {"labels": np.full((2, 7), 3.0)}, "labels holds 3"),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "labels", "text"), WRONG_LABELS)
def test_labels_that_do_not_fit(architecture: str, labels: dict[str, Any], text: str) -> None:
    assert text in assert_refused_alike(pair(architecture), {**GOOD, **labels})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input_ids": IDS}, "input_ids has shape (2, 6): expected 3 dimensions"),
        ({"langs": LANGS}, "langs has shape (2, 6): expected (batch, choices"),
        ({"lengths": np.array([1, 2, 3])}, "lengths has shape (3"),
        ({"labels": VECTOR + 2}, "labels holds 3: "),
        ({"labels": LANGS}, "labels has shape (2, 6)"),
        ({"input_ids": None}, "neither of input_ids"),
        ({"input_ids": None, "inputs_embeds": np.ones((6, 6, 12), np.float32)}, "4 dimensions"),
    ],
)
def test_multiple_choice(changes: dict[str, Any], text: str) -> None:
    three = {name: np.repeat(array[:, None], 3, 1) for name, array in GOOD.items()}
    models = pair("XLMForMultipleChoice")
    assert models[0](**three).logits.shape == (2, 3)
    assert text in assert_refused_alike(models, {**three, **changes})


def test_lengths_of_examples_say_nothing_of_choices() -> None:
    three = {name: np.repeat(array[:, None], 3, 1) for name, array in GOOD.items()}
    tf_model = pair("XLMForMultipleChoice")[0]
    expected = np.asarray(tf_model(**three).logits)
    with pytest.warns(XLMWarning, match="says nothing of the choices"):
        found = tf_model(**three, lengths=np.array([1, 2])).logits
    assert np.array_equal(np.asarray(found), expected)


def test_more_beams_than_positions() -> None:
    models = pair("XLMForQuestionAnswering", start_n_top=7, end_n_top=2)
    text = assert_refused_alike(models, GOOD)
    assert "6 positions, but start_n_top is 7 and end_n_top is 2" in text
