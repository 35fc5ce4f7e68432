"""Training: dropout, gradient checkpointing, precision, copies, LoRA."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import make_config
from tests.support.cases import random_case
from tests.support.parity import assert_all_close, assert_close_to_largest, assert_equal
from tests.support.torch_reference import as_tensors, flatten, our_model
from xlm_core.weights import ARCHITECTURES
from xlm_torch import MODEL_CLASSES, XLMModel, XLMWithLMHeadModel

FLAGS = {"output_hidden_states": True, "output_attentions": True}
GENERATOR = torch.Generator().manual_seed(0)
IDS = torch.randint(6, 53, (2, 6), generator=GENERATOR)
LANGS = torch.randint(0, 5, (2, 6), generator=GENERATOR)
BATCH = {"input_ids": IDS, "langs": LANGS}


def _model(model_class: Any = XLMWithLMHeadModel, **values: Any) -> Any:
    torch.manual_seed(0)
    return model_class(make_config(**{"num_labels": 2, "init_std": 0.3, **values}))


def _gradients(model: Any, seed: int = 0) -> dict[str, Tensor]:
    model.zero_grad()
    torch.manual_seed(seed)
    model(**BATCH, labels=IDS).loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_checkpointing_changes_no_gradient(dropout: float) -> None:
    model = _model(dropout=dropout, attention_dropout=dropout).double().train()
    calls: list[int] = []
    hooked = model.transformer.ffns[0].register_forward_hook(lambda *_: calls.append(1))
    expected = _gradients(model)
    if dropout:
        other = _gradients(model, seed=1)
        assert not torch.equal(other["pred_layer.proj.bias"], expected["pred_layer.proj.bias"])
    model.gradient_checkpointing_enable()
    calls.clear()
    assert_all_close(_gradients(model), expected, 1e-13, one_scale=True)
    assert len(calls) == 2  # once forward, once again for the backward pass
    model.gradient_checkpointing_disable()
    assert_all_close(_gradients(model), expected, 0.0)
    assert len(calls) == 3
    hooked.remove()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with pytest.raises(TypeError, match="'reentrant'"):
        model.gradient_checkpointing_enable(reentrant=True)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_acts_in_training_only(architecture: str) -> None:
    case = random_case(3, architecture, num_labels=2, problem_type=None, dropout=0.5)
    model, batch = our_model(case), as_tensors(case.batch)

    def output() -> Tensor:
        named = model(**batch)
        return named.start_top_log_probs if "start_top_log_probs" in named else named[0]

    assert_equal(output(), output())
    model.train()
    torch.manual_seed(0)
    first, second = output(), output()
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert_equal(output(), first)


def test_attentions_are_those_after_dropout() -> None:
    model = _model(XLMModel, attention_dropout=0.5, dropout=0.0).train()
    weights = torch.stack(model(**BATCH, **FLAGS).attentions)
    dropped = (weights == 0).float().mean()
    assert 0.35 < dropped < 0.65
    model.eval()
    plain = model(**BATCH, **FLAGS)
    # Those of the first layer are the plain ones, zeroed or doubled.
    assert_close_to_largest(weights[0], 2 * plain.attentions[0] * (weights[0] != 0), 1e-6)
    assert all((w > 0).all() for w in plain.attentions)


def test_each_dropout_rate_acts_where_it_says() -> None:
    for values, changed in (
        ({"dropout": 0.0, "attention_dropout": 0.0}, False),
        ({"dropout": 0.5, "attention_dropout": 0.0}, True),
        ({"dropout": 0.0, "attention_dropout": 0.5}, True),
    ):
        model = _model(XLMModel, **values)
        evaluated = model.eval()(**BATCH).last_hidden_state
        assert torch.equal(model.train()(**BATCH).last_hidden_state, evaluated) is not changed
    model = _model(XLMModel, dropout=0.5, attention_dropout=0.0).train()
    embedded = model(**BATCH, **FLAGS).hidden_states[0]
    assert 0.3 < (embedded == 0).float().mean() < 0.7


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_row_without_any_token_is_finite(dtype: torch.dtype, causal: bool) -> None:
    model = _model(causal=causal).to(dtype).train()
    for padding in ({"attention_mask": torch.tensor([[1] * 6, [0] * 6])},
                    {"lengths": torch.tensor([6, 0])}):  # fmt: skip
        output = model(**BATCH, **padding, **FLAGS, labels=IDS)
        for name, value in flatten(dict(output)).items():
            assert value.isfinite().all(), name
        assert (output.hidden_states[-1][1] == 0).all()
        if dtype == torch.float16:
            continue  # the variance of zeros is below what its gradients can hold
        output.loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(architecture: str, dtype: torch.dtype) -> None:
    case = random_case(3, architecture, num_labels=2, problem_type=None, asm=False)
    expected = our_model(case)(**as_tensors(case.batch))
    model = our_model(case, dtype)
    output = model(**as_tensors(case.batch, dtype), **as_tensors(case.labels, dtype))
    if "loss" in output:
        assert output.loss.dtype == torch.float32
        assert output.loss.isfinite()
    name = next((n for n in ("last_hidden_state", "logits", "start_logits") if n in output), None)
    if name is not None:
        assert output[name].dtype == dtype
        assert_close_to_largest(output[name], expected[name], 0.1)


def test_adaptive_softmax_in_half_precision() -> None:
    model = _model(asm=True, asm_cutoffs=[10, 30], asm_div_value=2.0).half()
    output = model(**BATCH, labels=IDS)
    assert output.logits.dtype == torch.float16
    assert output.loss.dtype == torch.float32
    assert_close_to_largest(output.logits.float().exp().sum(-1), torch.ones(2, 6), 0.05)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_autocast(architecture: str) -> None:
    case = random_case(3, architecture, num_labels=2, problem_type=None, asm=False)
    model, arguments = our_model(case, torch.float32), as_tensors(case.batch, torch.float32)
    arguments |= as_tensors(case.labels, torch.float32)
    expected = model(**arguments)[0]
    with torch.autocast("cpu", torch.bfloat16):
        output = model(**arguments)
    if "loss" in output:
        assert output.loss.dtype == torch.float32
        output.loss.backward()
    assert not torch.equal(output[0].float(), expected)
    assert_close_to_largest(output[0].float(), expected, 0.2)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_copies(architecture: str) -> None:
    case = random_case(4, architecture, num_labels=2, problem_type=None, asm=False)
    model, batch = our_model(case, torch.float32), as_tensors(case.batch, torch.float32)
    expected = model(**batch, **FLAGS)
    stored = io.BytesIO()
    torch.save(model, stored)
    stored.seek(0)
    for again in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        torch.load(stored, weights_only=False),
    ):
        assert type(again) is type(model)
        assert again.config == model.config
        assert again.config is not model.config
        assert_all_close(flatten(dict(again(**batch, **FLAGS))), flatten(dict(expected)), 0.0)
        if case.config["tie_word_embeddings"] and architecture == "XLMWithLMHeadModel":
            assert again.pred_layer.proj.weight is again.transformer.embeddings.weight
        again.get_input_embeddings().weight.data.zero_()
        assert model.get_input_embeddings().weight.abs().sum() > 0
    output = pickle.loads(pickle.dumps(expected))
    assert type(output) is type(expected)
    assert_all_close(flatten(dict(output)), flatten(dict(expected)), 0.0)


def test_a_copied_model_keeps_one_configuration() -> None:
    model = copy.deepcopy(_model())
    assert model.transformer.config is model.config
    model.prune_heads({0: [1]})
    model.resize_token_embeddings(60)
    model(**BATCH)


def test_a_few_steps_of_training_lower_the_loss() -> None:
    model = _model(dropout=0.0, attention_dropout=0.0).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(**BATCH, labels=IDS).loss
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("architecture", ["XLMModel", "XLMForSequenceClassification"])
def test_lora_on_the_queries(architecture: str) -> None:
    peft = pytest.importorskip("peft")
    model = _model(MODEL_CLASSES[architecture]).eval()
    plain = model(**BATCH)[0]
    lora = peft.LoraConfig(r=2, target_modules=["q_lin", "v_lin"], init_lora_weights=False)
    adapted = peft.inject_adapter_in_model(lora, copy.deepcopy(model)).eval()
    changed = adapted(**BATCH)[0]
    assert (changed - plain).abs().max() > 1e-4
    wrapped = peft.get_peft_model(model, lora).eval()
    trained = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 * 3
    assert all("lora_" in name for name in trained)
    result = wrapped(**BATCH)[0]
    assert (result - plain).abs().max() > 1e-4
    result.sum().backward()
    assert all(p.grad is not None for p in wrapped.parameters() if p.requires_grad)
    merged = wrapped.merge_and_unload()
    assert_close_to_largest(merged(**BATCH)[0], result, 1e-5)
