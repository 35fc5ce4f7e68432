"""Resizing the vocabulary, and replacing the word embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import make_config
from tests.support.parity import assert_equal
from xlm_core import ConfigError, XLMError
from xlm_torch import (
    MODEL_CLASSES,
    XLMForConditionalGeneration,
    XLMModel,
    XLMPreTrainedModel,
    XLMWithLMHeadModel,
)

TIED = pytest.mark.parametrize("tied", [True, False])


def _model(tied: bool = True, **values: Any) -> XLMWithLMHeadModel:
    torch.manual_seed(0)
    config = make_config(tie_word_embeddings=tied, n_langs=1, embed_init_std=1.0, **values)
    model = XLMWithLMHeadModel(config).eval()
    if not config.asm:
        model.pred_layer.proj.bias.data.normal_()
    return model


@TIED
@pytest.mark.parametrize("size", [20, 52, 54, 70])
def test_old_rows_stay_and_the_bias_follows(tied: bool, size: int) -> None:
    model = _model(tied)
    old = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    returned = model.resize_token_embeddings(size)
    assert returned is model.get_input_embeddings()
    assert model.config.vocab_size == returned.num_embeddings == size
    assert returned.padding_idx == model.config.pad_index
    new, kept = model.state_dict(), min(size, 53)
    assert new.keys() == old.keys()
    for name, tensor in new.items():
        if old[name].shape == tensor.shape:
            assert_equal(tensor, old[name], name)
        else:
            assert tensor.shape == (size, *old[name].shape[1:])
            assert_equal(tensor[:kept], old[name][:kept], name)
    projection = model.pred_layer.proj
    assert (projection.weight is returned.weight) is tied
    assert projection.out_features == size
    assert (projection.bias[kept:] == 0).all()
    if size > 53:
        assert 0.5 < returned.weight[53:].std() < 2
    ids = torch.randint(6, 20, (2, 5))
    assert model(ids).logits.shape == (2, 5, size)
    assert model(torch.full((1, 3), size - 1)).logits.isfinite().all()


@TIED
def test_logits_of_old_words_do_not_change(tied: bool) -> None:
    model, ids = _model(tied), torch.randint(6, 50, (2, 5))
    before = model(ids).logits
    model.resize_token_embeddings(80)
    assert torch.allclose(model(ids).logits[..., :53], before, atol=1e-6)


@TIED
def test_gradients_flow_and_frozen_stays_frozen(tied: bool) -> None:
    model = _model(tied)
    model.resize_token_embeddings(60)
    ids = torch.randint(6, 60, (2, 5))
    model(ids, labels=ids).loss.backward()
    for parameter in (model.get_input_embeddings().weight, model.pred_layer.proj.weight):
        assert parameter.requires_grad
        assert parameter.grad is not None
        assert parameter.grad[53:].abs().sum() > 0
    model.requires_grad_(False)
    model.resize_token_embeddings(64)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_resizing_keeps_dtype_and_pads_to_a_multiple() -> None:
    model = _model().double()
    assert model.resize_token_embeddings(54, pad_to_multiple_of=8).weight.shape == (56, 12)
    assert model.resize_token_embeddings(pad_to_multiple_of=10).num_embeddings == 60
    assert model.resize_token_embeddings().num_embeddings == 60
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


@pytest.mark.parametrize("architecture", MODEL_CLASSES)
def test_every_head_resizes_saves_and_opens(architecture: str, tmp_path: Any) -> None:
    config = make_config(num_labels=2)
    model: Any = MODEL_CLASSES[architecture](config)
    model.resize_token_embeddings(61)
    model.save_pretrained(tmp_path)
    again = MODEL_CLASSES[architecture].from_pretrained(tmp_path)
    assert again.config.vocab_size == 61
    for name, tensor in again.state_dict().items():
        assert_equal(tensor, model.state_dict()[name], name)


def test_impossible_sizes() -> None:
    for size in (-3, 2):  # the padding row must stay inside
        model = _model()
        with pytest.raises(ConfigError, match="vocab_size"):
            model.resize_token_embeddings(size)
        assert model.config.vocab_size == 53
    adaptive = XLMWithLMHeadModel(make_config(asm=True, asm_cutoffs=[10], asm_div_value=2.0))
    with pytest.raises(ConfigError, match="adaptive softmax cannot be resized"):
        adaptive.resize_token_embeddings(60)


@TIED
def test_set_input_embeddings(tied: bool) -> None:
    model = _model(tied)
    replacement = nn.Embedding(53, 12, padding_idx=2)
    model.set_input_embeddings(replacement)
    assert model.get_input_embeddings() is model.transformer.embeddings is replacement
    output = model.get_output_embeddings()
    assert output is model.pred_layer.proj
    assert (output.weight is replacement.weight) is tied
    ids = torch.randint(6, 50, (2, 5))
    expected = _model(tied)
    state = expected.state_dict()
    expected.load_state_dict(
        {**state, **dict.fromkeys(_word_tables(state, tied), replacement.weight)}
    )
    assert_equal(model(ids).logits, expected(ids).logits)


def _word_tables(state: dict[str, Any], tied: bool) -> list[str]:
    names = ["transformer.embeddings.weight"] + ["pred_layer.proj.weight"] * tied
    assert set(names) <= state.keys()
    return names


@pytest.mark.parametrize("model_class", [XLMModel, XLMWithLMHeadModel])
@TIED
def test_a_replacement_of_another_size_works_or_is_refused(model_class: Any, tied: bool) -> None:
    model = model_class(make_config(tie_word_embeddings=tied, n_langs=1))
    try:
        model.set_input_embeddings(nn.Embedding(40, 12, padding_idx=2))
    except XLMError:
        assert model.config.vocab_size == model.get_input_embeddings().num_embeddings == 53
        return
    assert model.config.vocab_size == 40
    ids = torch.randint(6, 40, (2, 5))
    model(ids)
    if isinstance(model, XLMWithLMHeadModel):
        assert model(ids, labels=torch.full((2, 5), 39)).logits.shape == (2, 5, 40)


def test_a_replacement_of_another_width_is_refused() -> None:
    model = XLMModel(make_config())
    with pytest.raises(XLMError):
        model.set_input_embeddings(nn.Embedding(53, 13))


def test_tied_parameters_are_counted_and_trained_once() -> None:
    tied, untied = _model(tied=True), _model(tied=False)
    assert untied.num_parameters() - tied.num_parameters() == 53 * 12
    assert len(list(tied.parameters())) == len(list(untied.parameters())) - 1
    table = tied.transformer.embeddings.weight
    ids = torch.randint(6, 50, (2, 5))
    before = tied(ids).logits
    tied(ids, labels=ids).loss.backward()
    torch.optim.SGD(tied.parameters(), lr=0.5).step()
    assert tied.pred_layer.proj.weight is table
    assert not torch.equal(tied(ids).logits, before)


def test_only_language_models_have_an_output_layer() -> None:
    models: list[XLMPreTrainedModel] = [
        model_class(make_config(num_labels=2)) for model_class in MODEL_CLASSES.values()
    ]
    with_output = [m for m in models if m.get_output_embeddings() is not None]
    assert {type(m) for m in with_output} == {XLMWithLMHeadModel, XLMForConditionalGeneration}


def test_sinusoidal_positions_are_never_trained() -> None:
    model = XLMModel(make_config(sinusoidal_embeddings=True))
    assert not model.position_embeddings.weight.requires_grad
    assert model.num_parameters(only_trainable=True) == model.num_parameters() - 19 * 12
    model.resize_token_embeddings(60)
    assert not model.position_embeddings.weight.requires_grad


# -- changes made through the encoder --------------------------------------------------------------


def _resize_encoder(model: Any) -> None:
    model.transformer.resize_token_embeddings(66)


def _replace_by_method(model: Any) -> None:
    model.transformer.set_input_embeddings(nn.Embedding(66, 12))


def _replace_module(model: Any) -> None:
    model.transformer.embeddings = nn.Embedding(66, 12)


def _replace_matrix(model: Any) -> None:
    model.transformer.embeddings.weight = nn.Parameter(torch.randn(66, 12))


def _replace_matrix_of_equal_size(model: Any) -> None:
    model.transformer.embeddings.weight = nn.Parameter(torch.randn(53, 12))


def _replace_module_of_equal_size(model: Any) -> None:
    model.transformer.set_input_embeddings(nn.Embedding(53, 12))


def _replace_output(model: Any) -> None:
    model.pred_layer.proj = nn.Linear(12, 53)


LARGER = [_resize_encoder, _replace_by_method, _replace_module, _replace_matrix]
EQUAL = [_replace_matrix_of_equal_size, _replace_module_of_equal_size, _replace_output]


@TIED
@pytest.mark.parametrize("change", LARGER)
def test_other_sizes_through_the_encoder_say_what_to_call(
    change: Any, tied: bool, tmp_path: Any
) -> None:
    model, ids = _model(tied), torch.tensor([[0, 14, 15, 1]])
    change(model)
    for call in (lambda: model(ids), lambda: model.save_pretrained(tmp_path)):
        with pytest.raises(ConfigError, match=r"resize_token_embeddings\(66\)"):
            call()
    weight = model.transformer.embeddings.weight
    model.resize_token_embeddings(66)
    assert model.transformer.embeddings.weight is weight
    assert (model.pred_layer.proj.weight is weight) is tied
    assert model.pred_layer.proj.out_features == model.config.vocab_size == 66
    labels = torch.tensor([[-100, 62, -100, -100]])
    output = model(ids, labels=labels)
    assert output.logits.shape == (1, 4, 66)
    assert output.loss.isfinite()
    model.save_pretrained(tmp_path)
    again = XLMWithLMHeadModel.from_pretrained(tmp_path)
    assert_equal(again(ids).logits, output.logits, "logits")


@pytest.mark.parametrize("change", EQUAL)
def test_what_is_no_longer_tied_is_refused(change: Any, tmp_path: Any) -> None:
    model, ids = _model(), torch.tensor([[0, 14, 15, 1]])
    change(model)
    if change is _replace_output:  # which may be meant
        assert model(ids).logits.isfinite().all()
    else:
        with pytest.raises(ConfigError, match=r"tie_weights\(\)"):
            model(ids)
    with pytest.raises(ConfigError, match=r"tie_weights\(\)"):
        model.save_pretrained(tmp_path)
    model.tie_weights()
    assert model.pred_layer.proj.weight is model.transformer.embeddings.weight
    assert model(ids).logits.shape == (1, 4, 53)

    model = _model()
    change(model)
    model.config.tie_word_embeddings = False
    logits = model(ids).logits
    model.save_pretrained(tmp_path)
    assert_equal(XLMWithLMHeadModel.from_pretrained(tmp_path)(ids).logits, logits, "logits")


@pytest.mark.parametrize("change", EQUAL)
def test_untied_models_may_change_either(change: Any) -> None:
    model = _model(tied=False)
    change(model)
    assert model(torch.tensor([[0, 14, 1]])).logits.shape == (1, 3, 53)


def test_adaptive_softmax_says_how_to_undo_it(tmp_path: Any) -> None:
    model, ids = (
        _model(False, asm=True, asm_cutoffs=[20, 40], asm_div_value=2),
        torch.tensor([[0, 14, 15, 1]]),
    )
    logits = model(ids).logits
    model.transformer.resize_token_embeddings(66)
    calls = (
        lambda: model(ids),
        lambda: model.save_pretrained(tmp_path),
        lambda: model.resize_token_embeddings(66),
    )
    for call in calls:
        with pytest.raises(ConfigError, match=r"call transformer\.resize_token_embeddings\(53\)"):
            call()
    model.transformer.resize_token_embeddings(53)
    assert_equal(model(ids).logits, logits, "logits")


def test_every_class_looks_at_the_size_of_its_embeddings(tmp_path: Any) -> None:
    for cls in MODEL_CLASSES.values():
        spans = "QuestionAnsweringSimple" in cls.__name__
        model = cls(make_config(num_labels=2) if spans else make_config())
        model.get_input_embeddings().weight = nn.Parameter(torch.randn(66, 12))
        with pytest.raises(ConfigError, match=r"resize_token_embeddings\(66\)"):
            model.save_pretrained(tmp_path)
        shape = (1, 2, 5) if cls.__name__.endswith("MultipleChoice") else (1, 5)
        with pytest.raises(ConfigError, match=r"resize_token_embeddings\(66\)"):
            model(torch.full(shape, 8))


def test_tied_matrices_stay_tied_where_parameters_are_replaced() -> None:
    model = _model().to("meta").to_empty(device="cpu")
    assert model.pred_layer.proj.weight is model.transformer.embeddings.weight
    state = {name: tensor.clone() for name, tensor in _model().state_dict().items()}
    model.load_state_dict(state, assign=True)
    assert model.pred_layer.proj.weight is model.transformer.embeddings.weight
    assert model(torch.tensor([[0, 14, 1]])).logits.isfinite().all()


class _PassThrough(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@TIED
def test_a_module_without_a_weight_in_place_of_the_embeddings(tied: bool, tmp_path: Any) -> None:
    model, ids = _model(tied), torch.tensor([[0, 14, 15, 1]])
    labels = torch.tensor([[-100, 14, 3, -100]])
    embeddings = model.transformer.embeddings
    vectors = embeddings(ids).detach()
    expected = model(ids, labels=labels)
    for stand_in, call in (
        (_PassThrough(), {"inputs_embeds": vectors}),
        (nn.Sequential(embeddings), {"input_ids": ids}),
    ):
        model.transformer.embeddings = stand_in
        model.tie_weights()
        for options in ({}, {"output_logits": False}):
            output = model(**call, **options, labels=labels)
            assert torch.allclose(output.loss, expected.loss, atol=1e-6)
        assert torch.allclose(model(**call).logits, expected.logits, atol=1e-6)
        with pytest.raises(XLMError, match=r"transformer\.embeddings is a (_Pass|Sequ)"):
            model.save_pretrained(tmp_path)
    model.transformer.embeddings = embeddings
    assert_equal(model(ids).logits, expected.logits, "logits")
    model.save_pretrained(tmp_path)


def test_new_outputs_go_with_the_embeddings() -> None:
    model = _model()
    with pytest.raises(ConfigError, match="tie_word_embeddings"):
        model.set_output_embeddings(nn.Linear(12, 53))
    model.config.tie_word_embeddings = False
    with pytest.raises(ConfigError, match="shape"):
        model.set_output_embeddings(nn.Linear(12, 66))
    new = nn.Linear(12, 53)
    model.set_output_embeddings(new)
    assert model.get_output_embeddings() is new
    with pytest.raises(ConfigError, match="no output"):
        XLMModel(make_config()).set_output_embeddings(new)
    with pytest.raises(ConfigError, match="without a weight"):
        XLMModel(make_config()).set_input_embeddings(_PassThrough())


@TIED
def test_new_rows_around_the_mean_of_the_old(tied: bool) -> None:
    model = _model(tied).double()
    old = model.get_input_embeddings().weight.detach().clone()
    bias = model.pred_layer.proj.bias.detach().clone()
    new = model.resize_token_embeddings(60, mean_resizing=True).weight
    assert torch.allclose(new[53:], old.mean(0).expand(7, -1), atol=3e-4)
    assert not torch.equal(new[53], new[54])
    projection = model.pred_layer.proj
    assert torch.allclose(projection.bias[53:], bias.mean().expand(7), atol=3e-4)
    assert_equal(new[:53], old, "old rows")
