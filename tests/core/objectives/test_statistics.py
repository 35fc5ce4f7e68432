"""What is drawn has the shares that the paper and the original give it.

Counts of independent draws are binomial: bounds are five standard deviations, which one of two
million passes, and six where the largest of a thousand counts is looked at. XLM_FULL=1 takes ten
million tokens of each objective.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from xlm_core import XLMConfig
from xlm_core.corpus import Corpus, CorpusInfo
from xlm_core.objectives import Batch, ObjectiveSettings, Schedule, Task, TrainingBatches
from xlm_core.objectives.batch import IGNORED

TOKENS = 10_000_000 if os.environ.get("XLM_FULL") == "1" else 500_000
EOS, PAD, MASK, WORDS, SPECIAL = 1, 2, 5, 1000, 14
SIZES: dict[str, Any] = {"emb_dim": 8, "n_layers": 1, "n_heads": 2}
LANGUAGES = {"en": 0, "fr": 1}

Ids = npt.NDArray[np.int64]


def model(**more: Any) -> XLMConfig:
    return XLMConfig(vocab_size=WORDS, n_langs=2, lang2id=LANGUAGES, **SIZES, **more)


def corpus(language: str, sentences: int = 4000) -> Corpus:
    """Sentences of 1 to 60 words, of which few are frequent and many rare, as in texts."""
    draw = np.random.default_rng(len(language) + LANGUAGES.get(language, 5))
    lengths = draw.integers(1, 61, sentences)
    shares = 1 / np.arange(1, WORDS - SPECIAL + 1)
    ids = draw.choice(np.arange(SPECIAL, WORDS), lengths.sum(), p=shares / shares.sum())
    ends = np.cumsum(lengths + 1) - 1
    text = np.full(len(ids) + sentences, EOS, dtype=np.uint16)
    text[np.setdiff1d(np.arange(len(text)), ends)] = ids
    info = CorpusInfo(
        1, "v4", (language,), WORDS, "", EOS, 3, sentences, len(ids), int((ids == 3).sum())
    )
    positions = np.stack([ends - lengths, ends], axis=1)
    return Corpus(Path(language), info, text, positions)


EN, FR = corpus("en"), corpus("fr")
SEEN = np.bincount(EN.sentences, minlength=WORDS)
SEEN[EOS] = 0


def drawn(tasks: list[Task], causal: bool = False, **settings: Any) -> Iterator[Batch]:
    """Batches of about `TOKENS` tokens."""
    settings = {"bptt": 128, "batch_size": 64, "max_len": 60, "group_by_size": False} | settings
    run = TrainingBatches(
        model(causal=causal),
        tasks,
        corpora={"en": EN, "fr": FR},
        pairs={("en", "fr"): (EN, FR)},
        settings=ObjectiveSettings(**settings),
        seed=11,
        counts=SEEN,
    )
    tokens = 0
    for step in run.iterate():
        for batch in step:
            yield batch
            tokens += batch.tokens
        if tokens >= TOKENS:
            return


def within(found: float, draws: float, share: float, deviations: float = 5) -> bool:
    """Whether a binomial count is as near to its mean as it should be."""
    return abs(found - draws * share) <= deviations * math.sqrt(draws * share * (1 - share))


def restored(batch: Batch) -> Ids:
    """The words before they were masked."""
    return np.where(batch.labels == IGNORED, batch.input_ids, batch.labels)


@pytest.mark.parametrize("task", [Task("mlm", ("en",)), Task("tlm", ("en", "fr"))], ids=str)
def test_shares_of_masked_modelling(task: Task) -> None:
    allowed = chosen = masked = kept = 0
    instead, labelled = np.zeros((2, WORDS), dtype=np.int64)
    by_position = np.zeros((2, 128), dtype=np.int64)
    for batch in drawn([task]):
        is_label = batch.labels != IGNORED
        inside = np.arange(batch.labels.shape[1]) < batch.lengths[:, None]
        # Never the first position of a row, and never padding.
        assert not is_label[:, 0].any()
        assert not is_label[~inside].any()
        inside[:, 0] = False
        allowed += int(inside.sum())
        chosen += int(is_label.sum())
        ids, labels = batch.input_ids[is_label], batch.labels[is_label]
        masked += int((ids == MASK).sum())
        kept += int((ids == labels).sum())
        instead += np.bincount(ids[(ids != MASK) & (ids != labels)], minlength=WORDS)
        labelled += np.bincount(labels, minlength=WORDS)
        width = is_label.shape[1]
        by_position[0, :width] += inside.sum(0)
        by_position[1, :width] += is_label.sum(0)
    assert within(chosen, allowed, 0.15)
    for place in range(1, 128):
        assert within(by_position[1, place], by_position[0, place], 0.15, 6)
    # A word that is drawn may be the mask, or the word itself.
    assert within(masked, chosen, 0.8 + 0.1 / WORDS)
    assert within(kept, chosen, 0.1 + 0.1 / WORDS)
    # All ids alike, special ones too, but that a word in its own place counts as kept.
    assert instead[MASK] == 0
    replaced = instead.sum()
    assert within(replaced, chosen, 0.1 * (1 - 2 / WORDS))
    for word in range(WORDS):
        if word != MASK:
            assert within(instead[word], chosen - labelled[word], 0.1 / WORDS, 6), word
    print(
        f"\n{task.name}: {allowed:,} words, {100 * chosen / allowed:.3f} % predicted, of these "
        f"{100 * masked / chosen:.2f} % masked, {100 * kept / chosen:.2f} % kept, "
        f"{100 * replaced / chosen:.2f} % replaced"
    )


def test_frequent_words_are_predicted_less() -> None:
    """By the law of sampling without replacement, with weights count ** -0.5.

    Of many words of which a share is drawn one after the other, each with its weight, a word is
    among them with probability 1 - exp(-weight * time), the same time for all, up to one part in
    the number of draws.
    """
    alpha = 0.5
    weights = np.where(SEEN > 0, np.maximum(SEEN, 1.0) ** -alpha, 0.0)
    expected, variance = np.zeros(WORDS), np.zeros(WORDS)
    found = np.zeros(WORDS, dtype=np.int64)
    draws = 0
    for batch in drawn([Task("mlm", ("en",))], sample_alpha=alpha):
        words = restored(batch)
        is_label = batch.labels != IGNORED
        assert not is_label[:, 0].any()
        wanted = math.ceil(0.15 * words.size)
        draws = wanted
        here = np.bincount(words.ravel(), minlength=WORDS)
        low, high = 0.0, 1e6
        for _ in range(100):
            time = (low + high) / 2
            if (here * -np.expm1(-weights * time)).sum() < wanted:
                low = time
            else:
                high = time
        probability = -np.expm1(-weights * low)
        # Those at first positions are drawn too, and then dropped.
        inner = np.bincount(words[:, 1:].ravel(), minlength=WORDS)
        expected += inner * probability
        variance += inner * probability * (1 - probability)
        found += np.bincount(batch.labels[is_label], minlength=WORDS)
    assert not found[:SPECIAL].any()
    bound = 6 * np.sqrt(variance) + expected / draws
    assert (np.abs(found - expected) <= bound).all()
    frequent, rest = found[SPECIAL], found[SPECIAL + 100]
    print(
        f"\nsample_alpha 0.5: {found.sum():,} predicted, the largest deviation of a word "
        f"{np.max(np.abs(found - expected) / np.sqrt(np.maximum(variance, 1e-9))):.2f} sigma; "
        f"{frequent:,} of the most frequent word, {rest:,} of the 101st"
    )


def test_positions_and_languages_of_pairs() -> None:
    rows = tokens = 0
    lengths = [each.positions[:, 1] - each.positions[:, 0] for each in (EN, FR)]
    known = {(a, b) for a, b in zip(*(x.tolist() for x in lengths), strict=True)}
    for batch in drawn([Task("tlm", ("en", "fr"))]):
        assert batch.position_ids is not None
        assert batch.langs is not None
        words, width = restored(batch), batch.input_ids.shape[1]
        at = np.arange(width)
        inside = at < batch.lengths[:, None]
        starts = (batch.position_ids == 0) & inside
        # A row begins at position 0, and so does its second sentence; between, one after the other.
        assert starts[:, 0].all()
        assert (starts.sum(1) == 2).all()
        second = np.cumsum(starts, axis=1) == 2
        first = (inside & ~second).sum(1)
        np.testing.assert_array_equal(
            batch.position_ids[inside], np.where(second, at - first[:, None], at)[inside]
        )
        np.testing.assert_array_equal(batch.langs[inside], second[inside].astype(np.int64))
        # Both have </s> at both ends and nowhere else; what is between is a pair of the corpora.
        ends = starts.copy()
        ends[np.arange(len(words)), first - 1] = True
        ends[np.arange(len(words)), batch.lengths - 1] = True
        np.testing.assert_array_equal((words == EOS) & inside, ends)
        assert {
            *zip((first - 2).tolist(), (batch.lengths - first - 2).tolist(), strict=True)
        } <= known
        rows, tokens = rows + len(batch), tokens + batch.tokens
    print(f"\nTLM: positions and languages of {rows:,} pairs, {tokens:,} tokens")


def test_causal_labels_are_the_next_words() -> None:
    labelled = tokens = 0
    for batch in drawn([Task("clm", ("en",))], causal=True):
        np.testing.assert_array_equal(batch.labels[:, :-1], batch.input_ids[:, 1:])
        assert (batch.labels[:, -1] == IGNORED).all()
        labelled, tokens = labelled + batch.predicted, tokens + batch.tokens
    assert labelled == tokens * 127 // 128


@pytest.mark.parametrize("factor", [-1.0, 0.3, 0.7, 1.0])
def test_languages_are_drawn_by_their_shares(factor: float) -> None:
    sizes = {"en": 1_000_000, "fr": 100_000, "sw": 1000}
    tasks = {name: Task("mlm", (name,)) for name in sizes}
    pairs = {Task("tlm", ("en", "fr")): 5000, Task("tlm", ("en", "sw")): 50}
    sentences = {task: sizes[name] for name, task in tasks.items()} | pairs
    schedule = Schedule([*sentences], sentences, factor=factor, seed=2, parts=8)
    steps = TOKENS // 50
    used = schedule.uses(steps)
    for kind in ([*tasks.values()], [*pairs]):
        total = sum(sentences[task] for task in kind)
        weights = [1.0 if factor == -1 else (sentences[task] / total) ** factor for task in kind]
        draws = sum(used[task] for task in kind)
        for task, weight in zip(kind, weights, strict=True):
            assert within(used[task], draws, weight / sum(weights)), task.name
    # Three languages and two pairs: of five steps three are of one language.
    assert sum(used[task] for task in tasks.values()) == 8 * (steps // 5 * 3 + min(steps % 5, 3))


def test_batches_of_a_task_are_drawn_independently() -> None:
    """Masks of two batches agree as often as chance has them agree."""
    run = drawn([Task("mlm", ("en",))])
    masks = [batch.labels[:, 1:] != IGNORED for batch in islice(run, 20)]
    both = sum(int((a & b).sum()) for a, b in pairwise(masks))
    assert within(both, 19 * masks[0].size, 0.15**2)
