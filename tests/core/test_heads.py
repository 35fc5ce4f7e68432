"""What heads decide before any framework: whether they can be built, and which loss they take."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from tests.conftest import make_config
from xlm_core import ConfigError, InputError
from xlm_core.changes import new_vocabulary_size, prune
from xlm_core.heads import both_or_neither, check_beams, check_head, choice_shape, problem_type_of
from xlm_core.inputs import DtypeKind
from xlm_core.weights import ARCHITECTURES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_head_can_be_built(architecture: str) -> None:
    check_head(make_config(num_labels=2), architecture)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_head_on_a_decoder(architecture: str) -> None:
    with pytest.raises(ConfigError, match="is_encoder is False"):
        check_head(make_config(is_encoder=False, num_labels=2), architecture)


@pytest.mark.parametrize("option", ["summary_use_proj", "summary_proj_to_labels"])
def test_choices_need_a_summary_of_the_width_of_labels(option: str) -> None:
    config = make_config(**{option: False})
    message = r"summary has 12 columns.*num_labels \(7\)"
    with pytest.raises(ConfigError, match=message):
        check_head(config, "XLMForMultipleChoice")
    check_head(config, "XLMForSequenceClassification")
    check_head(make_config(**{option: False}, num_labels=12), "XLMForMultipleChoice")


@pytest.mark.parametrize("labels", [0, 1, 3])
def test_spans_need_two_labels(labels: int) -> None:
    with pytest.raises(ConfigError, match=rf"num_labels is {labels}.*num_labels=2"):
        check_head(make_config(num_labels=labels), "XLMForQuestionAnsweringSimple")
    check_head(make_config(num_labels=labels), "XLMForQuestionAnswering")


REGRESSION, SINGLE, MULTI = (
    "regression",
    "single_label_classification",
    "multi_label_classification",
)


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("kind", ["integer", "float"])
def test_problem_type_as_transformers_decides(classes: int, kind: DtypeKind) -> None:
    """transformers writes its decision into its configuration; ours stays as it was."""
    values = dict(vocab_size=53, emb_dim=12, n_layers=1, n_heads=3, max_position_embeddings=19)
    theirs = transformers.XLMForSequenceClassification(
        transformers.XLMConfig(**values, num_labels=classes)
    )
    one_a_row = classes == 1 or kind == "integer"
    labels = torch.zeros((3,) if one_a_row else (3, classes))
    theirs(torch.full((3, 4), 7), labels=labels.long() if kind == "integer" else labels)
    config = make_config(num_labels=classes)
    before = config.to_dict()
    assert problem_type_of(config, kind) == theirs.config.problem_type
    assert config.to_dict() == before


def test_problem_types_by_hand() -> None:
    def decide(classes: int, kind: DtypeKind, **values: Any) -> str:
        return problem_type_of(make_config(num_labels=classes, **values), kind)

    assert decide(1, "float") == decide(1, "integer") == REGRESSION
    assert decide(3, "integer") == SINGLE
    assert decide(3, "float") == decide(3, "bool") == MULTI
    assert decide(1, "integer", problem_type=SINGLE) == SINGLE
    assert decide(3, "integer", problem_type=MULTI) == MULTI


@pytest.mark.parametrize("option", ["summary_use_proj", "summary_proj_to_labels"])
@pytest.mark.parametrize("given", [None, REGRESSION])
def test_no_loss_on_a_summary_that_is_no_scores(option: str, given: str | None) -> None:
    config = make_config(**{option: False}, problem_type=given)
    with pytest.raises(ConfigError, match="summary has 12 columns and num_labels is 7"):
        problem_type_of(config, "integer")


def test_both_positions_or_neither() -> None:
    assert both_or_neither(1, 2) is True
    assert both_or_neither(0, 0) is True
    assert both_or_neither(None, None) is False
    with pytest.raises(InputError, match="only start_positions was given"):
        both_or_neither(1, None)
    with pytest.raises(InputError, match="only end_positions was given"):
        both_or_neither(None, 1)


@pytest.mark.parametrize(("start", "end"), [(4, 1), (1, 4), (4, 4)])
def test_beams_need_as_many_positions(start: int, end: int) -> None:
    config = make_config(start_n_top=start, end_n_top=end)
    check_beams(config, 4)
    check_beams(config, None)
    message = f"has 3 positions, but start_n_top is {start} and end_n_top is {end}"
    with pytest.raises(InputError, match=message):
        check_beams(config, 3)


def test_choice_shape() -> None:
    assert choice_shape("input_ids", (2, 3, 7), 3) == (2, 3)
    assert choice_shape("inputs_embeds", (None, 3, 7, 12), 4) == (None, 3)
    for shape, rank, axes in (
        ((2, 7), 3, r"\(batch, choices, sequence\)"),
        ((2, 3, 7), 4, r"\(batch, choices, sequence, hidden\)"),
    ):
        with pytest.raises(InputError, match=rf"expected {rank} dimensions, {axes}"):
            choice_shape("x", shape, rank)


def test_pruning_plans_what_stays_and_refuses_without_a_trace() -> None:
    config = make_config(pruned_heads={0: [1]})
    assert prune(config, {0: [1, 3], 2: [0]}) == {0: [0, 1], 2: [1, 2, 3]}
    assert config.pruned_heads == {0: [1, 3], 2: [0]}
    assert prune(config, {0: [3]}) == {}
    for impossible in ({3: [0]}, {1: [4]}, {1: [0, 1, 2, 3]}):
        with pytest.raises(ConfigError, match="pruned_heads"):
            prune(config, impossible)
    assert config.pruned_heads == {0: [1, 3], 2: [0]}


def test_vocabulary_sizes() -> None:
    config = make_config()
    assert new_vocabulary_size(config, "XLMModel", None, None) == 53
    assert new_vocabulary_size(config, "XLMModel", None, 8) == 56
    assert new_vocabulary_size(config, "XLMModel", 60, 8) == 64
    with pytest.raises(ConfigError, match="vocab_size is 0"):
        new_vocabulary_size(config, "XLMModel", 0, None)
    adaptive = make_config(asm=True, asm_cutoffs=[10])
    with pytest.raises(ConfigError, match="cannot be resized"):
        new_vocabulary_size(adaptive, "XLMWithLMHeadModel", 60, None)
    assert new_vocabulary_size(adaptive, "XLMModel", 60, None) == 60
