"""Where transformers is wrong, the right thing happens: each known difference, directly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.support.cases import Array
from tests.support.parity import as_array, assert_close_to_largest, assert_equal
from tests.tf.helpers import ADAPTIVE, tiny_model
from xlm_tf.squad_head import top_k

PAD = 2


def _model(architecture: str = "XLMModel", **values: Any) -> Any:
    return tiny_model(architecture, dtype="float64", **{"n_langs": 1, **values})


def _ids(*shape: int) -> Array:
    return np.random.default_rng(1).integers(6, 48, shape)


@pytest.mark.parametrize("causal", [False, True])
def test_left_padding_without_a_mask_masks_the_padding(causal: bool) -> None:
    model, ids = _model(causal=causal), _ids(1, 5)
    padded = np.concatenate((np.full((1, 3), PAD), ids), 1)
    positions = np.array([[0, 0, 0, 0, 1, 2, 3, 4]])
    expected = model(ids).last_hidden_state
    actual = model(padded, position_ids=positions).last_hidden_state
    assert_close_to_largest(actual[:, 3:], expected, 1e-14)
    assert (as_array(actual)[:, :3] == 0).all()
    mask = (padded != PAD).astype(np.int64)
    with_mask = model(padded, attention_mask=mask, position_ids=positions).last_hidden_state
    assert_equal(actual, with_mask)


@pytest.mark.parametrize("how", ["attention_mask", "lengths", "ids"])
def test_padding_under_causal_attention_is_not_attended_to(how: str) -> None:
    model, ids = _model(causal=True), _ids(2, 7)
    mask = np.ones((2, 7), np.int64)
    mask[1, 4:] = 0
    given = {"attention_mask": {"attention_mask": mask}, "lengths": {"lengths": mask.sum(1)}}
    ids = np.where(mask == 1, ids, PAD if how == "ids" else 9)
    output = model(ids, **given.get(how, {}), output_attentions=True)
    for weights in output.attentions:
        assert (weights.numpy()[1, :, :, 4:] == 0).all()
        assert_close_to_largest(tf.reduce_sum(weights, -1), np.ones(weights.shape[:3]), 1e-14)
    assert_close_to_largest(
        output.last_hidden_state[1:, :4], model(ids[1:, :4]).last_hidden_state, 1e-14
    )


def test_adaptive_softmax_takes_three_dimensions_and_ignored_labels() -> None:
    model = _model("XLMWithLMHeadModel", **ADAPTIVE)
    ids = _ids(3, 6)
    labels = ids.copy()
    labels[:, ::2] = -100
    output = model(ids, labels=labels)
    assert output.logits.shape == (3, 6, 50)
    assert_close_to_largest(tf.reduce_sum(tf.exp(output.logits), -1), np.ones((3, 6)), 1e-14)
    rows = [
        -output.logits.numpy()[row, at, labels[row, at]] for row, at in np.argwhere(labels != -100)
    ]
    assert_close_to_largest(output.loss, np.mean(rows), 1e-14)


def test_lengths_count_in_multiple_choice() -> None:
    model = _model("XLMForMultipleChoice")
    ids, lengths = _ids(2, 3, 6), np.array([[6, 2, 3], [1, 6, 5]])
    mask = (np.arange(6) < lengths[..., None]).astype(np.int64)
    actual, expected = model(ids, lengths=lengths), model(ids, attention_mask=mask)
    assert_equal(actual.logits, expected.logits)
    assert not np.array_equal(actual.logits, model(ids).logits)


@pytest.mark.parametrize("flag_type", ["int64", "int32", "bool", "float64", "float32"])
def test_is_impossible_in_any_type(flag_type: str) -> None:
    model, ids = _model("XLMForQuestionAnswering"), _ids(4, 6)
    zeros = np.zeros(4, np.int64)
    labels = {"start_positions": zeros, "end_positions": zeros, "cls_index": zeros}
    flags = np.array([1, 0, 0, 1])
    expected = model(ids, **labels, is_impossible=flags.astype(np.float64)).loss
    assert_equal(model(ids, **labels, is_impossible=flags.astype(flag_type)).loss, expected)
    assert model(ids, **labels).loss < expected


def test_problem_type_is_not_written_into_the_configuration() -> None:
    model = _model("XLMForSequenceClassification", num_labels=3)
    before = model.config.to_dict()
    single = model(_ids(2, 4), labels=np.array([0, 2])).loss
    several = model(_ids(2, 4), labels=np.ones((2, 3))).loss  # another problem, same model
    assert model.config.to_dict() == before
    assert model.config.problem_type is None
    assert single != several


def test_no_label_at_all_is_a_loss_of_zero_that_trains_nothing() -> None:
    ids, none = _ids(2, 5), np.full((2, 5), -100)
    beyond = {"start_positions": np.array([5, 9]), "end_positions": np.array([7, 5])}
    for model, labels in (
        (_model("XLMWithLMHeadModel"), {"labels": none}),
        (_model("XLMWithLMHeadModel", **ADAPTIVE), {"labels": none}),
        (_model("XLMForTokenClassification"), {"labels": none}),
        (_model("XLMForQuestionAnsweringSimple"), beyond),
        (_model("XLMForSequenceClassification"), {"labels": none[:, 0]}),
    ):
        variables = [variable.value for variable in model.trainable_variables]
        with tf.GradientTape() as tape:
            loss = model(ids, **labels).loss
        assert loss == 0
        for gradient in tape.gradient(loss, variables, unconnected_gradients="zero"):
            assert not np.any(tf.convert_to_tensor(gradient).numpy())


def test_positions_beyond_the_sequence_do_not_count() -> None:
    model, ids = _model("XLMForQuestionAnsweringSimple"), _ids(2, 5)
    both = model(ids, start_positions=np.array([1, 5]), end_positions=np.array([2, 99])).loss
    alone = model(ids[:1], start_positions=np.array([1]), end_positions=np.array([2])).loss
    assert_close_to_largest(both, alone, 1e-14)
    below = model(ids, start_positions=np.array([-3, 1]), end_positions=np.array([2, 2])).loss
    first = model(ids, start_positions=np.array([0, 1]), end_positions=np.array([2, 2])).loss
    assert below == first


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_chunks_need_not_divide_the_sequence(size: int) -> None:
    whole, chunked = _model(), _model(chunk_size_feed_forward=size)
    ids = _ids(2, 7)
    assert_close_to_largest(chunked(ids).last_hidden_state, whole(ids).last_hidden_state, 1e-14)


def test_a_head_mask_works_where_transformers_has_none() -> None:
    model, ids = _model(), _ids(2, 6)
    output = model(ids, head_mask=np.array([1.0, 0, 0.5]), output_attentions=True)
    plain = model(ids, output_attentions=True).attentions[0].numpy()
    first = output.attentions[0].numpy()
    assert_close_to_largest(first, plain * np.array([1.0, 0, 0.5])[:, None, None], 1e-15)
    full = np.ones((2, 2, 3, 6, 6))
    assert_equal(model(ids, head_mask=full).last_hidden_state, model(ids).last_hidden_state)


def test_the_padding_row_starts_at_zero() -> None:
    from xlm_tf import TFXLMModel

    table = TFXLMModel(_model(pad_index=7).config).embeddings.embeddings.numpy()
    assert (table[7] == 0).all()
    assert (np.delete(table, 7, 0) != 0).any(1).all()


def test_top_k_gives_ties_to_the_lowest_position() -> None:
    values = tf.constant([[1.0, 3, 0, 3, 3, 2], [0, 0, 0, 0, 0, 0]])
    assert top_k(values, 4).numpy().tolist() == [[1, 3, 4, 5], [0, 1, 2, 3]]


def test_padded_positions_tie_in_the_beams() -> None:
    model = _model("XLMForQuestionAnswering", start_n_top=6, end_n_top=6)
    ids = _ids(2, 9)
    ids[:, 3:] = PAD
    output = model(ids)
    for starts in output.start_top_index.numpy().tolist():
        padded = [at for at in starts if at >= 3]
        assert padded == list(range(3, 3 + len(padded)))
    per_start = output.end_top_index.numpy().reshape(2, 6, 6).swapaxes(1, 2)
    for row in per_start:  # starts, then their ends
        for ends in row.tolist():
            padded = [at for at in ends if at >= 3]
            assert padded == list(range(3, 3 + len(padded)))


def test_flat_beam_index_counts_starts_fastest() -> None:
    model = _model("XLMForQuestionAnswering", start_n_top=2, end_n_top=3)
    hidden = tf.constant(np.random.default_rng(3).normal(size=(1, 8, 12)))
    output = model.qa_outputs(hidden)
    for s in range(2):
        start = hidden[:, int(output.start_top_index[0, s])]
        logits = model.qa_outputs.end_logits(hidden, start[:, None])[0, 0]
        top = tf.math.top_k(tf.nn.softmax(logits), 3)
        for e in range(3):
            assert output.end_top_index[0, e * 2 + s] == top.indices.numpy()[e]
            assert_close_to_largest(output.end_top_log_probs[0, e * 2 + s], top.values[e], 1e-13)
