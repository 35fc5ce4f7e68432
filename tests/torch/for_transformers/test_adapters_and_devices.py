"""PEFT, accelerate, and the part of uploads that is done here."""

from __future__ import annotations

import copy
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import xlm_torch
from xlm_core.errors import XLMError

peft = pytest.importorskip("peft")
accelerate = pytest.importorskip("accelerate")

# PEFT's own, of models that were never saved.
pytestmark = pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")

IDS = torch.tensor([[0, 14, 15, 16, 1]])


@pytest.fixture
def config(kind: Any) -> Any:
    return kind.XLMConfig(
        vocab_size=60, emb_dim=16, n_layers=2, n_heads=2, max_position_embeddings=32, num_labels=3
    )


def changed(model: Any) -> Any:
    """The adapters of a fresh model do nothing: give them values that do."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


def test_all_linear_spares_the_tied_output(kind: Any, config: Any, tmp_path: Path) -> None:
    base = kind.XLMWithLMHeadModel(config).eval()
    before = logits(base)
    lora = peft.LoraConfig(target_modules="all-linear")
    model = changed(peft.get_peft_model(copy.deepcopy(base), lora))
    adapted = [name for name, _ in model.named_modules() if name.endswith("lora_A")]
    assert len(adapted) == 12  # q, k, v, out and the two of the feed-forward, twice
    assert not any("pred_layer" in name for name in adapted)
    assert not torch.allclose(logits(model), before)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    assert torch.equal(logits(again), logits(model))
    merged = model.merge_and_unload()
    assert isinstance(merged, kind.XLMWithLMHeadModel)
    assert merged.pred_layer.proj.weight is merged.transformer.embeddings.weight
    merged.save_pretrained(tmp_path / "merged")
    plain = xlm_torch.XLMWithLMHeadModel.from_pretrained(tmp_path / "merged")
    assert torch.allclose(logits(plain), logits(again), atol=1e-5)


@pytest.mark.parametrize(
    "trained",
    [
        {"modules_to_save": ["pred_layer"]},
        {"modules_to_save": ["embeddings"]},
        {"modules_to_save": ["embeddings", "pred_layer"]},
        {"target_modules": ["q_lin", "proj"]},
        {"target_modules": ["q_lin", "embeddings"]},
    ],
    ids=lambda trained: "-".join((key := next(iter(trained)), *trained[key])),
)
@pytest.mark.parametrize("name", ["XLMWithLMHeadModel", "XLMForConditionalGeneration"])
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning")
@pytest.mark.filterwarnings("ignore:Model with `tie_word_embeddings=True`:UserWarning")
def test_what_is_trained_beside_a_tied_output_comes_back(
    kind: Any, config: Any, trained: dict[str, Any], name: str, tmp_path: Path
) -> None:
    """A tied output or its embeddings, which PEFT trains apart, are not tied again."""
    targets = {"decoder_input_ids": IDS} if name == "XLMForConditionalGeneration" else {}
    base = getattr(kind, name)(config)
    lora = peft.LoraConfig(**{"target_modules": ["q_lin"], **trained})
    model = peft.get_peft_model(copy.deepcopy(base), lora)
    steps = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):
        steps.zero_grad()
        model(input_ids=IDS, labels=IDS, **targets).loss.backward()
        steps.step()
    with torch.no_grad():
        before = base.eval()(IDS, **targets).logits
        expected = model.eval()(IDS, **targets).logits
        assert not torch.allclose(expected, before, atol=1e-3)
        model.save_pretrained(tmp_path)
        again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
        assert torch.equal(again(IDS, **targets).logits, expected)
        model.load_state_dict(copy.deepcopy(model.state_dict()))
        assert torch.equal(model(IDS, **targets).logits, expected)
        double = copy.deepcopy(model).double()
        assert torch.allclose(double(IDS, **targets).logits.float(), expected, atol=1e-5)


@pytest.mark.parametrize("task", ["SEQ_CLS", "CAUSAL_LM"])
@pytest.mark.parametrize("prompt", ["PromptTuningConfig", "PromptEncoderConfig"])
def test_learned_prompts(kind: Any, config: Any, prompt: str, task: str, tmp_path: Path) -> None:
    heads = {"SEQ_CLS": "XLMForSequenceClassification", "CAUSAL_LM": "XLMWithLMHeadModel"}
    sizes = {"num_layers": 2, "token_dim": 16, "num_attention_heads": 2, "num_virtual_tokens": 3}
    if prompt == "PromptEncoderConfig":
        sizes["encoder_hidden_size"] = 8
    made = getattr(peft, prompt)(task_type=task, **sizes)
    base = getattr(kind, heads[task])(config)
    model = peft.get_peft_model(copy.deepcopy(base), made)
    labels = torch.tensor([1]) if task == "SEQ_CLS" else torch.ones_like(IDS)
    loss = model(input_ids=IDS, attention_mask=torch.ones_like(IDS), labels=labels).loss
    loss.backward()
    learned = [p for n, p in model.named_parameters() if "prompt" in n and p.requires_grad]
    assert learned
    assert all(float(p.grad.abs().sum()) > 0 for p in learned)
    assert all(p.grad is None for n, p in model.named_parameters() if "attentions" in n)
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    given = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
    assert torch.equal(again(**given).logits, model.eval()(**given).logits)


def test_adapters_of_the_model_itself(
    kind: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The newest transformers may ask for a PEFT that is not published yet.
    integration = importlib.import_module("transformers.integrations.peft")
    monkeypatch.setattr(integration, "MIN_PEFT_VERSION", peft.__version__)
    base = kind.XLMForSequenceClassification(config).eval()
    model = copy.deepcopy(base)
    model.add_adapter(peft.LoraConfig(target_modules=["q_lin", "v_lin"]))
    adapted = logits(changed(model))
    model.disable_adapters()
    assert torch.allclose(logits(model), logits(base), atol=1e-6)
    model.enable_adapters()
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"adapter_model.safetensors"}
    again = copy.deepcopy(base)
    again.load_adapter(str(tmp_path))
    assert torch.equal(logits(again.eval()), adapted)


def test_dispatched_and_offloaded(kind: Any, config: Any, tmp_path: Path) -> None:
    model = kind.XLMWithLMHeadModel(config).eval()
    expected = logits(model)
    places = accelerate.infer_auto_device_map(
        model, max_memory={"cpu": "1GB"}, no_split_module_classes=model._no_split_modules
    )
    assert set(places.values()) == {"cpu"}
    offloaded = accelerate.cpu_offload(copy.deepcopy(model), execution_device="cpu")
    assert torch.allclose(logits(offloaded), expected, atol=1e-6)
    spread = accelerate.dispatch_model(
        copy.deepcopy(model),
        {"transformer": "cpu", "pred_layer": "disk"},
        offload_dir=str(tmp_path),
        main_device="cpu",
    )
    assert torch.allclose(logits(spread), expected, atol=1e-6)
    with pytest.raises((XLMError, NotImplementedError, RuntimeError)):
        offloaded.save_pretrained(tmp_path / "saved")  # its parameters are elsewhere


def test_the_local_part_of_an_upload(
    kind: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers.utils.hub import PushToHubMixin

    uploaded: dict[str, set[str]] = {}

    def upload(self: Any, folder: Any, repo_id: str, *_: Any, **__: Any) -> None:
        uploaded[repo_id] = {path.name for path in Path(folder).iterdir()}
        if "model.safetensors" in uploaded[repo_id]:
            opened = xlm_torch.XLMWithLMHeadModel.from_pretrained(folder)
            assert torch.equal(logits(opened), logits(self))

    monkeypatch.setattr(PushToHubMixin, "_upload_modified_files", upload)
    monkeypatch.setattr(
        PushToHubMixin, "_create_repo", lambda self, repo_id, *_, **__: repo_id, raising=False
    )
    import transformers.utils.hub as hub

    class Card:
        def save(self, _: Any) -> None:
            pass

    class Api:
        def create_repo(self, repo_id: str, **_: Any) -> Any:
            return type("Repo", (), {"repo_id": repo_id})

        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"the network: {name}")

    monkeypatch.setattr(hub, "create_and_tag_model_card", lambda *_, **__: Card())
    monkeypatch.setattr(hub, "create_branch", lambda *_, **__: None, raising=False)
    monkeypatch.setattr(hub, "hf_api", Api, raising=False)
    kind.XLMWithLMHeadModel(config).eval().push_to_hub("somebody/model")
    assert uploaded["somebody/model"] >= {"config.json", "model.safetensors"}
