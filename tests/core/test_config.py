"""`XLMConfig` as an object: fields, defaults, aliases, derived sizes, copies, equality."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import transformers

from tests.conftest import make_config
from xlm_core import ConfigError, XLMConfig, XLMWarning

# The published fields and their defaults, with names that the object can be asked for.
DEFAULTS = {
    "vocab_size": 30145,
    "n_words": 30145,
    "emb_dim": 2048,
    "hidden_size": 2048,
    "n_layers": 12,
    "num_hidden_layers": 12,
    "n_heads": 16,
    "num_attention_heads": 16,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "gelu_activation": True,
    "sinusoidal_embeddings": False,
    "causal": False,
    "asm": False,
    "n_langs": 1,
    "use_lang_emb": True,
    "max_position_embeddings": 512,
    "embed_init_std": 2048**-0.5,
    "layer_norm_eps": 1e-12,
    "init_std": 0.02,
    "bos_index": 0,
    "eos_index": 1,
    "pad_index": 2,
    "unk_index": 3,
    "mask_index": 5,
    "is_encoder": True,
    "summary_type": "first",
    "summary_use_proj": True,
    "summary_activation": None,
    "summary_proj_to_labels": True,
    "summary_first_dropout": 0.1,
    "start_n_top": 5,
    "end_n_top": 5,
    "mask_token_id": 0,
    "lang_id": 0,
    "pad_token_id": 2,
    "bos_token_id": 0,
    "tie_word_embeddings": True,
    "chunk_size_feed_forward": 0,
    "pruned_heads": {},
    "num_labels": 2,
    "id2label": {0: "LABEL_0", 1: "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "problem_type": None,
    "output_attentions": False,
    "output_hidden_states": False,
    "return_dict": True,
    "use_return_dict": True,
    "model_type": "xlm",
}

ALIASES = [
    ("n_words", "vocab_size", 61),
    ("hidden_size", "emb_dim", 48),
    ("num_hidden_layers", "n_layers", 7),
    ("num_attention_heads", "n_heads", 8),
    ("bos_token_id", "bos_index", 9),
    ("eos_token_id", "eos_index", 9),
    ("pad_token_id", "pad_index", 9),
    ("torch_dtype", "dtype", "float16"),
]


@pytest.mark.parametrize(("name", "default"), DEFAULTS.items())
def test_default(name: str, default: object) -> None:
    assert getattr(XLMConfig(), name) == default
    assert getattr(transformers.XLMConfig(), name) == default


def test_defaults_that_transformers_lacks() -> None:
    config = XLMConfig()
    assert (config.asm_cutoffs, config.asm_div_value) == (None, 4)
    assert config.summary_last_dropout == 0
    assert config.eos_token_id == 1  # transformers 4 never set it, so generation never stopped


@pytest.mark.parametrize(("alias", "name", "value"), ALIASES)
def test_alias_is_given_read_and_set(alias: str, name: str, value: object) -> None:
    given = XLMConfig(**{alias: value})
    assert getattr(given, name) == getattr(given, alias) == value
    assigned = XLMConfig()
    setattr(assigned, alias, value)
    assert getattr(assigned, name) == value
    assert alias not in assigned.extra
    assert assigned == given


@pytest.mark.parametrize(("alias", "name"), [row[:2] for row in ALIASES[:4]])
def test_size_alias_wins_over_the_field_with_a_warning(alias: str, name: str) -> None:
    both = {alias: 64, name: 32}
    with pytest.warns(XLMWarning, match=f"{alias}=64 and {name}=32"):
        assert getattr(XLMConfig(**both), name) == 64
    assert getattr(XLMConfig(**{alias: 64, name: 64}), name) == 64


def test_n_words_wins_as_in_transformers() -> None:
    assert transformers.XLMConfig(vocab_size=50, n_words=77).vocab_size == 77
    with pytest.warns(XLMWarning, match="n_words=77"):
        assert XLMConfig(vocab_size=50, n_words=77).vocab_size == 77


def test_index_wins_over_token_id() -> None:
    config = XLMConfig(pad_index=7, pad_token_id=2, eos_index=8, eos_token_id=None)
    assert (config.pad_index, config.pad_token_id) == (7, 7)
    assert (config.eos_index, config.eos_token_id) == (8, 8)


def test_token_id_of_none_leaves_the_default() -> None:
    assert XLMConfig(eos_token_id=None).eos_index == 1


@pytest.mark.parametrize(
    ("n_langs", "use_lang_emb", "expected"),
    [(1, True, False), (1, False, False), (2, True, True), (2, False, False), (15, True, True)],
)
def test_has_lang_embeddings(n_langs: int, use_lang_emb: bool, expected: bool) -> None:
    assert XLMConfig(n_langs=n_langs, use_lang_emb=use_lang_emb).has_lang_embeddings is expected


@pytest.mark.parametrize(
    ("values", "width"),
    [
        ({}, 7),
        ({"summary_proj_to_labels": False}, 12),
        ({"summary_use_proj": False}, 12),
        ({"num_labels": 0}, 12),
    ],
)
def test_summary_width(values: dict[str, object], width: int) -> None:
    assert make_config(**values).summary_width == width


def test_derived_sizes() -> None:
    config = make_config(pruned_heads={1: [2, 0]})
    assert config.head_dim == 3
    assert config.heads_of(0) == [0, 1, 2, 3]
    assert config.heads_of(1) == [1, 3]
    assert config.ties_output
    assert not make_config(tie_word_embeddings=False).ties_output
    assert not make_config(asm=True, asm_cutoffs=[20], asm_div_value=2).ties_output
    assert not XLMConfig(torchscript=True).use_return_dict


def test_share_inout_emb_of_the_original_is_tying() -> None:
    assert not XLMConfig(share_inout_emb=False).tie_word_embeddings
    assert XLMConfig(share_inout_emb=True).tie_word_embeddings
    assert XLMConfig(share_inout_emb=False, tie_word_embeddings=True).tie_word_embeddings


def test_labels_follow_their_number_and_names() -> None:
    named = XLMConfig(id2label={"0": "no", "1": "maybe", "2": "yes"})
    assert named.num_labels == 3
    assert named.id2label == {0: "no", 1: "maybe", 2: "yes"}
    assert named.label2id == {"no": 0, "maybe": 1, "yes": 2}
    named.num_labels = 3
    assert named.id2label[2] == "yes"
    named.num_labels = 1
    assert (named.id2label, named.label2id) == ({0: "LABEL_0"}, {"LABEL_0": 0})
    with pytest.raises(ConfigError, match=r"num_labels is 5.*names 2 classes"):
        XLMConfig(num_labels=5, id2label={0: "a", 1: "b"})


@pytest.mark.parametrize("given", ["lang2id", "id2lang"])
def test_either_language_table_gives_the_other(given: str) -> None:
    tables = {"lang2id": {"en": 0, "fr": 1}, "id2lang": {"0": "en", "1": "fr"}}
    config = XLMConfig(n_langs=2, **{given: tables[given]})
    assert config.lang2id == {"en": 0, "fr": 1}
    assert config.id2lang == {0: "en", 1: "fr"}


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("torch.bfloat16", "bfloat16"),
        ("float16", "float16"),
        (np.dtype("float64"), "float64"),
        (None, None),
    ],
)
def test_dtype_has_one_spelling(given: object, stored: str | None) -> None:
    assert XLMConfig(dtype=given).dtype == stored
    assert XLMConfig(torch_dtype=given).dtype == stored


def test_numbers_of_numpy_become_python_numbers() -> None:
    config = XLMConfig(vocab_size=np.int64(99), dropout=np.float32(0.5), score=np.float64(1.5))
    assert (type(config.vocab_size), config.vocab_size) == (int, 99)
    assert (type(config.dropout), config.dropout) == (float, 0.5)
    assert type(config.score) is float


def test_unknown_keys_read_as_attributes_and_absent_ones_do_not() -> None:
    config = XLMConfig(max_vocab=200000)
    config.min_count = 3
    assert (config.max_vocab, config.min_count) == (200000, 3)
    assert config.extra == {"max_vocab": 200000, "min_count": 3}
    with pytest.raises(AttributeError, match="initializer_range"):
        _ = config.initializer_range
    assert getattr(config, "absent", 5) == 5


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, XLMConfig.copy, lambda c: pickle.loads(pickle.dumps(c))],
    ids=["copy", "deepcopy", "method", "pickle"],
)
def test_copies_are_equal_and_apart(duplicate: object) -> None:
    config = make_config(
        pruned_heads={1: [0]}, id2label={0: "x", 1: "y", 2: "z"}, asm_cutoffs=[5], extra_key=[1]
    )
    before = config.to_dict()
    other = duplicate(config)
    assert other == config
    assert other.to_dict() == before
    other.n_langs = 9
    other.another_key = 1
    assert other != config
    assert config.to_dict() == before


def test_copy_replaces_fields_and_what_hangs_on_them() -> None:
    config = make_config(id2label={0: "x", 1: "y"}, lang2id={"en": 0})
    changed = config.copy(num_labels=3, n_words=60, lang2id={"fr": 0})
    assert (changed.num_labels, changed.id2label[2], changed.vocab_size) == (3, "LABEL_2", 60)
    assert changed.id2lang == {0: "fr"}
    assert (config.num_labels, config.vocab_size, config.id2lang) == (2, 53, {0: "en"})


def test_equality() -> None:
    assert make_config() == make_config()
    assert make_config() != make_config(causal=True)
    assert make_config() != make_config(note="x")
    assert make_config() != make_config().to_dict()
    with pytest.raises(TypeError, match="unhashable"):
        hash(make_config())


def test_representation_is_its_json() -> None:
    config = make_config()
    assert repr(config) == "XLMConfig " + config.to_json_string()
