"""Where transformers is wrong, the right thing happens: each known difference, directly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import make_config
from tests.support.cases import random_case
from tests.support.parity import assert_close_to_largest, assert_equal
from tests.support.torch_reference import as_tensors, exact_float64, our_model, pair
from xlm_torch import (
    XLMForMultipleChoice,
    XLMForQuestionAnswering,
    XLMForQuestionAnsweringSimple,
    XLMForSequenceClassification,
    XLMForTokenClassification,
    XLMModel,
    XLMWithLMHeadModel,
)
from xlm_torch.squad_head import top_k

PAD = 2


def _model(model_class: Any = XLMModel, **values: Any) -> Any:
    torch.manual_seed(0)
    values = {"n_langs": 1, "init_std": 0.4, "embed_init_std": 1.0, "vocab_size": 53, **values}
    return model_class(make_config(**values)).double().eval()


def _ids(*shape: int) -> Tensor:
    return torch.randint(6, 50, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("causal", [False, True])
def test_left_padding_without_a_mask_masks_the_padding(causal: bool) -> None:
    model, ids = _model(causal=causal), _ids(1, 5)
    padded = torch.cat((torch.full((1, 3), PAD), ids), 1)
    positions = torch.tensor([[0, 0, 0, 0, 1, 2, 3, 4]])
    expected = model(ids).last_hidden_state
    actual = model(padded, position_ids=positions).last_hidden_state
    assert_close_to_largest(actual[:, 3:], expected, 1e-14)
    assert (actual[:, :3] == 0).all()
    mask = (padded != PAD).long()
    with_mask = model(padded, attention_mask=mask, position_ids=positions).last_hidden_state
    assert_equal(actual, with_mask)


@pytest.mark.parametrize("how", ["attention_mask", "lengths", "ids"])
def test_padding_under_causal_attention_is_not_attended_to(how: str) -> None:
    model, ids = _model(causal=True), _ids(2, 7)
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 4:] = 0
    given = {"attention_mask": {"attention_mask": mask}, "lengths": {"lengths": mask.sum(1)}}
    ids = ids.where(mask == 1, torch.tensor(PAD if how == "ids" else 9))
    output = model(ids, **given.get(how, {}), output_attentions=True)
    for weights in output.attentions:
        assert (weights[1, :, :, 4:] == 0).all()
        assert_close_to_largest(weights.sum(-1), torch.ones(weights.shape[:3]), 1e-14)
    assert_close_to_largest(
        output.last_hidden_state[1:, :4], model(ids[1:, :4]).last_hidden_state, 1e-14
    )


def test_adaptive_softmax_takes_three_dimensions_and_ignored_labels() -> None:
    model = _model(XLMWithLMHeadModel, asm=True, asm_cutoffs=[10, 30], asm_div_value=2)
    ids = _ids(3, 6)
    labels = ids.clone()
    labels[:, ::2] = -100
    output = model(ids, labels=labels)
    assert output.logits.shape == (3, 6, 53)
    assert_close_to_largest(output.logits.exp().sum(-1), torch.ones(3, 6), 1e-14)
    counted = labels != -100
    expected = -output.logits[counted].gather(-1, labels[counted][:, None]).mean()
    assert_close_to_largest(output.loss, expected, 1e-14)


def test_lengths_count_in_multiple_choice() -> None:
    model = _model(XLMForMultipleChoice)
    ids, lengths = _ids(2, 3, 6), torch.tensor([[6, 2, 3], [1, 6, 5]])
    mask = (torch.arange(6) < lengths[..., None]).long()
    actual, expected = model(ids, lengths=lengths), model(ids, attention_mask=mask)
    assert_equal(actual.logits, expected.logits)
    assert not torch.equal(actual.logits, model(ids).logits)


@pytest.mark.parametrize("flag_type", [torch.int64, torch.bool, torch.float64, torch.float32])
def test_is_impossible_in_any_type(flag_type: torch.dtype) -> None:
    case = random_case(6, "XLMForQuestionAnswering")
    ours, theirs = pair(case)
    batch, rows = as_tensors(case.batch), len(case.tokens)
    zeros = torch.zeros(rows, dtype=torch.int64)
    labels = {"start_positions": zeros, "end_positions": zeros, "cls_index": zeros}
    flags = (torch.arange(rows) % 2 == 0).double()
    with exact_float64():
        expected = theirs(**batch, **labels, is_impossible=flags, return_dict=True).loss
    actual = ours(**batch, **labels, is_impossible=flags.to(flag_type)).loss
    assert_close_to_largest(actual, expected, 1e-12)


def test_problem_type_is_not_written_into_the_configuration() -> None:
    model = _model(XLMForSequenceClassification, num_labels=3)
    before = model.config.to_dict()
    single = model(_ids(2, 4), labels=torch.tensor([0, 2])).loss
    several = model(_ids(2, 4), labels=torch.ones(2, 3)).loss  # another problem, same model
    assert model.config.to_dict() == before
    assert model.config.problem_type is None
    assert single != several


def test_no_label_at_all_is_a_loss_of_zero_that_trains_nothing() -> None:
    ids, none = _ids(2, 5), torch.full((2, 5), -100)
    beyond = {"start_positions": torch.tensor([5, 9]), "end_positions": torch.tensor([7, 5])}
    adaptive = {"asm": True, "asm_cutoffs": [10], "asm_div_value": 2.0}
    for model, labels in (
        (_model(XLMWithLMHeadModel), {"labels": none}),
        (_model(XLMWithLMHeadModel, **adaptive), {"labels": none}),
        (_model(XLMForTokenClassification), {"labels": none}),
        (_model(XLMForQuestionAnsweringSimple, num_labels=2), beyond),
        (_model(XLMForSequenceClassification), {"labels": none[:, 0]}),
    ):
        loss = model(ids, **labels).loss
        assert loss == 0
        loss.backward()
        assert all((p.grad == 0).all() for p in model.parameters() if p.grad is not None)


def test_a_head_mask_of_full_size_fits_a_pruned_model() -> None:
    pruned = {0: [1], 2: [0, 3]}
    case = random_case(2, "XLMModel", n_heads=4, emb_dim=20, n_layers=3, causal=False)
    case.config["pruned_heads"] = {}
    model, ids = our_model(case), torch.randint(8, 40, (2, 6))
    langs = torch.zeros_like(ids)
    mask = torch.tensor([[1.0, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 0]])
    silenced = mask.clone()
    for layer, heads in pruned.items():
        silenced[layer, heads] = 0
    expected = model(ids, langs=langs, head_mask=silenced).last_hidden_state
    model.prune_heads(pruned)
    actual = model(ids, langs=langs, head_mask=mask).last_hidden_state
    assert_close_to_largest(actual, expected, 1e-13)
    kept = model(ids, langs=langs, head_mask=torch.ones(4)).last_hidden_state
    assert_close_to_largest(kept, model(ids, langs=langs).last_hidden_state, 1e-15)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_chunks_need_not_divide_the_sequence(size: int) -> None:
    whole, chunked = _model(), _model(chunk_size_feed_forward=size)
    ids = _ids(2, 7)
    assert_close_to_largest(chunked(ids).last_hidden_state, whole(ids).last_hidden_state, 1e-14)


def test_top_k_gives_ties_to_the_lowest_position() -> None:
    values = torch.tensor([[1.0, 3, 0, 3, 3, 2], [0, 0, 0, 0, 0, 0]])
    assert top_k(values, 4).tolist() == [[1, 3, 4, 5], [0, 1, 2, 3]]


def test_padded_positions_tie_in_the_beams() -> None:
    model = _model(XLMForQuestionAnswering, start_n_top=6, end_n_top=6)
    ids = _ids(2, 9)
    ids[:, 3:] = PAD
    output = model(ids)
    for starts in output.start_top_index.tolist():
        padded = [at for at in starts if at >= 3]
        assert padded == [3, 4, 5, *range(6, 9)][: len(padded)]
    for row in output.end_top_index.view(2, 6, 6).transpose(1, 2):  # starts, then their ends
        for ends in row.tolist():
            padded = [at for at in ends if at >= 3]
            assert padded == list(range(3, 3 + len(padded)))


def test_flat_beam_index_counts_starts_fastest() -> None:
    model = _model(XLMForQuestionAnswering, start_n_top=2, end_n_top=3)
    hidden = torch.randn(1, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    output = model.qa_outputs(hidden)
    for s in range(2):
        start = hidden[:, output.start_top_index[0, s]]
        logits = model.qa_outputs.end_logits(hidden, start[:, None])[0, 0]
        probs, index = logits.softmax(-1).topk(3)
        for e in range(3):
            assert output.end_top_index[0, e * 2 + s] == index[e]
            assert_close_to_largest(output.end_top_log_probs[0, e * 2 + s], probs[e], 1e-13)
