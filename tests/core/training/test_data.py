"""The data of a run: what is opened, what is refused, and what is counted."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.small_tokenizer import LETTERS, small_tokenizer, write_folder
from xlm_core import XLMTokenizer
from xlm_core.corpus import Corpus, CorpusWriter
from xlm_core.errors import ConfigError, CorpusError, TokenizerError, XLMWarning
from xlm_core.objectives import Batch, Task
from xlm_core.objectives.batch import IGNORED
from xlm_core.objectives.schedule import Draw
from xlm_core.training.config import TrainingConfig, _section
from xlm_core.training.data import TrainingData
from xlm_core.training.evaluating import tally_of
from xlm_core.training.figures import Tally
from xlm_core.training.word_counts import count_ids, entropy_of

SENTENCES = {
    "en": [[14, 15, 3], [], [16, 30, 30]],
    "fr": [[17], [18, 19], [20, 21, 22]],
    "valid.en": [[14, 15], [30]],
    "valid.fr": [[17], [18]],
}


def write(path: Path, tokenizer: XLMTokenizer, sentences: list[list[int]], *langs: str) -> None:
    with CorpusWriter(path, tokenizer, langs, overwrite=True) as writer:
        for sentence in sentences:
            writer.add(sentence)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    tokenizer = small_tokenizer(folder / "tokenizer")
    for name, sentences in SENTENCES.items():
        write(folder / name, tokenizer, sentences, name.rpartition(".")[2])
    write(folder / "empty.en", tokenizer, [[], []], "en")
    write(folder / "short.fr", tokenizer, [[17]], "fr")
    write(folder / "long.fr", tokenizer, [[17] * 9] * 3, "fr")
    other = XLMTokenizer.from_pretrained(folder / "tokenizer")
    other.add_tokens(["new", "newer"])
    write(folder / "another.en", other, [[14]], "en")
    (folder / "text.en").write_text("a b\n")
    return folder


def config(**more: Any) -> TrainingConfig:
    given: dict[str, Any] = {
        "output": "out",
        "tokenizer": "tokenizer",
        "model": {"emb_dim": 8, "n_layers": 1, "n_heads": 2},
        "objectives": {"mlm": ["en", "fr", "en-fr"], "mt": ["fr-en"]},
        "duration": {"updates": 5},
        "batches": {"max_len": 5, "bptt": 4, "batch_size": 2},
        "data": {
            "train": {"en": "en", "fr": "fr", "en-fr": ["en", "fr"]},
            "valid": {"en": "valid.en", "fr-en": ["valid.fr", "valid.en"]},
        },
    }
    return _section(TrainingConfig, given | more, "")


def data(folder: Path, **more: Any) -> TrainingData:
    return TrainingData.open(config(**more), folder)


def test_corpora_and_pairs_of_each_split(folder: Path) -> None:
    opened = data(folder)
    assert {split: [*found] for split, found in opened.corpora.items()} == {
        "train": ["en", "fr"],
        "valid": ["en"],
        "test": [],
    }
    assert [*opened.pairs["train"]] == [("en", "fr")]
    assert [*opened.pairs["valid"]] == [("fr", "en")]
    # A folder that is named twice is mapped once.
    assert opened.pairs["train"]["en", "fr"][0] is opened.corpora["train"]["en"]
    assert opened.lang2id == {"en": 0, "fr": 1}


def test_a_model_and_batches_of_it(folder: Path) -> None:
    opened = data(folder)
    made = opened.model_config()
    assert (made.vocab_size, made.n_langs, made.eos_index, made.mask_index) == (34, 2, 1, 5)
    batches = opened.batches(made, parts=3)
    assert len(batches.global_batch(0)) == 3
    assert batches.global_batch(0)[0].langs is not None
    evaluated = {task.name: [*found] for task, found in opened.evaluation(made, "valid")}
    assert [*evaluated] == ["MLM-en", "TLM-en-fr", "MT-fr-en"]
    assert all(evaluated.values())
    assert not [*opened.evaluation(made, "test")]


def test_a_text_that_fills_little_of_a_batch_is_named(folder: Path) -> None:
    opened = data(folder, batches={"max_len": 5, "bptt": 4, "batch_size": 5})
    with pytest.warns(XLMWarning, match=r"MLM-en has 9 tokens, MLM-fr has 9 tokens, and .* 20,"):
        opened.batches(opened.model_config())


def test_empty_lines_of_running_text_are_named(folder: Path) -> None:
    """They keep the lines of a pair together, and are words of a stream."""
    tokenizer = XLMTokenizer.from_pretrained(folder / "tokenizer")
    write(folder / "aligned.en", tokenizer, [[14] * 5, *([[]] * 100)], "en")
    given: dict[str, Any] = {"data": {"train": {"en": "aligned.en"}}, "objectives": {"mlm": ["en"]}}
    opened = data(folder, **given)
    with pytest.warns(XLMWarning, match=r"data.train has empty lines \(100 of 101 in en\)"):
        opened.batches(opened.model_config())
    write(folder / "other.fr", tokenizer, [[17]] * 101, "fr")
    pairs = {"en-fr": ["aligned.en", "other.fr"]}
    with pytest.warns(XLMWarning, match="100 of 101 pairs are left out"):
        opened = data(folder, data={"train": pairs}, objectives={"mt": ["en-fr"]})
    opened.batches(opened.model_config())


def test_languages_are_those_of_the_tokenizer_if_it_has_all(folder: Path) -> None:
    table = {"de": 0, "en": 1, "fr": 2}
    write_folder(folder / "named", lang2id=table)
    assert data(folder, tokenizer="named").lang2id == table
    write_folder(folder / "named", lang2id={"de": 0, "en": 1})
    assert data(folder, tokenizer="named").lang2id == {"en": 0, "fr": 1}
    given = {"en": 3, "fr": 0}
    sizes = config().model
    opened = data(folder, tokenizer="named", model=sizes | {"lang2id": given})
    assert opened.lang2id == given
    assert opened.model_config().n_langs == 4
    for wrong, words in (
        ({"en": 0}, "need fr as well"),
        ({"en": 0, "fr": 0}, "all different"),
        ({"en": "0", "fr": 1}, "expected a number from 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            data(folder, model=sizes | {"lang2id": wrong})


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({"en": "absent"}, r"data.train.en: there is no .*absent: expected a corpus"),
        ({"en": "text.en"}, r"data.train.en: .*text.en is no corpus .*xlm tokenize --to corpus"),
        ({"en": "tokenizer"}, r"tokenizer is no corpus"),
        ({"en": "empty.en"}, r"data.train.en: .*empty.en holds no word, in 2 sentences"),
        ({"en": "fr"}, r"data.train.en: .*fr is a corpus of fr: expected one of en"),
        ({"en-fr": ["fr", "en"]}, r"data.train.en-fr: .* is a corpus of fr: expected one of en"),
        ({"en-fr": ["en", "short.fr"]}, r"data.train.en-fr: .*en has 3 .*short.fr has 1"),
        ({"en-fr": ["en", "long.fr"]}, r"data.train.en-fr: .*no pair of sentences with at most 5"),
        ({"en": "another.en"}, r"data.train.en: .*made with another vocabulary \(of 36 ids"),
        ({"en-fr-de": ["en", "fr"]}, "data.train.en-fr-de names no language and no pair"),
        ({"en-": ["en", "fr"]}, "names no language and no pair"),
        ({"en-en": ["en", "en"]}, "names no language and no pair"),
    ],
)
def test_corpora_that_cannot_be(folder: Path, train: dict[str, Any], words: str) -> None:
    whole = {"en": "en", "fr": "fr", "en-fr": ["en", "fr"]}
    with pytest.raises((CorpusError, ConfigError), match=words):
        data(folder, data={"train": whole | train})


def test_a_variety_of_a_language_is_that_language(folder: Path) -> None:
    tokenizer = small_tokenizer(folder / "tokenizer")
    write(folder / "zh", tokenizer, [[14]], "zh")
    with pytest.warns(XLMWarning, match=r"split into words as zh, .* given as zh_yue"):
        opened = data(folder, objectives={"mlm": ["zh_yue"]}, data={"train": {"zh_yue": "zh"}})
    assert opened.lang2id == {"zh_yue": 0}
    assert opened.model_config().n_langs == 1


def test_what_no_objective_reads_is_named(folder: Path) -> None:
    with pytest.warns(XLMWarning, match=r"data.train.fr is not read: .*\(MLM-en\) is about fr"):
        data(folder, objectives={"mlm": ["en"]}, data={"train": {"en": "en", "fr": "fr"}})


def test_another_mode_is_named(folder: Path) -> None:
    original = XLMTokenizer.from_pretrained(folder / "tokenizer", mode="original")
    write(folder / "original.en", original, [[14]], "en")
    with pytest.warns(XLMWarning, match=r"in mode 'original', and the tokenizer splits as in 'v4'"):
        data(folder, objectives={"mlm": ["en"]}, data={"train": {"en": "original.en"}})


def test_a_missing_tokenizer_is_named(folder: Path) -> None:
    with pytest.raises(TokenizerError, match=r"says tokenizer='absent'.*xlm build-vocab"):
        data(folder, tokenizer="absent")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"emb_dims": 8}, "model.emb_dims is unknown.*'emb_dim'"),
        ({"vocab_size": 20}, "model.vocab_size is 20, .* need 34"),
        ({"n_words": 20}, "model.vocab_size is 20"),
        ({"pad_index": 7}, "model.pad_index is 7, .* need 2"),
        ({"n_langs": 1}, "model.n_langs is 1, .* need 2"),
        ({"causal": True}, "model.causal is True, .* mlm, mt train a model with causal=False"),
        ({"is_encoder_decoder": False}, "model.is_encoder_decoder is False, .* where it is True"),
    ],
)
def test_a_model_that_contradicts_the_data(
    folder: Path, fields: dict[str, Any], words: str
) -> None:
    opened = data(folder, model=config().model | fields)
    with pytest.raises(ConfigError, match=words):
        opened.model_config()


def test_depths_of_two_parts_are_for_translation_alone(
    folder: Path, recwarn: pytest.WarningsRecorder
) -> None:
    depths = {"encoder_layers": 1, "decoder_layers": 2}
    made = data(folder, model=config().model | depths).model_config()
    assert (made.is_encoder_decoder, made.encoder_layers, made.decoder_layers) == (True, 1, 2)
    assert not [each for each in recwarn if "decoder" in str(each.message)]
    for name in depths:
        masked = data(folder, model=config().model | {name: 1}, objectives={"mlm": ["en"]})
        with pytest.raises(ConfigError, match=f"model.{name} is 1, and without mt"):
            masked.model_config()


def test_a_model_may_have_room_and_a_causal_one_is_told_by_its_objective(folder: Path) -> None:
    opened = data(folder, model=config().model | {"vocab_size": 40, "n_langs": 5})
    made = opened.model_config()
    assert (made.vocab_size, made.n_langs, made.causal) == (40, 5, False)
    assert opened.counts(40).shape == (40,)
    assert data(folder, model=config().model | {"n_words": 40}).model_config().vocab_size == 40
    assert (
        data(folder, objectives={"clm": ["en"]}, data={"train": {"en": "en"}}).model_config().causal
    )


# -- words ---------------------------------------------------------------------------------------


def test_counts_of_the_text_and_of_the_vocabulary(folder: Path) -> None:
    opened = data(folder)
    # Each folder once, whatever reads it; the unknown word is special.
    expected = Counter(i for name in ("en", "fr") for s in SENTENCES[name] for i in s if i > 13)
    assert {i: n for i, n in enumerate(opened.counts(34)) if n} == expected
    write_folder(folder / "counted")
    lines = [f"{letter}{end} {7 + at}" for at, letter in enumerate(LETTERS) for end in ("@@", "")]
    (folder / "counted" / "vocab").write_text("\n".join([*lines, "else 5"]) + "\n")
    listed = data(folder, tokenizer="counted").counts(40)
    assert listed[:14].sum() == 0
    assert listed[14:30].tolist() == [7 + at // 2 for at in range(16)]
    assert listed[30:].sum() == 0


def test_counting_leaves_separators_out(folder: Path) -> None:
    counts = count_ids(Corpus.open(folder / "en"), 34)
    assert counts[1] == 0
    assert counts.sum() == 6
    assert counts[30] == 2


def test_ids_that_no_word_has_are_named_before_a_run(folder: Path) -> None:
    """Opening a corpus does not read them."""
    tokenizer = XLMTokenizer.from_pretrained(folder / "tokenizer")
    write(folder / "damaged.en", tokenizer, [[14, 15], [16]], "en")
    ids = np.load(folder / "damaged.en" / "sentences.npy")
    ids[1] = 60_000
    np.save(folder / "damaged.en" / "sentences.npy", ids)
    train = data(folder, objectives={"clm": ["en"]}, data={"train": {"en": "damaged.en"}})
    message = r"damaged.en is damaged: its ids go from 1 to 60000, and the vocabulary has 34"
    with pytest.raises(CorpusError, match=message):
        train.unigram_entropy(Task("clm", ("en",)))
    valid = data(folder, data=config().data.__dict__ | {"valid": {"en": "damaged.en"}})
    with pytest.raises(CorpusError, match=message):
        valid.check_evaluation(valid.model_config())


def test_entropy_of_labels(folder: Path) -> None:
    assert entropy_of([3, 3]) == pytest.approx(math.log(2))
    assert entropy_of([0, 5]) == 0
    opened = data(folder)
    streams = [1, 1, 1, 1, 2, 3]  # 14, 15, 3, 16, 30 twice, and a </s> for each sentence
    assert opened.unigram_entropy(Task("mlm", ("en",))) == pytest.approx(entropy_of(streams))
    # Of the pairs, the second one is not read: its line of en is empty.
    targets = [1, 1, 1, 1, 2, 2]
    assert opened.unigram_entropy(Task("mt", ("fr", "en"))) == pytest.approx(entropy_of(targets))
    both = [1, 1, 1, 1, 2, 6, *[1] * 4]
    assert opened.unigram_entropy(Task("tlm", ("en", "fr"))) == pytest.approx(entropy_of(both))
    smoothed = data(folder, batches={"max_len": 5, "bptt": 4, "batch_size": 2, "sample_alpha": 0.5})
    weighted = [1, 1, 1, 2 * 2**-0.5]  # special words are never predicted
    assert smoothed.unigram_entropy(Task("mlm", ("en",))) == pytest.approx(entropy_of(weighted))
    smoothed.batches(smoothed.model_config())
    weighted = [1, 1, 1, 2 * 2**-0.5, *[1] * 4]
    assert smoothed.unigram_entropy(Task("tlm", ("en", "fr"))) == pytest.approx(
        entropy_of(weighted)
    )


def test_entropy_is_of_the_pairs_that_are_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty and too long ones are left out; what is drawn has the same frequencies."""
    tokenizer = XLMTokenizer.from_pretrained(folder / "tokenizer")
    english = [[14, 15], [], [16], [30] * 9, [14, 3, 14], [31], [15]]
    french = [[17], [18, 18], [], [19], [20] * 5, [21] * 6, [17, 22]]
    write(folder / "gaps.en", tokenizer, english, "en")
    write(folder / "gaps.fr", tokenizer, french, "fr")
    monkeypatch.setattr("xlm_core.training.word_counts._SENTENCES", 2)
    pairs = {"en-fr": ["gaps.en", "gaps.fr"]}
    objectives = {"mlm": ["en-fr"], "mt": ["en-fr", "fr-en"]}
    with pytest.warns(XLMWarning, match="4 of 7 pairs are left out"):
        opened = data(folder, data={"train": pairs}, objectives=objectives)
    read = [0, 4, 6]
    words = {
        name: Counter(i for at in read for i in sentences[at])
        for name, sentences in (("en", english), ("fr", french))
    }
    for task, expected in (
        (Task("mt", ("en", "fr")), [*words["fr"].values(), 3]),
        (Task("mt", ("fr", "en")), [*words["en"].values(), 3]),
        (Task("tlm", ("en", "fr")), [*words["en"].values(), *words["fr"].values(), 9]),
    ):
        assert opened.unigram_entropy(task) == pytest.approx(entropy_of(expected)), task
    # What the labels of one pass are.
    batches = opened.batches(opened.model_config())
    task = Task("mt", ("en", "fr"))
    drawn = [batches._batch(Draw(task, use)).labels for use in range(batches.batches_in(task))]
    labels = Counter(i for each in drawn for i in each.ravel().tolist() if i != IGNORED)
    assert opened.unigram_entropy(task) == pytest.approx(entropy_of([*labels.values()]))


def test_words_end_where_the_tokenizer_says(folder: Path) -> None:
    opened = data(folder, objectives={"clm": ["en"]}, data={"train": {"en": "en"}})
    ids = opened.tokenizer.get_vocab()
    tokens = [ids[t] for t in ("a", "b</w>", "ab", "abc</w>", "<unk>", "</s>")]
    task = Task("clm", ("en",))
    batch = opened.batches(opened.model_config()).global_batch(0)[0]
    labels = np.array([[*tokens, -100]])
    read = np.array([[ids["</s>"], *tokens]])
    assert opened.words_in(replace(batch, task=task, input_ids=read, labels=labels)) == 4


def test_what_fills_a_text_is_no_word_and_has_no_loss_a_word() -> None:
    """In front of its first batch alone; a later one that begins alike has empty lines."""
    eos, task = 1, Task("clm", ("en",))
    read = np.array([[eos, eos, eos, 14, 15]])
    labels = np.array([[eos, eos, 14, 15, eos]])
    first = Batch(task, read, np.array([5]), labels)
    asked: list[list[int]] = []

    def evaluate(batches: Iterable[Batch]) -> Tally:
        tally = Tally()
        for batch in batches:
            asked.append(batch.labels[0].tolist())
            tally.add(2.0 * batch.predicted, batch.predicted, 0)
        return tally

    tally = tally_of(task, [first, first], evaluate, lambda x: x.predicted, eos)
    assert (tally.loss, tally.predicted) == (20.0, 10)
    assert (tally.words, tally.filling) == (8, 4.0)
    assert tally.word_perplexity == pytest.approx(math.exp(16 / 8))
    assert tally.perplexity == pytest.approx(math.exp(2))
    assert asked == [[eos, eos, 14, 15, eos]] * 2 + [[eos, eos, -100, -100, -100]]
    plain = replace(first, input_ids=read + (read == eos) * 13)
    assert tally_of(task, [plain], evaluate, lambda x: x.predicted, eos).filling == 0


def test_evaluations_read_what_fits_the_model(folder: Path) -> None:
    """Whatever max_len; what fits no model is told before a run begins."""
    valid = {"valid": {"en-fr": ["en", "long.fr"]}}
    opened = data(folder, data=config().data.__dict__ | valid)
    opened.check_evaluation(opened.model_config())
    evaluated = dict(opened.evaluation(opened.model_config(), "valid"))
    assert [sum(map(len, batches)) for batches in evaluated.values()] == [2, 2]  # TLM and MT
    few = opened.model_config().copy(max_position_embeddings=9)
    with pytest.raises(CorpusError, match="no pair of sentences with at most 7 tokens"):
        opened.check_evaluation(few)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a system without /proc")
def test_more_corpora_than_files_may_be_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    table = {f"x{at}": at for at in range(40)}
    tokenizer = small_tokenizer(tmp_path / "tokenizer", lang2id=table)
    for name in table:
        write(tmp_path / name, tokenizer, [[14, 15]], name)
    train = {name: name for name in table}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 30, hard))
    try:
        given: dict[str, Any] = {"objectives": {"mlm": [*table]}, "data": {"train": train}}
        assert len(data(tmp_path, **given).corpora["train"]) == 40
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_pairs_that_are_left_out_are_named(folder: Path) -> None:
    tokenizer = XLMTokenizer.from_pretrained(folder / "tokenizer")
    write(folder / "mixed.en", tokenizer, [[14], [14] * 9, []], "en")
    train = {"en": "en", "fr": "fr", "en-fr": ["mixed.en", "fr"]}
    with pytest.warns(XLMWarning, match=r"en-fr: 2 of 3 pairs are left out.* than 5 tokens"):
        data(folder, data={"train": train})
