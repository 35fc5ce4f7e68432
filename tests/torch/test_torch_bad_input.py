"""What cannot be is refused with a message that names it, and what is odd is warned of once."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import make_config
from xlm_core import ConfigError, InputError, UnknownArgumentError, XLMError, XLMWarning
from xlm_torch import MODEL_CLASSES, KeyValueCache, XLMModel

IDS = torch.randint(6, 53, (2, 6), generator=torch.Generator().manual_seed(0))
LANGS = torch.zeros_like(IDS)
GOOD = {"input_ids": IDS, "langs": LANGS}


def _model(architecture: str = "XLMModel", **values: Any) -> Any:
    labels = 2 if architecture == "XLMForQuestionAnsweringSimple" else 7
    return MODEL_CLASSES[architecture](make_config(**{"num_labels": labels, **values})).eval()


def _with(tensor: Tensor, value: int) -> Tensor:
    changed = tensor.clone()
    changed[0, 1] = value
    return changed


# What is given (beside GOOD; None takes away) -> what the message says.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an id beyond the vocabulary": (
        {"input_ids": _with(IDS, 53)}, r"input_ids holds 53: expected values in \[0, 53\)"),
    "a negative id": ({"input_ids": _with(IDS, -1)}, r"input_ids holds -1: expected values in"),
    "a language too many": ({"langs": _with(LANGS, 5)}, r"langs holds 5: .*\[0, 5\).*n_langs"),
    "a negative language": ({"langs": _with(LANGS, -2)}, r"langs holds -2"),
    "a short langs": (
        {"langs": LANGS[:, :5]},
        r"langs has shape \(2, 5\): expected \(batch, sequence\) = \(2, 6\)"),
    "langs for one row": ({"langs": LANGS[:1]}, r"langs has shape \(1, 6\): expected .*\(2, 6\)"),
    "one language": ({"langs": torch.tensor(3)}, r"langs has shape \(\): expected .*\(2, 6\)"),
    "a position too many": ({"position_ids": _with(LANGS, 19)}, r"position_ids holds 19: .*19\)"),
    "a token type beyond": ({"token_type_ids": _with(LANGS, 60)}, r"token_type_ids holds 60"),
    "a mask of 2": ({"attention_mask": _with(LANGS, 2)}, r"attention_mask .* neither 0 nor 1"),
    "a mask of one half": ({"attention_mask": torch.full((2, 6), 0.5)}, "neither 0 nor 1"),
    "a mask of three dimensions": (
        {"attention_mask": torch.ones(2, 6, 6)}, r"attention_mask has shape \(2, 6, 6\)"),
    "a complex mask": ({"attention_mask": torch.ones(2, 6) * 1j}, "attention_mask"),
    "complex ids": ({"input_ids": IDS * (1 + 0j)}, "input_ids"),
    "lengths too long": ({"lengths": torch.tensor([7, 2])}, r"lengths holds 7: .*\[0, 7\)"),
    "negative lengths": ({"lengths": torch.tensor([-1, 2])}, r"lengths holds -1"),
    "lengths for three": (
        {"lengths": torch.tensor([1, 2, 3])},
        r"lengths has shape \(3,?\): expected \(batch,\) = \(2,?\)"),
    "float lengths": ({"lengths": torch.tensor([1.0, 2.0])}, "lengths has a float dtype"),
    "float ids": ({"input_ids": IDS.float()}, "input_ids has a float dtype: expected integer"),
    "boolean ids": ({"input_ids": IDS > 9}, "input_ids has a bool dtype: expected integer"),
    "float langs": ({"langs": LANGS.float()}, "langs has a float dtype"),
    "ids without a batch": ({"input_ids": IDS[0]}, r"input_ids has shape \(6,?\)"),
    "an empty batch": ({"input_ids": IDS[:0], "langs": None}, "must not be empty"),
    "an empty sequence": ({"input_ids": IDS[:, :0], "langs": None}, "must not be empty"),
    "no input": ({"input_ids": None}, "neither of input_ids and inputs_embeds"),
    "both inputs": ({"inputs_embeds": torch.ones(2, 6, 12)}, "both of input_ids and inputs_embeds"),
    "embeddings too wide": (
        {"input_ids": None, "inputs_embeds": torch.ones(2, 6, 13)},
        r"inputs_embeds has shape \(2, 6, 13\): .*\(\?, \?, 12\)"),
    "integer embeddings": (
        {"input_ids": None, "inputs_embeds": torch.ones(2, 6, 12).long()}, "integer dtype"),
    "a list": ({"input_ids": IDS.tolist()}, r"input_ids is a list: expected a torch\.Tensor"),
    "an array": ({"langs": LANGS.numpy()}, "langs is a ndarray: expected"),
    "a head mask of three heads": (
        {"head_mask": torch.ones(3)}, r"head_mask has shape \(3,?\): expected .*\(4,?\)"),
    "a head mask of two layers": ({"head_mask": torch.ones(2, 4)}, r"\(layers, heads\) = \(3, 4\)"),
    "a cache": ({"cache": KeyValueCache()}, "bidirectional"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize("architecture", ["XLMModel", "XLMWithLMHeadModel"])
def test_refused(what: str, architecture: str) -> None:
    changes, text = WRONG[what]
    arguments = {name: v for name, v in {**GOOD, **changes}.items() if v is not None}
    with pytest.raises(InputError, match=text):
        _model(architecture)(**arguments)


@pytest.mark.parametrize("with_embeddings", [False, True])
def test_a_sequence_longer_than_the_positions(with_embeddings: bool) -> None:
    ids = torch.full((1, 20), 7)
    given = {"inputs_embeds": torch.ones(1, 20, 12)} if with_embeddings else {"input_ids": ids}
    with pytest.raises(InputError, match=r"sequence has 20 positions, but the model has 19"):
        _model()(**given, langs=torch.zeros_like(ids))
    output = _model()(**given, langs=torch.zeros_like(ids), position_ids=ids % 19)
    assert output.last_hidden_state.shape == (1, 20, 12)


@pytest.mark.parametrize("architecture", MODEL_CLASSES)
def test_unknown_keywords(architecture: str) -> None:
    with pytest.raises(UnknownArgumentError, match=r"'attention_masks', 'lang'\. Known.*langs"):
        _model(architecture)(**GOOD, attention_masks=LANGS, lang=LANGS)
    if architecture == "XLMForConditionalGeneration":
        return  # takes them where they say nothing, as transformers' encoder-decoders do
    for absent in ("cache_position", "use_cache"):
        with pytest.raises(TypeError, match=f"{architecture} got an unexpected.*{absent}"):
            _model(architecture)(**GOOD, **{absent: None})


VECTOR = torch.tensor([0, 1])
# (architecture, labels, message)
WRONG_LABELS: list[tuple[str, dict[str, Any], str]] = [
    ("XLMWithLMHeadModel", {"labels": _with(IDS, 53)}, r"labels holds 53: .*the vocabulary"),
    ("XLMWithLMHeadModel", {"labels": _with(IDS, -1)}, r"labels holds -1: .*-100"),
    ("XLMWithLMHeadModel", {"labels": IDS[:, 1:]}, r"labels has shape \(2, 5\).*\(2, 6\)"),
    ("XLMWithLMHeadModel", {"labels": IDS.float()}, "labels has a float dtype"),
    ("XLMWithLMHeadModel", {"labels": IDS.tolist()}, "labels is a list"),
    ("XLMForTokenClassification", {"labels": _with(LANGS, 7)}, r"labels holds 7: .*num_labels"),
    ("XLMForTokenClassification", {"labels": VECTOR}, r"labels has shape \(2,?\)"),
    ("XLMForSequenceClassification", {"labels": VECTOR + 6}, r"labels holds 7: .*num_labels"),
    ("XLMForSequenceClassification", {"labels": VECTOR - 1}, r"labels holds -1"),
    ("XLMForSequenceClassification", {"labels": LANGS}, r"labels has shape \(2, 6\)"),
    ("XLMForSequenceClassification", {"labels": torch.ones(2, 6)}, r"labels has shape \(2, 6\)"),
    ("XLMForSequenceClassification", {"labels": [0, 1]}, "labels is a list"),
    ("XLMForQuestionAnsweringSimple", {"start_positions": VECTOR}, "only start_positions"),
    ("XLMForQuestionAnsweringSimple", {"end_positions": VECTOR}, "only end_positions"),
    ("XLMForQuestionAnsweringSimple", {"start_positions": LANGS, "end_positions": VECTOR},
     r"start_positions has shape \(2, 6\): expected \(batch,\) = \(2,?\)"),
    ("XLMForQuestionAnswering", {"start_positions": VECTOR + 5, "end_positions": VECTOR},
     r"start_positions holds 6: .*positions of the sequence"),
    ("XLMForQuestionAnswering", {"start_positions": VECTOR, "end_positions": VECTOR - 1},
     r"end_positions holds -1"),
    ("XLMForQuestionAnswering", {"start_positions": VECTOR}, "only start_positions"),
    ("XLMForQuestionAnswering", {"cls_index": VECTOR + 5}, "cls_index holds 6"),
    ("XLMForQuestionAnswering", {"p_mask": torch.ones(2, 5)}, r"p_mask has shape \(2, 5\)"),
    ("XLMForQuestionAnswering", {"is_impossible": torch.ones(3)}, "is_impossible has shape"),
]  # fmt: skip


@pytest.mark.parametrize(("architecture", "labels", "text"), WRONG_LABELS)
def test_labels_that_do_not_fit(architecture: str, labels: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        _model(architecture)(**GOOD, **labels)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"input_ids": IDS}, r"input_ids has shape \(2, 6\): expected 3 dimensions"),
        ({"langs": LANGS}, r"langs has shape \(2, 6\): expected \(batch, choices"),
        (
            {"lengths": torch.tensor([1, 2, 3])},
            r"lengths has shape \(3,?\): expected \(batch, choices",
        ),
        ({"labels": VECTOR + 2}, r"labels holds 3: .*the choices"),
        ({"labels": LANGS}, r"labels has shape \(2, 6\)"),
        ({"input_ids": None}, "neither of input_ids"),
        ({"input_ids": None, "inputs_embeds": torch.ones(6, 6, 12)}, "expected 4 dimensions"),
        ({"attention_mask": [[1]]}, "attention_mask is a list"),
    ],
)
def test_multiple_choice(changes: dict[str, Any], text: str) -> None:
    three = {name: tensor[:, None].repeat(1, 3, 1) for name, tensor in GOOD.items()}
    arguments = {name: v for name, v in {**three, **changes}.items() if v is not None}
    model = _model("XLMForMultipleChoice")
    assert model(**three).logits.shape == (2, 3)
    with pytest.raises(InputError, match=text):
        model(**arguments)


def test_lengths_of_examples_say_nothing_of_choices() -> None:
    three = {name: tensor[:, None].repeat(1, 3, 1) for name, tensor in GOOD.items()}
    model = _model("XLMForMultipleChoice")
    expected = model(**three).logits
    with pytest.warns(XLMWarning, match="says nothing of the choices"):
        found = model(**three, lengths=torch.tensor([1, 2])).logits
    assert torch.equal(found, expected)


def test_more_beams_than_positions() -> None:
    model = _model("XLMForQuestionAnswering", start_n_top=7, end_n_top=2)
    with pytest.raises(InputError, match="6 positions, but start_n_top is 7 and end_n_top is 2"):
        model(**GOOD)


def test_missing_languages_are_warned_of_once_a_model() -> None:
    for architecture in ("XLMModel", "XLMForTokenClassification"):
        model = _model(architecture)
        with pytest.warns(XLMWarning, match="langs was not given") as caught:
            [model(IDS) for _ in range(3)]
        assert len(caught) == 1
        with pytest.warns(XLMWarning):
            _model(architecture)(IDS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _model()(**GOOD)
        _model(n_langs=1)(IDS)
        _model(use_lang_emb=False)(IDS)


def test_token_types_are_warned_of_once_a_model() -> None:
    """Those of mode "v4", which harm a model that was not trained with them."""
    types = torch.arange(IDS.numel()).view(IDS.shape) % 2
    for architecture in ("XLMModel", "XLMForTokenClassification"):
        model = _model(architecture)
        with pytest.warns(XLMWarning, match="return_token_type_ids=False") as caught:
            [model(**GOOD, token_type_ids=types) for _ in range(3)]
        assert len(caught) == 1
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _model()(**GOOD, token_type_ids=types + 3)  # words, on purpose
        _model()(**GOOD, token_type_ids=None)


def test_langs_of_a_model_without_languages_are_free() -> None:
    model = _model(use_lang_emb=False)
    assert torch.equal(model(IDS, langs=LANGS + 70)[0], model(IDS)[0])


def test_checks_of_values_can_be_switched_off() -> None:
    model = _model()
    model.check_values = False
    with pytest.raises(IndexError):
        model(**{**GOOD, "input_ids": _with(IDS, 99)})


def test_wrong_models() -> None:
    with pytest.raises(ConfigError, match=r"got a builtins\.dict: expected an xlm_core\.XLMConfig"):
        XLMModel({"vocab_size": 5})  # type: ignore[arg-type]
    for architecture, values, text in (
        ("XLMModel", {"is_encoder": False}, "is_encoder is False"),
        ("XLMForQuestionAnsweringSimple", {"num_labels": 3}, "num_labels is 3"),
        ("XLMForMultipleChoice", {"summary_proj_to_labels": False}, "summary has 12 columns"),
    ):
        with pytest.raises(ConfigError, match=text):
            _model(architecture, **values)
    wide = _model("XLMForSequenceClassification", summary_use_proj=False)
    with pytest.raises(XLMError, match="summary has 12 columns and num_labels is 7"):
        wide(**GOOD, labels=VECTOR)
