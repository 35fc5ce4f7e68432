"""The objectives' batches, beside plain definitions and the facts about the original."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tests.core.objectives import original
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import ConfigError, CorpusError, XLMConfig
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.objectives import (
    Batch,
    EvaluationBatches,
    Masking,
    ObjectiveSettings,
    Pairs,
    Schedule,
    SpecialIds,
    Stream,
    Task,
    TrainingBatches,
    language_probabilities,
    tasks_of,
)
from xlm_core.objectives.sentences import batches_of, frame, join

EOS, PAD, MASK, WORDS = 1, 2, 5, 40
IDS = SpecialIds(EOS, PAD, MASK, WORDS)
EN, FR = Task("mlm", ("en",)), Task("mlm", ("fr",))
TLM, MT = Task("tlm", ("en", "fr")), Task("mt", ("fr", "en"))


def config(**more: Any) -> XLMConfig:
    sizes = {"emb_dim": 8, "n_layers": 1, "n_heads": 2, "max_position_embeddings": 64}
    langs = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}}
    return XLMConfig(vocab_size=WORDS, **sizes, **langs, **more)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Corpus]:
    folder = tmp_path_factory.mktemp("corpora")
    tokenizer = small_tokenizer(folder / "tokenizer")
    draw = np.random.default_rng(0)
    made = {}
    for name, count in (("en", 60), ("fr", 60), ("de", 30)):
        with CorpusWriter(folder / name, tokenizer, [name]) as writer:
            for at in range(count):
                length = 0 if at == 7 else int(draw.integers(1, 12))
                writer.add(draw.integers(14, 20, length).tolist())
        made[name] = Corpus.open(folder / name)
    return made


def batches(corpora: dict[str, Corpus], tasks: Any = (EN, FR, TLM), **more: Any) -> TrainingBatches:
    settings = ObjectiveSettings(**({"batch_size": 4, "bptt": 8, "max_len": 10} | more))
    return TrainingBatches(
        config(causal=any(task.objective == "clm" for task in tasks)),
        tasks,
        corpora=corpora,
        pairs={("en", "fr"): (corpora["en"], corpora["fr"])},
        settings=settings,
        seed=3,
    )


def same(first: Batch, second: Batch) -> bool:
    return first.task == second.task and all(
        np.array_equal(one, two) if isinstance(one, np.ndarray) else one is two
        for one, two in zip(vars(first).values(), vars(second).values(), strict=True)
        if not isinstance(one, Task)
    )


# -- streams and pairs -----------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "bptt"), [(1, 5), (3, 8), (4, 7), (64, 256)])
def test_a_stream_is_the_original_s(corpora: dict[str, Corpus], rows: int, bptt: int) -> None:
    stream = Stream(corpora["en"], rows, bptt)
    expected = original.stream(corpora["en"].sentences, rows, bptt, EOS)
    assert len(stream) == len(expected)
    for index, window in enumerate(expected):
        np.testing.assert_array_equal(stream.batch(index), window)


def test_pairs_are_joined_as_by_the_original() -> None:
    first, second = [[14, 15, 16], [17]], [[20], [21, 22, 23, 24]]
    one, two = frame([np.array(x) for x in first], IDS), frame([np.array(x) for x in second], IDS)
    ids, lengths, positions, is_second = join(one, two, PAD)
    for row in range(2):
        expected = original.joined(first[row], second[row], EOS)
        found = (x[row, : lengths[row]].tolist() for x in (ids, positions, is_second))
        for a, b in zip(found, expected, strict=True):
            assert a == b
        assert (ids[row, lengths[row] :] == PAD).all()
        assert is_second[row, lengths[row] :].all()


def test_positions_of_padding_are_in_the_table() -> None:
    """A short pair beside a long one: its padding goes on for longer than any sentence."""
    one = frame([np.full(10, 14), np.array([14])], IDS)
    _, lengths, positions, _ = join(one, one, PAD)
    assert lengths.tolist() == [24, 6]
    assert positions.max() == 11


def test_pairs_leave_out_what_is_empty_or_long(corpora: dict[str, Corpus]) -> None:
    pairs = Pairs(corpora["en"], corpora["fr"], 8)
    lengths = [[len(s) for s in corpora[name]] for name in ("en", "fr")]
    kept = [
        i for i, both in enumerate(zip(*lengths, strict=True)) if 0 < min(both) <= max(both) <= 8
    ]
    assert pairs.kept.tolist() == kept
    assert pairs.left_out == 60 - len(kept)
    with pytest.raises(CorpusError, match=r"60 sentences and .* has 30"):
        Pairs(corpora["en"], corpora["de"])


def test_every_sentence_is_in_one_batch_of_a_pass() -> None:
    lengths = np.random.default_rng(1).integers(4, 60, 500)
    for more in ({"batch_size": 7}, {"tokens_per_batch": 200}):
        for grouped in (True, False):
            settings = ObjectiveSettings(group_by_size=grouped, **more)
            found = batches_of(lengths, settings, np.random.default_rng(2))
            assert sorted(np.concatenate(found).tolist()) == list(range(500))
            if "tokens_per_batch" in more:
                # As the original cuts: where the running sum passes a multiple.
                assert max(lengths[batch].sum() for batch in found) < 200 + 60
            if grouped:
                spread = [int(np.ptp(lengths[batch])) for batch in found if len(batch) > 1]
                assert np.median(spread) <= 2
    few = batches_of(lengths, ObjectiveSettings(batch_size=50, max_batch_size=3), None)
    assert {len(batch) for batch in few} == {3}


# -- masks -----------------------------------------------------------------------------------------


def test_masks_have_the_shares_of_the_paper() -> None:
    draw = np.random.default_rng(0)
    ids = draw.integers(14, WORDS, (200, 256))
    lengths = draw.integers(100, 257, 200)
    before = ids.copy()
    replaced, labels = Masking(ObjectiveSettings(), IDS).mask(ids, lengths, draw)
    np.testing.assert_array_equal(ids, before)
    chosen = labels != -100
    inside = np.arange(256) < lengths[:, None]
    inside[:, 0] = False
    assert not chosen[~inside].any()
    assert chosen[inside].mean() == pytest.approx(0.15, abs=0.006)
    np.testing.assert_array_equal(labels[chosen], ids[chosen])
    np.testing.assert_array_equal(replaced[~chosen], ids[~chosen])
    masked, kept = replaced[chosen] == MASK, replaced[chosen] == ids[chosen]
    assert masked.mean() == pytest.approx(0.8 + 0.1 / WORDS, abs=0.02)
    assert kept.mean() == pytest.approx(0.1 + 0.1 / WORDS, abs=0.015)
    # Special tokens, padding too, are among the words drawn.
    assert set(replaced[chosen & (replaced != MASK) & (replaced != ids)].tolist()) >= {0, 1, PAD}


def test_frequent_words_are_masked_less() -> None:
    counts = [0] * 14 + [1000] * 13 + [10] * 13
    settings = ObjectiveSettings(sample_alpha=0.5)
    masking = Masking(settings, IDS, counts)
    draw = np.random.default_rng(0)
    ids = draw.integers(14, WORDS, (100, 128))
    ids[:, [0, 60, 127]] = EOS
    labels = masking.mask(ids, np.full(100, 128), draw)[1]
    chosen = labels != -100
    # Position 0 is none of the chosen, as it is </s>, so the number is exact.
    assert chosen.sum() == np.ceil(0.15 * ids.size)
    assert not chosen[ids == EOS].any()
    rare, frequent = chosen[ids >= 27].mean(), chosen[(ids >= 14) & (ids < 27)].mean()
    assert rare / frequent == pytest.approx(np.sqrt(100), rel=0.3)
    with pytest.raises(ConfigError, match="counts of 3 words"):
        Masking(settings, IDS, [1, 2, 3])


def test_predicted_words_are_a_multiple_in_half_precision() -> None:
    masking = Masking(ObjectiveSettings(multiple_of=8), IDS)
    ids = np.full((9, 33), 20)
    labels = masking.mask(ids, np.full(9, 33), np.random.default_rng(0))[1]
    assert (labels != -100).sum() % 8 == 0


def test_evaluation_masks_are_the_original_s() -> None:
    ids = np.full((3, 9), 20)
    lengths = np.array([9, 3, 2])
    replaced, labels = Masking(ObjectiveSettings(), IDS).mask_for_evaluation(
        ids, lengths, np.random.RandomState(0)
    )
    state = np.random.RandomState(0)
    expected = state.rand(9, 3) <= 0.15
    expected[0] = False
    for row, length in enumerate([9, 3]):
        expected[length - 1 :, row] = False
        if not expected[:, row].any():
            expected[state.randint(1, length - 1), row] = True
    expected[:, 2] = False  # nothing but </s> </s>, at which the original stops
    np.testing.assert_array_equal(labels != -100, expected.T)
    assert (replaced[expected.T] == MASK).all()


# -- schedule --------------------------------------------------------------------------------------


def test_languages_are_drawn_by_their_shares() -> None:
    tasks = tasks_of("mlm", ["en", "fr", "en-fr"]) + tasks_of("mt", ["en-fr", "fr-en"])
    sizes = dict(zip(tasks, (9000, 1000, 10, 10, 10), strict=True))
    schedule = Schedule(tasks, sizes, factor=0.7, parts=3, seed=1)
    assert [len(kind) for kind, _ in schedule.slots] == [2, 2, 1, 2, 2]
    drawn = [schedule.draws(step) for step in range(30_000)]
    names = Counter(draw.task.name for step in drawn for draw in step)
    shares = language_probabilities([9000, 1000], 0.7)
    assert shares[0] == pytest.approx(9**0.7 / (9**0.7 + 1))
    assert names["MLM-en"] / (names["MLM-en"] + names["MLM-fr"]) == pytest.approx(
        shares[0], abs=0.01
    )
    assert names["TLM-en-fr"] == 30_000 * 3 / 5
    # Parts draw apart, and uses count up without a gap.
    assert len({tuple(draw.task.name for draw in step) for step in drawn[::5]}) == 8
    for task in tasks:
        uses = [draw.use for step in drawn for draw in step if draw.task == task]
        assert uses == list(range(len(uses)))
    again = Schedule(tasks, sizes, factor=0.7, parts=3, seed=1)
    assert again.draws(29_999) == drawn[29_999]
    assert again.uses(29_999)[tasks[0]] == sum(
        draw.task == tasks[0] for step in drawn[:29_999] for draw in step
    )


def test_an_iteration_has_at_most_five_steps_of_a_kind() -> None:
    tasks = tasks_of("mlm", [chr(97 + i) * 2 for i in range(9)])
    assert len(Schedule(tasks, dict.fromkeys(tasks, 1)).slots) == 5


# -- batches of a run ------------------------------------------------------------------------------


def test_any_step_can_be_asked_for(corpora: dict[str, Corpus]) -> None:
    run, other = batches(corpora, parts=2), batches(corpora, parts=2)
    wanted = list(islice(run.iterate(), 120))  # several passes
    for step in (119, 3, 60):
        for one, two in zip(other.global_batch(step), wanted[step], strict=True):
            assert same(one, two)
    resumed = next(batches(corpora, parts=2).iterate(77))
    assert all(map(same, resumed, wanted[77]))


@pytest.mark.parametrize(
    "more", [{"group_by_size": False, "batch_size": None, "tokens_per_batch": 60}, {}]
)
def test_a_pass_reads_every_pair_once(corpora: dict[str, Corpus], more: dict[str, Any]) -> None:
    run = batches(corpora, (TLM,), **more)
    pairs = Pairs(corpora["en"], corpora["fr"], 10)
    seen, step = 0, 0
    for at in range(3):
        first = []
        for _ in range(run.batches_in(TLM, at)):
            batch = run.part(step, 0)
            original_ids = np.where(batch.labels == -100, batch.input_ids, batch.labels)
            for row, length in zip(original_ids, batch.lengths, strict=True):
                first.append(tuple(row[:length].tolist()))
            step += 1
        expected = [
            tuple(original.joined(a.tolist(), b.tolist(), EOS)[0])
            for a, b in zip(
                pairs.sentences(0, np.arange(len(pairs))),
                pairs.sentences(1, np.arange(len(pairs))),
                strict=True,
            )
        ]
        assert sorted(first) == sorted(expected)
        seen += len(first)
    assert seen == 3 * len(pairs)
    assert run.passes(step)[TLM] == pytest.approx(3, rel=0.1)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"batch_size": None, "tokens_per_batch": 60, "max_batch_size": 3},
        {"group_by_size": False, "batch_size": None, "tokens_per_batch": 60},
    ],
)
def test_sizes_of_batches_are_known_without_their_text(
    corpora: dict[str, Corpus], more: dict[str, Any]
) -> None:
    tasks = (EN, TLM, MT, Task("mt", ("en", "fr")))
    run = batches(corpora, tasks, **more)
    for task in tasks:
        tokens = run.tokens_in(task)
        assert len(tokens) == run.batches_in(task)
        for use, expected in enumerate(tokens.tolist()):
            step = run.schedule.step_of(task, use)
            [batch] = run.global_batch(step)
            assert (batch.task, run.schedule.draws(step)[0].use) == (task, use)
            assert batch.tokens == expected


def test_sizes_of_batches_in_half_precision(corpora: dict[str, Corpus]) -> None:
    """Which sentences are left out is drawn: how many is known."""
    run = batches(corpora, (EN, TLM), batch_size=6, multiple_of=4)
    assert set(run.tokens_in(EN).tolist()) == {4 * 8}
    read = [run.global_batch(run.schedule.step_of(TLM, at))[0] for at in range(run.batches_in(TLM))]
    assert {len(batch) for batch in read} <= {4, 5}
    assert run.tokens_in(TLM).sum() == pytest.approx(sum(x.tokens for x in read), rel=0.05)


@pytest.mark.parametrize(("parts", "ranks"), [(4, 2), (1, 3), (2, 4), (3, 2)])
def test_ranks_share_the_same_global_batch(
    corpora: dict[str, Corpus], parts: int, ranks: int
) -> None:
    run = batches(corpora, parts=parts)
    for step in range(6):
        whole = run.global_batch(step)
        local = [run.local_batches(step, rank, ranks) for rank in range(ranks)]
        if parts % ranks == 0:
            flat = [batch for each in local for batch in each]
            assert len(flat) == parts
            assert all(map(same, flat, whole))
            continue
        for part, batch in enumerate(whole):
            for name in ("input_ids", "labels", "langs", "lengths"):
                joined = np.concatenate([getattr(each[part], name) for each in local])
                np.testing.assert_array_equal(joined, getattr(batch, name))


def test_reading_processes_take_turns(corpora: dict[str, Corpus]) -> None:
    run = batches(corpora)
    alone = list(islice(run.iterate(5), 8))
    two = [list(islice(run.iterate(5, reader=reader, readers=2), 4)) for reader in (0, 1)]
    turns = [two[at % 2][at // 2] for at in range(8)]
    assert all(same(a[0], b[0]) for a, b in zip(alone, turns, strict=True))


def test_what_a_batch_holds(corpora: dict[str, Corpus]) -> None:
    run = batches(corpora, (EN, TLM, MT))
    by_task = {}
    for step in range(6):
        batch = run.part(step, 0)
        by_task[batch.task.name] = batch
    stream, pair, translation = (by_task[name] for name in ("MLM-en", "TLM-en-fr", "MT-fr-en"))
    assert stream.position_ids is None
    assert (stream.langs == 0).all()
    assert stream.input_ids.shape == (4, 8) == stream.labels.shape
    assert set(np.unique(pair.langs)) == {0, 1}
    assert pair.position_ids is not None
    assert pair.position_ids.max() < 12
    assert (translation.langs == 1).all()
    assert (translation.decoder_langs == 0).all()
    for source, length, labels in zip(
        translation.input_ids, translation.lengths, translation.labels, strict=True
    ):
        assert source[0] == source[length - 1] == EOS
        words = labels[labels != -100]
        assert words[-1] == EOS
        assert (words[:-1] >= 14).all()
        assert (labels[len(words) :] == -100).all()
    given = pair.arguments()
    assert list(given) == ["input_ids", "attention_mask", "langs", "position_ids", "labels"]
    np.testing.assert_array_equal(given["attention_mask"].sum(1), pair.lengths)


def test_causal_batches_predict_the_next_word(corpora: dict[str, Corpus]) -> None:
    tasks = tasks_of("clm", ["en", "en-fr"])
    run = batches(corpora, tasks, context_size=2, max_len=10)
    for step in range(4):
        batch = run.part(step, 0)
        assert batch.position_ids is None  # of a pair too, in training
        assert (batch.labels[:, :2] == -100).all()
        for row, length in enumerate(batch.lengths):
            np.testing.assert_array_equal(
                batch.labels[row, 2 : length - 1], batch.input_ids[row, 3:length]
            )
            assert (batch.labels[row, length - 1 :] == -100).all()


def test_sizes_are_a_multiple_in_half_precision(corpora: dict[str, Corpus]) -> None:
    run = batches(corpora, (TLM,), batch_size=6, multiple_of=4)
    for step in range(8):
        batch = run.part(step, 0)
        rows, positions = batch.input_ids.shape
        assert positions % 4 == 0
        assert rows in (4,)
        assert batch.predicted % 4 == 0
        padding = np.arange(positions) >= batch.lengths[:, None]
        assert (batch.labels[padding] == -100).all()


# -- evaluation ------------------------------------------------------------------------------------


def test_evaluation_is_the_same_each_time(corpora: dict[str, Corpus]) -> None:
    made = EvaluationBatches(config(), ObjectiveSettings(batch_size=8, bptt=16))
    pairs = {("en", "fr"): (corpora["en"], corpora["fr"])}
    for task in (EN, TLM, MT):
        one, two = (list(made.batches(task, corpora=corpora, pairs=pairs)) for _ in range(2))
        assert all(map(same, one, two))
        if task == EN:
            text = np.concatenate(
                [np.where(b.labels == -100, b.input_ids, b.labels)[0] for b in one]
            )
            expected = original.stream(corpora["en"].sentences, 1, 16, EOS)
            np.testing.assert_array_equal(text, np.concatenate(expected, axis=1)[0])
        else:
            assert sum(map(len, one)) == 59  # one pair is empty
            assert np.diff([int(b.lengths.mean()) for b in one]).min() >= (0 if task == TLM else -4)
    fewer = EvaluationBatches(config(), every=2, most_pairs=5)
    assert sum(map(len, fewer.batches(TLM, pairs=pairs))) == 5


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch_size": 2, "tokens_per_batch": 9}, r"both in sentences .* and in tokens"),
        ({"word_pred": 0}, "word_pred is 0"),
        ({"word_mask": 0.9}, "add up to 1"),
        ({"bptt": 2.5}, "bptt is 2.5"),
        ({"group_by_size": "no"}, "group_by_size is 'no'"),
        ({"lg_sampling_factor": -2}, "lg_sampling_factor is -2"),
        ({"batch_size": True}, "batch_size is True"),
    ],
)
def test_impossible_settings_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ObjectiveSettings(**given)


def test_impossible_schedules_and_evaluations_are_refused() -> None:
    tasks = tasks_of("mlm", ["en", "fr"])
    with pytest.raises(ConfigError, match=r"sentences lacks MLM-fr"):
        Schedule(tasks, {tasks[0]: 3})
    for parts in (0, 1.5):
        with pytest.raises(ConfigError, match=rf"parts is {parts}: expected a positive whole"):
            Schedule(tasks, dict.fromkeys(tasks, 3), parts=parts)
    for name, value in (("every", 0), ("every", 1.5), ("every", None), ("most_pairs", 2.5)):
        with pytest.raises(ConfigError, match=rf"{name} is {value}: expected a positive whole"):
            EvaluationBatches(XLMConfig(), **{name: value})


def test_corpora_that_are_none_are_refused(corpora: dict[str, Corpus]) -> None:
    en, fr = corpora["en"], corpora["fr"]
    other = copy.copy(fr)
    other.info = replace(fr.info, vocab_digest="other")
    tlm, settings = tasks_of("tlm", ["en-fr"]), ObjectiveSettings(bptt=8, max_len=20)
    given: Any
    for tasks, given, words in (
        (tasks_of("mlm", ["en"]), {"corpora": {"en": "path"}}, "is 'path': expected a Corpus"),
        (tlm, {"pairs": {("en", "fr"): (en,)}}, "pair en-fr is .* expected two corpora"),
        (tlm, {"pairs": {("en", "fr"): (en, None)}}, "pair en-fr is .* expected two corpora"),
        (tlm, {"pairs": {"de-fr": (en, fr)}}, "found de-fr"),
        (tasks_of("mlm", ["en", "fr"]), {"corpora": {"en": en, "fr": other}}, "different vocab"),
    ):
        with pytest.raises(CorpusError, match=words):
            TrainingBatches(config(), tasks, settings=settings, **given)
    given = {"pairs": {("en", "fr"): [en, fr]}}
    found = TrainingBatches(config(), tlm, settings=settings, **given).global_batch(0)
    assert len(found) == 1


def test_impossible_tasks_are_refused(corpora: dict[str, Corpus]) -> None:
    with pytest.raises(ConfigError, match="mlm of '': expected the name of a language"):
        tasks_of("mlm", [""])
    for objective, languages, words in (
        ("bt", "en-fr-en", "back-translation"),
        ("ae", "en", "denoising"),
        ("mlmm", "en", "Did you mean 'mlm'"),
        ("mt", "en", "expected a pair"),
        ("mt", "en-en", "with itself"),
    ):
        with pytest.raises(ConfigError, match=words):
            tasks_of(objective, [languages])
    with pytest.raises(ConfigError, match="given twice: MLM-en"):
        tasks_of("mlm", ["en", "en"])
    with pytest.raises(CorpusError, match="needs a corpus of 'fr': found en"):
        TrainingBatches(
            config(), [FR], corpora={"en": corpora["en"]}, settings=ObjectiveSettings(bptt=8)
        )
    with pytest.raises(ConfigError, match="no language 'de'"):
        TrainingBatches(config(), [Task("mlm", ("de",))], corpora=corpora)
    with pytest.raises(ConfigError, match="needs 256 positions"):
        TrainingBatches(config(), [EN], corpora=corpora)
    with pytest.raises(ConfigError, match="causal=True"):
        TrainingBatches(
            config(), [Task("clm", ("en",))], corpora=corpora, settings=ObjectiveSettings(bptt=8)
        )
    settings = ObjectiveSettings(max_len=8)
    with pytest.raises(CorpusError, match="needs pairs of sentences in en and fr: found none"):
        TrainingBatches(config(), [TLM], corpora=corpora, settings=settings)
    with pytest.raises(ConfigError, match="max_len is 0"):
        batches(corpora, [TLM], max_len=0)
    with pytest.raises(ConfigError, match="no task"):
        batches(corpora, [])
