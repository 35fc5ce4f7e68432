"""Corpora, settings and requests at the edge: an error that says so, or a documented result."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.small_tokenizer import small_tokenizer
from xlm_core import ConfigError, CorpusError, InputError, XLMConfig
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.objectives import (
    EvaluationBatches,
    Masking,
    ObjectiveSettings,
    Schedule,
    SpecialIds,
    TrainingBatches,
    language_probabilities,
    tasks_of,
)
from xlm_core.objectives.randomness import generator_of

EOS, PAD, UNK, WORDS = 1, 2, 3, 40


def config(**more: Any) -> XLMConfig:
    sizes = {"emb_dim": 8, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 32}
    langs: dict[str, Any] = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}}
    return XLMConfig(**{"vocab_size": WORDS, **sizes, **langs, **more})


@pytest.fixture
def corpus(tmp_path: Path) -> Any:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")

    def make(*sentences: list[int], name: str = "corpus") -> Corpus:
        with CorpusWriter(tmp_path / name, tokenizer, ["en"]) as writer:
            for ids in sentences:
                writer.add(ids)
        return Corpus.open(tmp_path / name)

    return make


def training(objective: str, *corpora: Corpus, seed: Any = 0, **more: Any) -> TrainingBatches:
    pair = len(corpora) == 2
    return TrainingBatches(
        config(causal=objective == "clm"),
        tasks_of(objective, ["en-fr"] if pair else ["en"]),
        corpora={"en": corpora[0]},
        pairs={("en", "fr"): corpora[-2:]} if pair else None,  # type: ignore[dict-item]
        settings=ObjectiveSettings(**{"batch_size": 2, "bptt": 8, "max_len": 10} | more),
        seed=seed,
    )


def test_a_corpus_of_one_word_is_a_row_of_eos_and_it(corpus: Any) -> None:
    (batch,) = training("clm", corpus([14])).global_batch(0)
    assert batch.input_ids.tolist() == [[EOS] * 8, [EOS] * 7 + [14]]
    assert batch.labels[1].tolist() == [EOS] * 6 + [14, -100]


def test_empty_sentences_are_read_as_two_eos_and_left_out_of_pairs(corpus: Any) -> None:
    text = corpus([], [14], [], [15, 16])
    (batch,) = training("clm", text, batch_size=1, bptt=10).global_batch(0)
    assert batch.input_ids.tolist() == [[1, 1, 1, 1, 1, 14, 1, 1, 15, 16]]
    other = corpus([17], [], [18], [19], name="other")
    (pair,) = training("mlm", text, other).global_batch(0)
    assert pair.lengths.tolist() == [7]
    with pytest.raises(CorpusError, match="holds no word"):
        training("mlm", corpus([], [], name="empty"))
    with pytest.raises(CorpusError, match="no pair of sentences with at most 2 tokens"):
        training("mlm", corpus([14] * 3, name="long"), corpus([15], name="short"), max_len=2)


def test_only_unknown_words_are_predicted_like_others(corpus: Any) -> None:
    (batch,) = training("mlm", corpus([UNK] * 40), word_pred=1.0).global_batch(0)
    assert set(batch.labels[:, 1:].ravel().tolist()) <= {EOS, UNK}


def test_more_ranks_than_rows_leave_some_without(corpus: Any) -> None:
    batches = training("mlm", corpus([14, 15]), corpus([16], name="other"))
    sizes = [len(batches.local_batches(0, rank, 3)[0]) for rank in range(3)]
    assert sorted(sizes) == [0, 0, 1]
    for ask in (
        lambda: batches.local_batches(0, 3, 3),
        lambda: batches.local_batches(0, -1, 1),
        lambda: next(batches.iterate(readers=0)),
        lambda: batches.global_batch(-1),
        lambda: batches.passes(-1),
    ):
        with pytest.raises(InputError, match=r"expected (one|a whole number) from 0"):
            ask()


def test_seeds_of_any_size_and_no_other_kind(corpus: Any) -> None:
    text = corpus([14, 15, 16] * 20)
    seen = [
        training("mlm", text, seed=seed).global_batch(0)[0].labels.tolist()
        for seed in (0, -1, 2**200, -(2**200), np.int64(7), 7, True, 1)
    ]
    assert seen[4] == seen[5]
    assert seen[6] == seen[7]
    assert all(one != two for at, one in enumerate(seen[:5]) for two in seen[:at])
    for seed in (1.5, "1", None):
        with pytest.raises(ConfigError, match="expected a whole number"):
            generator_of(seed, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [0.3, 1.0, 1e6])
def test_large_factors_give_probabilities(factor: float) -> None:
    found = language_probabilities([1, 10, 100], factor)
    assert found.sum() == pytest.approx(1)
    assert found[2] == pytest.approx(1 / (1 + 10**-factor + 100**-factor))


def test_exponents_that_cannot_be() -> None:
    for factor in (0, -2, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="lg_sampling_factor"):
            ObjectiveSettings(lg_sampling_factor=factor)
        with pytest.raises(ConfigError, match="lg_sampling_factor"):
            language_probabilities([1, 2], factor)
    for alpha in (-0.5, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="sample_alpha"):
            ObjectiveSettings(sample_alpha=alpha)
    for counts in ([], [0, 3]):
        with pytest.raises(ConfigError, match="expected some of each"):
            language_probabilities(counts)
    with pytest.raises(ConfigError, match="no word was seen"):
        Masking(ObjectiveSettings(sample_alpha=0.5), SpecialIds.of(config()), [0] * WORDS)


def test_a_large_sample_alpha_still_chooses() -> None:
    """count ** -alpha is 0 in float64 here: the rarest are chosen all the same."""
    counts = [0] * 14 + [10**7] * 13 + [10**6] * 13
    masking = Masking(ObjectiveSettings(sample_alpha=300.0), SpecialIds.of(config()), counts)
    ids = np.array([[1, *range(14, 40)]])
    _, labels = masking.mask(ids, np.array([27]), np.random.default_rng(0))
    chosen = labels[labels != -100]
    assert len(chosen) == 5
    assert (chosen >= 27).all()


@pytest.mark.parametrize(
    ("objective", "settings", "message"),
    [
        ("mlm", {"bptt": 2}, "bptt is 2: expected at least 3"),
        ("mlm", {"bptt": 33}, "needs 33 positions .bptt is 33., and the model has 32"),
        ("clm", {"bptt": 8, "context_size": 7}, "expected less than 7, or CLM-en predicts nothing"),
        (
            "mlm",
            {"batch_size": 16, "bptt": 30, "multiple_of": 9},
            "needs 36 positions .bptt is 30, multiple_of 9., and the model has 32",
        ),
        ("ae", {}, "denoising"),
    ],
)
def test_settings_that_predict_nothing_or_too_much(
    corpus: Any, objective: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        training(objective, corpus([14, 15, 16]), **settings)


def test_pairs_that_are_padded_beyond_the_positions(corpus: Any) -> None:
    pair = corpus([14, 15]), corpus([14], name="other")
    with pytest.raises(ConfigError, match=r"needs 36 positions .max_len is 13, multiple_of 9."):
        training("clm", *pair, max_len=13, multiple_of=9)
    settings = ObjectiveSettings(batch_size=16, bptt=30, multiple_of=9)  # evaluations round nothing
    [batch] = EvaluationBatches(config(), settings).batches(
        tasks_of("mlm", ["en"])[0], corpora={"en": pair[0]}
    )
    assert batch.predicted


def test_pairs_that_predict_nothing(corpus: Any) -> None:
    pair = corpus([14, 15]), corpus([14], name="other")
    message = "context_size is 6, and the longest pair has 7 tokens: expected less than 6"
    with pytest.raises(ConfigError, match=message):
        training("clm", *pair, context_size=6)
    assert training("clm", *pair, context_size=5).global_batch(0)[0].predicted == 1


def test_numbers_of_steps(corpus: Any) -> None:
    """Numpy's count as Python's own; others are named."""
    run = training("mlm", corpus([14, 15, 16, 17]))
    for number in (3, np.int64(3)):
        [batch] = run.global_batch(number)
        expected = run.global_batch(3)[0]
        np.testing.assert_array_equal(batch.input_ids, expected.input_ids)
    for wrong in (1.0, "1", None, -1):
        with pytest.raises(InputError, match="expected a whole number from 0"):
            run.global_batch(wrong)  # type: ignore[arg-type]


def test_languages_and_kinds_of_models_are_checked(corpus: Any) -> None:
    text = corpus([14, 15])
    for model, tasks, message in (
        (config(), tasks_of("mlm", "de"), "no language 'de': it has en, fr"),
        (config(n_langs=1, lang2id={"en": 0}), tasks_of("mlm", "fr"), "no language 'fr'"),
        (config(causal=True), tasks_of("mlm", "en-fr"), "TLM-en-fr trains a model with causal=F"),
        (config(), tasks_of("clm", "en"), "CLM-en trains a model with causal=T"),
        (config(), (), "there is no task"),
        (config(), [*tasks_of("mlm", "en"), *tasks_of("mlm", "en")], "given twice: MLM-en"),
    ):
        with pytest.raises(ConfigError, match=message):
            TrainingBatches(model, tasks, corpora=dict.fromkeys(("de", "en", "fr"), text),
                            settings=ObjectiveSettings(bptt=8, max_len=5))  # fmt: skip


def test_a_model_with_few_positions_evaluates_pairs_that_fit(corpus: Any) -> None:
    one, two = corpus([14], [14] * 9), corpus([15], [15] * 9, name="two")
    (task,) = tasks_of("mlm", "en-fr")
    few = EvaluationBatches(config(max_position_embeddings=5))
    found = list(few.batches(task, pairs={("en", "fr"): (one, two)}))
    assert [batch.lengths.tolist() for batch in found] == [[6]]
    with pytest.raises(ConfigError, match="needs 3 positions"):
        EvaluationBatches(config(max_position_embeddings=2)).batches(task, pairs={})


def test_a_short_text_is_evaluated_whatever_share_is_read(corpus: Any) -> None:
    (task,) = tasks_of("mlm", "en")
    few = EvaluationBatches(config(), ObjectiveSettings(bptt=8), every=10)
    assert len(list(few.batches(task, corpora={"en": corpus([14] * 20)}))) == 1


def test_batches_travel_to_processes(corpus: Any) -> None:
    """DataLoader's workers may be started, not forked."""
    batches = training("mlm", corpus([14, 15, 16] * 9))
    expected = batches.global_batch(1)[0].labels
    copy = pickle.loads(pickle.dumps(batches))
    np.testing.assert_array_equal(copy.global_batch(1)[0].labels, expected)


def test_far_steps_of_a_schedule() -> None:
    tasks = tasks_of("mlm", ["en", "fr"])
    schedule = Schedule(tasks, dict.fromkeys(tasks, 5), seed=1)
    assert sum(schedule.uses(50_001).values()) == 50_001
    assert schedule.draws(50_000)[0].use == schedule.uses(50_000)[schedule.draws(50_000)[0].task]


def test_many_parts_take_no_memory() -> None:
    """Draws are made in blocks, which are shorter for more parts."""
    tasks = tasks_of("mlm", ["en", "fr"])
    schedule = Schedule(tasks, dict.fromkeys(tasks, 5), parts=100_000, seed=1)
    tracemalloc.start()
    assert sum(schedule.uses(5).values()) == 500_000
    assert len(schedule.draws(5)) == 100_000
    assert tracemalloc.get_traced_memory()[1] < 1e8
    tracemalloc.stop()


def test_a_batch_that_no_memory_holds_is_refused(corpus: Any) -> None:
    with pytest.raises(ConfigError, match="100000000 rows of 30 tokens: expected at most"):
        training("mlm", corpus([14]), batch_size=10**8, bptt=30)


def test_settings_of_numpy_are_numbers() -> None:
    settings = ObjectiveSettings(bptt=np.int32(8), sample_alpha=np.float32(0.5))  # type: ignore[arg-type]
    assert settings == ObjectiveSettings(bptt=8, sample_alpha=0.5)
    assert type(settings.bptt) is int
