"""Impossible values are refused: the message names the field, the value and the rule."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import make_config
from xlm_core import ConfigError, XLMConfig
from xlm_core.config import ALIASES
from xlm_core.config_rules import RULES

SIZES = ["vocab_size", "emb_dim", "n_layers", "n_heads", "n_langs", "max_position_embeddings"]
SIZES += ["start_n_top", "end_n_top"]
COUNTS = ["bos_index", "eos_index", "pad_index", "unk_index", "mask_index"]
COUNTS += ["chunk_size_feed_forward", "num_labels"]
RATES = ["dropout", "attention_dropout", "summary_first_dropout", "summary_last_dropout"]
FLAGS = ["gelu_activation", "sinusoidal_embeddings", "causal", "asm", "use_lang_emb", "is_encoder"]
FLAGS += ["summary_use_proj", "summary_proj_to_labels", "tie_word_embeddings", "return_dict"]
FLAGS += ["output_attentions", "output_hidden_states"]

IMPOSSIBLE: list[Any] = [
    *((name, value, "at least 1") for name in SIZES for value in (0, -1, 2.5, "8", None, True)),
    *((name, value, "at least 0") for name in COUNTS for value in (-1, 2.5, "8", True)),
    *((n, value, r"in [0, 1)") for n in RATES for value in (-0.1, 1, 1.5, math.nan, "0.1", None)),
    *((name, value, "true or false") for name in FLAGS for value in (0, 1, "true", None)),
    *((n, v, "at least 0") for n in ("init_std", "embed_init_std") for v in (-1, math.inf, "x")),
    *((n, v, "above 0") for n in ("layer_norm_eps", "asm_div_value") for v in (0, -1e-5, math.nan)),
    pytest.param("dropout", 10**400, r"in [0, 1)", id="larger than any float"),
    ("mask_token_id", -1, "at least 0, or null"),
    ("lang_id", "en", "at least 0, or null"),
    ("summary_type", "attn", "'attn' was never implemented"),
    ("summary_type", "median", "one of first, last, mean, cls_index"),
    ("summary_activation", "prelu", "one of gelu,"),
    ("problem_type", "ranking", "one of regression, single_label_classification"),
    ("architectures", "XLMModel", "a list of class names"),
    ("asm_cutoffs", [8, 8], "increasing"),
    ("asm_cutoffs", [0, 8], "at least 1"),
    ("asm_cutoffs", "8,many", "increasing"),
    ("asm_cutoffs", "8,²", "increasing"),
    ("pruned_heads", [1], "a table from layer"),
    ("pruned_heads", {"first": [1]}, "a table from layer"),
    ("pruned_heads", {0: 1}, "a table from layer"),
    ("pruned_heads", {0: ["a", 1]}, "a table from layer"),
    ("pruned_heads", {0: [[1]]}, "a table from layer"),
    ("id2label", {0: "a", 2: "b"}, "ids 0, 1"),
    ("id2label", {"a": 0}, "ids 0, 1"),
    ("id2label", ["a", "b"], "ids 0, 1"),
    ("label2id", {"a": "b"}, "from class name to id"),
    ("lang2id", {"en": "0"}, "from language to id"),
    ("id2lang", {"en": 0}, "from id to language"),
]


@pytest.mark.parametrize(("name", "value", "rule"), IMPOSSIBLE)
def test_impossible_value(name: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(**{name: value})
    assert name in str(caught.value)
    assert rule in str(caught.value)


@pytest.mark.parametrize(("name", "value", "rule"), IMPOSSIBLE)
def test_impossible_value_is_refused_on_assignment_too(name: str, value: Any, rule: str) -> None:
    config = make_config()
    before = config.to_dict()
    with pytest.raises(ConfigError, match=re.escape(rule)):
        setattr(config, name, value)
    assert config.to_dict() == before


ADAPTIVE = {"asm": True, "asm_cutoffs": [20, 40], "asm_div_value": 2}


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"emb_dim": 13}, ["emb_dim is 13", "multiple of n_heads (4)"]),
        ({"pad_index": 53}, ["pad_index is 53", "below vocab_size (53)"]),
        ({"asm": True}, ["asm_cutoffs is None", "at least one cutoff"]),
        ({**ADAPTIVE, "asm_cutoffs": []}, ["asm_cutoffs is []", "at least one cutoff"]),
        ({**ADAPTIVE, "asm_cutoffs": [20, 53]}, ["[20, 53]", "below vocab_size (53)"]),
        ({**ADAPTIVE, "asm_div_value": 4}, ["asm_div_value is 4", "emb_dim (12) 2 times"]),
        ({**ADAPTIVE, "asm_div_value": 1e300}, ["asm_div_value is 1e+300"]),
        ({**ADAPTIVE, "asm_div_value": 1e-300}, ["asm_div_value is 1e-300"]),
        ({"pruned_heads": {3: [0]}}, ["pruned_heads is {3: [0]}", "outside the 3 layers"]),
        ({"pruned_heads": {-4: [0]}}, ["pruned_heads is {-4: [0]}", "outside the 3 layers"]),
        ({"pruned_heads": {0: [4]}}, ["pruned_heads is {0: [4]}", "heads 0 to 3 only"]),
        ({"pruned_heads": {0: [0, 1, 2, 3]}}, ["pruned_heads", "at least one of its 4 heads"]),
        ({"lang2id": {"en": 5}}, ["lang2id is {'en': 5}", "n_langs 5"]),
        (
            {"lang2id": {"en": 0}, "id2lang": {0: "fr"}},
            ["id2lang is {0: 'fr'}", "inverse of lang2id"],
        ),
        ({"model_type": "bert"}, ["model_type is 'bert'", "XLM checkpoints only"]),
    ],
)
def test_impossible_combination(values: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(**values)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"n_heads": 1},
        {"emb_dim": 4},
        {"pad_index": 52},
        {"asm": True, "asm_cutoffs": [1], "asm_div_value": 12},
        {"asm": True, "asm_cutoffs": [52], "asm_div_value": 1},
        {"pruned_heads": {"2": [3, 0, 1]}},
        {"n_langs": 1, "lang2id": {"en": 4}},
        {"use_lang_emb": False, "lang2id": {"en": 99}},
        {"dropout": 0, "attention_dropout": 0.999, "init_std": 0},
        {"summary_activation": "tanh", "summary_type": "cls_index", "problem_type": "regression"},
        {"mask_token_id": None, "lang_id": None},
        {"num_labels": 0},
    ],
)
def test_values_at_the_border_are_accepted(values: dict[str, Any]) -> None:
    config = make_config(**values)
    config.validate()
    assert XLMConfig.from_dict(config.to_dict()) == config


def test_every_field_has_a_rule() -> None:
    assert RULES.keys() - {"num_labels"} == {field.name for field in fields(XLMConfig)}


def test_a_refused_assignment_is_found_by_validate() -> None:
    config = make_config()
    config.emb_dim = 13  # alone it is possible; with n_heads 4 it is not
    with pytest.raises(ConfigError, match="emb_dim is 13"):
        config.validate()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 60)
    | st.integers(-(10**6), 10**6)
    | st.just(10**400)
    | st.floats()
    | st.sampled_from(["0", "1", "first", "8,20", "²", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["0", "1", "en", "-1", "extra"]), inner, max_size=3)
    ),
    max_leaves=5,
)
PROPERTIES = ["head_dim", "summary_width", "has_lang_embeddings", "ties_output", "use_return_dict"]
NAMES = [
    *(field.name for field in fields(XLMConfig)),
    *ALIASES,
    "num_labels",
    "model_type",
    "extra",
]
NAMES += [*PROPERTIES, "copy", "validate", "share_inout_emb", "something_else"]


@given(st.dictionaries(st.sampled_from(NAMES), JSON, min_size=1, max_size=4))
@pytest.mark.filterwarnings("ignore::xlm_core.XLMWarning")
def test_any_file_is_read_or_refused_by_name(values: dict[str, Any]) -> None:
    """Whatever JSON a file holds: a valid configuration that survives writing, or ConfigError."""
    try:
        config = XLMConfig.from_dict(values)
    except ConfigError:
        return
    config.validate()
    assert XLMConfig.from_dict(config.to_dict()).to_json_string() == config.to_json_string()


@pytest.mark.parametrize("name", [*PROPERTIES, "extra"])
def test_keys_that_are_names_of_the_class_are_kept_or_refused(name: str) -> None:
    """A file may hold a key such as "head_dim"; it is data, and no setting of an attribute."""
    try:
        config = XLMConfig.from_dict({"n_layers": 2, name: 5})
    except ConfigError as error:
        assert name in str(error)
    else:
        assert config.to_dict()[name] == 5
        assert config.head_dim == 128


def test_unhashable_labels_are_refused() -> None:
    with pytest.raises(ConfigError, match="id2label"):
        XLMConfig(id2label={0: ["a"]})
