"""Collated examples beside the batches that a run makes of the same sentences, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.small_tokenizer import small_tokenizer
from xlm_core import ConfigError, InputError, XLMConfig
from xlm_core.objectives import (
    Batch,
    Collator,
    Masking,
    ObjectiveSettings,
    SpecialIds,
    Task,
    frame,
    next_words,
)
from xlm_core.objectives.making import BatchMaker
from xlm_core.objectives.randomness import generator_of

EOS, PAD, WORDS = 1, 2, 40
FIRST = [[14, 15, 16], [17], [20, 21]]
SECOND = [[30], [31, 32, 33, 34], [35, 36]]
ALL = ObjectiveSettings(word_pred=1.0, word_mask=1.0, word_keep=0.0, word_rand=0.0)


def config(objective: str = "mlm", **more: Any) -> XLMConfig:
    sizes = {"emb_dim": 8, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 16}
    langs = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}}
    kind: dict[str, Any] = {"causal": objective == "clm"}
    if objective == "mt":
        kind = {"is_encoder_decoder": True, "is_encoder": False}
    return XLMConfig(**{"vocab_size": WORDS, **sizes, **langs, **kind, **more})


def languages(objective: str) -> tuple[str, ...]:
    return ("en", "fr") if objective in ("tlm", "mt") else ("en",)


def collator(objective: str = "mlm", **more: Any) -> Collator:
    return Collator(config(objective), objective, **{"languages": languages(objective), **more})


def examples(objective: str, opening: int = EOS) -> list[dict[str, Any]]:
    one = [{"input_ids": [opening, *row, EOS], "index": at} for at, row in enumerate(FIRST)]
    if objective in ("mlm", "clm"):
        return one
    return [each | {"labels": [opening, *row, EOS]} for each, row in zip(one, SECOND, strict=True)]


def batch_of_a_run(objective: str, draw: np.random.Generator) -> dict[str, Any]:
    settings, ids = ObjectiveSettings(), SpecialIds.of(config(objective))
    masking = Masking(settings, ids)
    first, second = ([np.array(row) for row in side] for side in (FIRST, SECOND))
    if objective in ("tlm", "mt"):
        maker = BatchMaker(config(objective), settings, masking)
        return maker.of_pairs(Task(objective, ("en", "fr")), first, second, draw).arguments()
    rows, lengths = frame(first, ids)
    found, labels = (
        masking.mask(rows, lengths, draw)
        if objective == "mlm"
        else (rows, next_words(rows, lengths))
    )
    task, langs = Task(objective, ("en",)), np.zeros_like(rows)
    return Batch(task, found, lengths, labels, langs).arguments()


@pytest.mark.parametrize("opening", [EOS, 0])
@pytest.mark.parametrize("objective", ["mlm", "clm", "tlm", "mt"])
def test_the_batches_are_those_of_a_run(objective: str, opening: int) -> None:
    """Of pairs whatever frame the tokenizer gave; of one text as it is framed."""
    draw = generator_of(5, "collated", objective, 0, 0, 1, 2)
    expected = batch_of_a_run(objective, draw)
    found = collator(objective, seed=5).arrays(examples(objective, opening))
    # From which a model makes in a run what its decoder reads.
    assert set(found) - {"decoder_input_ids"} == set(expected)
    for name, array in expected.items():
        if opening == 0 and objective in ("mlm", "clm") and name == "input_ids":
            assert (found[name][:, 0] == 0).all()
            array, found[name] = array[:, 1:], found[name][:, 1:]
        np.testing.assert_array_equal(found[name], array, err_msg=name)
        assert found[name].dtype == np.int64


def test_batches_by_hand() -> None:
    masked = collator("tlm", settings=ALL).arrays(examples("tlm"))
    assert masked["labels"][1].tolist() == [-100, 17, 1, 1, 31, 32, 33, 34, 1]
    assert masked["input_ids"][1].tolist() == [1, *[5] * 8]
    assert masked["position_ids"][1].tolist() == [0, 1, 2, 0, 1, 2, 3, 4, 5]
    assert masked["langs"][0].tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert masked["attention_mask"].sum(1).tolist() == [8, 9, 8]
    causal = collator("clm", settings=ObjectiveSettings(context_size=1)).arrays(examples("clm"))
    assert causal["labels"].tolist()[:2] == [[-100, 15, 16, 1, -100], [-100, 1, -100, -100, -100]]
    translated = collator("mt").arrays(examples("mt"))
    assert translated["labels"].tolist()[0] == [30, 1, -100, -100, -100]
    assert translated["decoder_input_ids"].tolist()[0] == [1, 30, 1, 2, 2]
    assert (translated["decoder_langs"] == 1).all()
    assert translated["decoder_langs"].shape == translated["labels"].shape


def test_what_is_masked_depends_on_seed_epoch_and_examples_alone() -> None:
    many = [{"input_ids": [1, *range(14, 26), 1], "index": at} for at in range(8)]

    def labels(seed: int | None = 3, epoch: int = 0, rows: Any = many, **more: Any) -> list[Any]:
        made = collator(seed=seed, **more)
        made.set_epoch(epoch)
        found: list[Any] = made.arrays(rows)["labels"].tolist()
        return found

    first = labels()
    assert labels() == first
    for other in (labels(4), labels(epoch=1), labels(rows=many[::-1]), labels(None), labels(-1)):
        assert other != first
    moved = [each | {"index": at + 8} for at, each in enumerate(many)]
    assert labels(rows=moved) != first
    with pytest.raises(InputError, match=r"example 0 has the index 1\.5: expected a whole number"):
        collator(seed=3).arrays([many[0] | {"index": 1.5}])
    with pytest.raises(InputError, match="an example has no index"):
        labels(rows=[{"input_ids": [1, 14, 1]}])


def test_frequent_words_are_masked_less() -> None:
    counts = [0] * 14 + [10**6] * 13 + [1] * 13
    made = collator(settings=ObjectiveSettings(sample_alpha=0.5), counts=counts, seed=0)
    row = {"input_ids": [1, *range(20, 34), 1], "index": 0}
    labels = made.arrays([row] * 50)["labels"]
    chosen = labels[labels != -100]
    assert len(chosen) == 120
    assert (chosen >= 27).mean() > 0.95
    with pytest.raises(ConfigError, match="expected how often each of the 40 words"):
        collator(settings=ObjectiveSettings(sample_alpha=0.5))
    with pytest.raises(ConfigError, match="settings is a dict: expected ObjectiveSettings"):
        collator(settings={"word_pred": 0.2})


def test_padding_and_forms_of_examples() -> None:
    plain = collator("clm").arrays([[1, 14, 15, 1], [1, 16, 1]])
    padded = [
        {"input_ids": np.array([1, 14, 15, 1, 2, 2]), "token_type_ids": [0] * 6},
        {"input_ids": (2, 2, 1, 16, 1), "attention_mask": [0, 0, 1, 1, 1], "length": 5},
    ]
    found = collator("clm").arrays(iter(padded))
    for name, array in plain.items():
        np.testing.assert_array_equal(found[name], array)
    copied = [{"input_ids": row, "labels": row} for row in ([1, 14, 15, 1], [1, 16, 1])]
    np.testing.assert_array_equal(collator("clm").arrays(copied)["labels"], plain["labels"])
    wide = collator("clm", pad_to_multiple_of=8).arrays(padded)
    assert wide["input_ids"].shape == (2, 8)
    assert (wide["input_ids"][:, 4:] == PAD).all()
    assert (wide["labels"][:, 4:] == -100).all()
    # Not beyond the model's 16 positions.
    long = [{"input_ids": [1, *[14] * 14], "labels": [15] * 13}]
    for objective in ("tlm", "mt"):
        found = collator(objective, pad_to_multiple_of=11).arrays(
            [{**long[0], "labels": [15] * 13}]
        )
        assert found.get("position_ids", np.array([0])).max() < 16
    assert found["input_ids"].shape == (1, 16)
    padded_labels = [
        {"input_ids": [1, 14, 1], "labels": [1, 30, 1, *end]} for end in ([], [-100], [2, 2])
    ]
    assert (collator("mt").arrays(padded_labels)["labels"] == [30, 1]).all()


def test_languages_of_examples() -> None:
    rows = [
        {"input_ids": [1, 14, 1], "langs": 1},
        {
            "input_ids": [2, 1, 14, 15, 1],
            "attention_mask": [0, 1, 1, 1, 1],
            "langs": [1, 0, 0, 1, 1],
        },
        {"input_ids": [1, 1]},
    ]
    found = collator().arrays(rows)["langs"].tolist()
    assert found == [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]]
    pair = {"input_ids": [14], "labels": [15, 16], "langs": [1], "decoder_langs": np.int64(0)}
    assert collator("tlm").arrays([pair])["langs"].tolist() == [[1, 1, 1, 0, 0, 0, 0]]
    assert collator("mt", languages=()).arrays([pair])["decoder_langs"].tolist() == [[0, 0, 0]]
    one = Collator(config(n_langs=1, lang2id=None), "mlm", "en")
    assert "langs" not in one.arrays([{"input_ids": [1, 14, 1], "langs": 0}])


@pytest.mark.parametrize(
    ("objective", "example", "message"),
    [
        ("mlm", {"input_ids": [1, 14], "text": "a"}, "example 0 has 'text', which this objective"),
        ("mlm", {"input_ids": [1, 14], "labels": [1, 15]}, "labels are made here"),
        ("mlm", {"input_ids": [1, 14], "lang": 0}, "Did you mean 'langs'|langs"),
        ("mlm", {"text": "a"}, "example 0 has text: expected input_ids"),
        ("mlm", {"input_ids": [[1, 14]]}, r"shape \(1, 2\).*expected the ids of one text"),
        ("mlm", "text", "shape"),
        ("mlm", ([1, 14], 0), "of several texts or of something else"),
        ("mlm", [1.0, 2.0], "type float64"),
        ("mlm", [], "no token"),
        ("mlm", [2, 2], "no token"),
        ("mlm", {"input_ids": [1, 14, 1], "attention_mask": [1, 0, 1]}, "gaps"),
        ("mlm", {"input_ids": [1, 14, 1], "attention_mask": [1, 1]}, "3 input_ids and an"),
        ("mlm", {"input_ids": [1, 14], "token_type_ids": [0, 1]}, "token_type_ids that are not 0"),
        ("mlm", [1, 40], "has the id 40, and the model 40 words"),
        ("mlm", [1, *[14] * 16], "needs 17 positions, and the model has 16"),
        ("mlm", {"input_ids": [1, 14], "langs": 2}, "expected 0 to 1"),
        ("mlm", {"input_ids": [1, 14], "langs": [0, 0, 0]}, "each of 2 ids, or one"),
        ("mt", {"input_ids": [1, 14]}, "expected labels, the translation"),
        ("mt", {"input_ids": [14], "labels": [-100, 30]}, "has the id -100"),
        ("mt", {"input_ids": [14], "labels": [30] * 16}, "needs 17 positions"),
        ("tlm", {"input_ids": [14], "labels": [30] * 15}, "needs 17 positions"),
        (
            "tlm",
            {"input_ids": [14, 15], "labels": [30], "langs": [0, 1], "decoder_langs": 1},
            "several languages",
        ),
        ("tlm", {"input_ids": [14], "labels": [30], "langs": 1}, "no decoder_langs.*Trainer keeps"),
    ],
)
def test_examples_that_are_refused(objective: str, example: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        collator(objective).arrays([example])


def test_collators_and_lists_that_are_refused() -> None:
    for kind, objective, names, message in (
        ("mlm", "clm", "en", "clm trains a model with causal=True"),
        ("clm", "tlm", ("en", "fr"), "tlm trains a model with causal=False"),
        ("mlm", "mt", (), "mt trains an encoder-decoder"),
        ("mt", "mlm", "en", r'config.part\("encoder"\)'),
        ("mlm", "mlm", "de", "no language 'de'"),
        ("mlm", "mlm", ("en", "fr"), "expected one"),
        ("mlm", "tlm", "en", "expected two: of the sentence and of its translation"),
        ("mlm", "tlm", ("en", "en"), "pairs a language with itself"),
        ("mlm", "ae", "en", "denoising"),
        ("mlm", "mml", "en", "unknown objective 'mml'.*mlm"),
    ):
        with pytest.raises(ConfigError, match=message):
            Collator(config(kind), objective, names)
    for multiple in (0, 2.5):
        with pytest.raises(ConfigError, match=f"pad_to_multiple_of is {multiple}"):
            collator(pad_to_multiple_of=multiple)
    with pytest.raises(InputError, match="one mapping of input_ids"):
        collator().arrays({"input_ids": [[1, 14]]})
    with pytest.raises(InputError, match="no example"):
        collator().arrays([])
    with pytest.raises(InputError, match=r"no decoder_langs.*remove_unused_columns=False"):
        collator("tlm", languages=()).arrays([{"input_ids": [14], "labels": [15], "langs": 1}])
    with pytest.raises(InputError, match=r"has no langs, and the model has 2 languages"):
        collator(languages=()).arrays([[1, 14]])
    Collator(config("mt").part("encoder"), "mlm", "en").arrays([[1, 14]])


def test_of_what_our_tokenizer_gives(tmp_path: Any) -> None:
    tokenizer = small_tokenizer(tmp_path, lang2id={"en": 0, "fr": 1})
    made = Collator(config("mt"), "mt", ("en", "fr"))
    for framing in (None, "sentence"):
        rows = [
            dict(tokenizer(text, text_target=target, framing=framing))
            for text, target in (("abc de", "fg"), ("h", "abc h"))
        ]
        found = made.arrays(rows)
        assert (found["input_ids"][:, 0] == EOS).all()
        ends = [labels[labels != -100].tolist() for labels in found["labels"]]
        bare = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("fg", "abc h")]
        assert ends == [[*each, EOS] for each in bare]
