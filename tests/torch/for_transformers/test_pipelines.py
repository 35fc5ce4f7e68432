"""transformers' pipelines, with models given to them and with a folder's name after `register`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import pipeline
from transformers.models.auto import tokenization_auto

import xlm_torch
from xlm_core.errors import XLMWarning

MASKED = "The <special1> returns a list."
pytestmark = pytest.mark.filterwarnings(f"ignore::{XLMWarning.__module__}.XLMWarning")


@pytest.fixture(scope="module")
def tokenizer(kind: Any, folder: Path) -> Any:
    # That of the version beside it: transformers 5 gives no token types.
    mode = "v4" if transformers.__version__.startswith("4.") else "v5"
    return kind.XLMTokenizer.from_pretrained(folder, mode=mode)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.XLMTokenizer.from_pretrained(folder)


@pytest.fixture
def registered(kind: Any) -> Iterator[None]:
    """`register()`, and afterwards transformers as it was: other tests want its own classes."""
    auto = transformers.models.auto
    names = tokenization_auto.TOKENIZER_MAPPING_NAMES
    before = dict(names)
    mappings = [
        value
        for module in (auto.modeling_auto, auto.tokenization_auto)
        for name, value in vars(module).items()
        if name.endswith("MAPPING") and hasattr(value, "_extra_content")
    ]
    kind.register()
    kind.register()
    yield
    for mapping in mappings:
        mapping._extra_content.pop(kind.XLMConfig, None)
    auto.configuration_auto.CONFIG_MAPPING._extra_content.pop("xlm")
    names.clear()
    names.update(before)
    for classes in ("REGISTERED_TOKENIZER_CLASSES", "REGISTERED_FAST_ALIASES"):
        getattr(tokenization_auto, classes, {}).pop("XLMTokenizer", None)


def test_fill_mask(kind: Any, folder: Path, tokenizer: Any, theirs: Any) -> None:
    ours = pipeline(
        "fill-mask", kind.XLMWithLMHeadModel.from_pretrained(folder), tokenizer=tokenizer
    )
    their_model = transformers.XLMWithLMHeadModel.from_pretrained(folder)
    expected = pipeline("fill-mask", their_model, tokenizer=theirs)(MASKED)
    for found, wanted in zip(ours(MASKED), expected, strict=True):
        assert found["sequence"] == wanted["sequence"]
        assert found["score"] == pytest.approx(wanted["score"], abs=1e-6)


def test_feature_extraction(kind: Any, folder: Path, tokenizer: Any, theirs: Any) -> None:
    model = kind.XLMWithLMHeadModel.from_pretrained(folder).transformer
    found = pipeline("feature-extraction", model, tokenizer=tokenizer)("The function")
    their_model = transformers.XLMModel.from_pretrained(folder)
    expected = pipeline("feature-extraction", their_model, tokenizer=theirs)("The function")
    assert torch.allclose(torch.tensor(found), torch.tensor(expected), atol=1e-5)


@pytest.fixture(scope="module")
def classifiers(kind: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Head -> (ours, transformers'), with one set of random weights."""
    labels = {0: "contradiction", 1: "neutral", 2: "entailment"}
    found = {}
    for name in (
        "XLMForSequenceClassification",
        "XLMForTokenClassification",
        "XLMForQuestionAnsweringSimple",
    ):
        path = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        named = {} if "Question" in name else {"id2label": labels}
        getattr(kind, name)(kind.XLMConfig.from_pretrained(folder, **named)).save_pretrained(path)
        found[name] = (
            getattr(kind, name).from_pretrained(path),
            getattr(transformers, name).from_pretrained(path),
        )
    return found


def assert_alike(found: Any, expected: Any) -> None:
    if isinstance(expected, (list, dict)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for key in expected if isinstance(expected, dict) else range(len(expected)):
            assert_alike(found[key], expected[key])
    elif isinstance(expected, str) or expected is None:
        assert found == expected
    else:
        assert found == pytest.approx(expected, abs=1e-5)


TASKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "text-classification": (
        "XLMForSequenceClassification",
        {"inputs": ["The function", "A list of values"]},
        {"top_k": None},
    ),
    "zero-shot-classification": (
        "XLMForSequenceClassification",
        {"sequences": "The function", "candidate_labels": ["list", "value"]},
        {},
    ),
    "token-classification": (
        "XLMForTokenClassification",
        {"inputs": "The function returns"},
        {"aggregation_strategy": "simple"},
    ),
    "question-answering": (
        "XLMForQuestionAnsweringSimple",
        {
            "question": "What?",
            "context": "The function returns a list of values for each key in the dictionary.",
            "max_seq_len": 64,
        },
        {},
    ),
}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # their own
@pytest.mark.parametrize("task", TASKS)
def test_tasks(classifiers: Any, tokenizer: Any, theirs: Any, task: str) -> None:
    if task == "question-answering" and int(transformers.__version__.partition(".")[0]) > 4:
        pytest.skip("transformers 5 has no such pipeline")
    name, inputs, options = TASKS[task]
    ours, their_model = classifiers[name]
    found = pipeline(task, ours, tokenizer=tokenizer, batch_size=1, **options)(**inputs)
    expected = pipeline(task, their_model, tokenizer=theirs, batch_size=1, **options)(**inputs)
    assert_alike(found, expected)


@pytest.mark.usefixtures("registered")
def test_auto_classes(kind: Any, folder: Path) -> None:
    assert type(transformers.AutoConfig.from_pretrained(folder)) is kind.XLMConfig
    for use_fast in (True, False):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, use_fast=use_fast)
        assert type(tokenizer) is kind.XLMTokenizer
    for auto, name in (
        ("AutoModel", "XLMModel"),
        ("AutoModelForMaskedLM", "XLMWithLMHeadModel"),
        ("AutoModelForCausalLM", "XLMWithLMHeadModel"),
        ("AutoModelForPreTraining", "XLMWithLMHeadModel"),
        ("AutoModelForSequenceClassification", "XLMForSequenceClassification"),
        ("AutoModelForTokenClassification", "XLMForTokenClassification"),
        ("AutoModelForMultipleChoice", "XLMForMultipleChoice"),
        ("AutoModelForQuestionAnswering", "XLMForQuestionAnsweringSimple"),
    ):
        auto_class = getattr(transformers, auto)
        assert type(auto_class.from_pretrained(folder)) is getattr(kind, name), auto
        config = kind.XLMConfig.from_pretrained(folder, n_layers=1)
        assert type(auto_class.from_config(config)) is getattr(kind, name), auto
    model = transformers.AutoModel.from_pretrained(folder, dtype="float64", attention_dropout=0.3)
    assert model.dtype == torch.float64
    assert model.config.attention_dropout == 0.3


@pytest.mark.usefixtures("registered")
def test_a_pipeline_of_a_folder(kind: Any, folder: Path) -> None:
    fill = pipeline("fill-mask", str(folder))
    assert type(fill.model) is kind.XLMWithLMHeadModel
    assert type(fill.tokenizer) is kind.XLMTokenizer
    assert fill(MASKED)[0]["token_str"] == "the"
    assert len(pipeline("text-generation", str(folder))("The", max_new_tokens=3)) == 1


@pytest.mark.usefixtures("registered")
def test_translation(kind: Any, folder: Path, tokenizer: Any, tmp_path: Path) -> None:
    config = kind.XLMConfig.from_pretrained(folder, n_layers=1, emb_dim=16, n_heads=2)
    torch.manual_seed(0)
    kind.XLMForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert type(model) is kind.XLMForConditionalGeneration
    if int(transformers.__version__.partition(".")[0]) > 4:
        return  # it has no pipelines of encoder-decoders
    texts = ["The function returns a list.", "A value"]
    call = {"max_new_tokens": 6, "num_beams": 4}  # the beams of that pipeline by default
    languages = {"src_lang": "en", "tgt_lang": "fr"}
    rows = tokenizer(
        texts, lang="en", framing="sentence", padding=True, return_tensors="pt",
        return_token_type_ids=False,
    )  # fmt: skip
    found = model.generate(**rows, **languages, **call)
    expected = [{"translation_text": tokenizer.decode(r, skip_special_tokens=True)} for r in found]
    for batch_size in (1, 2):
        translate = pipeline("translation", str(tmp_path), batch_size=batch_size, **languages)
        assert translate(texts, **call) == expected
    assert pipeline("translation_en_to_fr", str(tmp_path))(texts[1], **call) == expected[1:]


def test_importing_changes_nothing(kind: Any, folder: Path) -> None:
    assert type(transformers.AutoModel.from_pretrained(folder)) is transformers.XLMModel
    assert type(transformers.AutoTokenizer.from_pretrained(folder)) is transformers.XLMTokenizer


def test_the_plain_classes_classify(folder: Path, tokenizer: Any, classifiers: Any) -> None:
    """text-classification and token-classification run with the plain classes too."""
    ours, _ = classifiers["XLMForSequenceClassification"]
    plain = xlm_torch.XLMForSequenceClassification(
        xlm_torch.XLMConfig.from_dict(ours.config.to_dict())
    ).eval()
    plain.load_state_dict(ours.state_dict())
    # `pipeline` asks the configuration for transformers' notes; the classes that it makes do not.
    classify = transformers.TextClassificationPipeline(model=plain, tokenizer=tokenizer)
    found = classify("The function")
    assert_alike(found, pipeline("text-classification", ours, tokenizer=tokenizer)("The function"))
