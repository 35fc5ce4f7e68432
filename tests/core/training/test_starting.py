"""What weights start from: drawn, whole checkpoints, or rows by word and by language."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.convert import convert
from tests.core.training.test_data import config
from tests.support.layout_models import make, write_all
from tests.support.original_checkpoints import golden, optimizer
from tests.support.small_tokenizer import small_tokenizer
from tests.support.starting import (
    COMMON,
    ENCODER_DECODER,
    LM,
    NEW,
    OLD,
    other_tokenizer,
    write_model,
)
from xlm_core import XLMConfig, XLMTokenizer
from xlm_core.checkpoints import Checkpoint, match_checkpoint, open_checkpoint
from xlm_core.checkpoints.original import Original
from xlm_core.containers.torch_files import write_torch
from xlm_core.corpus import CorpusWriter
from xlm_core.errors import CheckpointError, ConfigError
from xlm_core.generation.config import GenerationConfig
from xlm_core.training.data import TrainingData
from xlm_core.training.drawing import drawn_value
from xlm_core.training.rows import words_of
from xlm_core.training.starting import StartingPoint, starting_point, starting_point_from
from xlm_core.weights import tensors_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("starting")
    write_model(folder / "lm")
    write_model(folder / "one", n_langs=1, lang2id={"en": 0})
    write_model(folder / "pair", ENCODER_DECODER)
    write_model(folder / "bare", "XLMModel")
    write_model(folder / "untied", tie_word_embeddings=False)
    write_model(folder / "nameless", lang2id=None)
    other_tokenizer(folder / "other")
    return folder


@pytest.fixture(scope="module")
def same(folder: Path) -> XLMTokenizer:
    return small_tokenizer(folder / "same", lang2id=OLD)


@pytest.fixture(scope="module")
def other(folder: Path) -> XLMTokenizer:
    return XLMTokenizer.from_pretrained(folder / "other")


def tensor(start: StartingPoint | Checkpoint, path: str) -> Any:
    checkpoint = start.checkpoint if isinstance(start, StartingPoint) else start
    architecture = str(checkpoint.architecture)
    match = match_checkpoint(checkpoint, architecture, quiet=True)
    assert not match.fresh
    return next(found.read() for spec, found in match.found if spec.path == path)


# -- drawn ---------------------------------------------------------------------------------------


def test_drawn_weights_follow_the_rule_and_the_seed() -> None:
    made = XLMConfig(vocab_size=400, emb_dim=64, n_layers=1, n_heads=4, embed_init_std=0.3)
    specs = {spec.path: spec for spec in tensors_of(made, LM)}
    words = drawn_value(specs["embeddings.weight"], made, 0)
    assert words.dtype == np.float32
    assert not words[2].any()
    # 64 * 399 draws: five standard errors of mean and deviation.
    rest = np.delete(words, 2, axis=0)
    assert abs(rest.mean()) < 5 * 0.3 / np.sqrt(rest.size)
    assert abs(rest.std() / 0.3 - 1) < 5 / np.sqrt(2 * rest.size)
    matrix = drawn_value(specs["ffns.0.lin1.weight"], made, 0)
    assert abs(matrix.std() / 0.02 - 1) < 5 / np.sqrt(2 * matrix.size)
    assert (drawn_value(specs["layer_norm1.0.weight"], made, 0) == 1).all()
    assert not drawn_value(specs["pred_layer.proj.bias"], made, 0).any()
    again = drawn_value(specs["ffns.0.lin1.weight"], made, 0)
    assert np.array_equal(matrix, again)
    assert not np.array_equal(matrix, drawn_value(specs["ffns.0.lin1.weight"], made, 1))


_TEXT = {"en": "en", "fr": "fr", "en-fr": ["en", "fr"]}


def run_data(folder: Path, tokenizer: XLMTokenizer, **more: Any) -> tuple[Any, TrainingData]:
    for name in ("en", "fr"):
        with CorpusWriter(folder / f"{name}", tokenizer, [name], overwrite=True) as writer:
            writer.add([14, 15])
    made = config(**{"tokenizer": str(folder / "same"), "data": {"train": _TEXT}, **more})
    return made, TrainingData.open(made, folder)


def test_a_run_without_a_start_is_drawn_whole(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "same", lang2id=OLD)
    made, data = run_data(tmp_path, tokenizer, seed=5)
    start = starting_point(made, data)
    assert start.architecture == ENCODER_DECODER
    assert start.report.text() == f"{ENCODER_DECODER}: all weights drawn"
    path = "decoder.encoder_attn.0.k_lin.weight"
    spec = next(s for s in tensors_of(start.checkpoint.config, ENCODER_DECODER) if s.path == path)
    assert np.array_equal(tensor(start, path), drawn_value(spec, start.checkpoint.config, 5))
    made, data = run_data(tmp_path, tokenizer, objectives={"mlm": ["en", "fr", "en-fr"]})
    assert starting_point(made, data).architecture == LM


def test_a_run_from_a_checkpoint_takes_dropout_and_nothing_else(
    folder: Path, tmp_path: Path
) -> None:
    tokenizer = small_tokenizer(tmp_path / "same", lang2id=OLD)
    more: dict[str, Any] = {"objectives": {"clm": ["en"]}, "start": {"model": "lm"}}
    more["data"] = {"train": {"en": "en"}}
    made, data = run_data(tmp_path, tokenizer, model={"dropout": 0.25}, **more)
    start = starting_point(made, data, folder)
    assert (start.checkpoint.config.dropout, start.checkpoint.config.causal) == (0.25, True)
    old = open_checkpoint(folder / "lm")
    for name, held in old.tensors.items():
        assert np.array_equal(start.checkpoint.tensors[name].read(), held.read()), name
    assert not start.report.drawn
    assert str(folder / "lm") in start.report.text()
    for fields, words in (
        ({"n_heads": 2}, "model.n_heads is 2, and .*lm has 4: leave it out"),
        ({"vocab_size": 99}, "model.vocab_size is 99"),
        ({"emb_dims": 2}, r"model.emb_dims is unknown.*'emb_dim'"),
        ({"causal": False}, r"model.causal is False.*causal=True"),
        ({"lang2id": {"en": 1, "fr": 0}}, "model.lang2id is .* leave it out"),
    ):
        made, data = run_data(tmp_path, tokenizer, model=fields, **more)
        with pytest.raises(ConfigError, match=words):
            starting_point(made, data, folder)


# -- the same words and languages ----------------------------------------------------------------


def test_parts_fill_everything_but_the_attention_to_the_source(
    folder: Path, same: XLMTokenizer
) -> None:
    start = starting_point_from(same, encoder=folder / "untied", decoder=folder / "untied")
    old = open_checkpoint(folder / "untied")
    for part in ("encoder", "decoder"):
        # The encoder's own output layer too, for masked steps.
        for path in ("pred_layer.proj.weight", "pred_layer.proj.bias", "pred_layer.proj.weight"):
            assert np.array_equal(tensor(start, f"{part}.{path}"), old.tensors[path].read())
    assert {name.split(".")[1] for name in start.report.drawn} == {"encoder_attn", "layer_norm15"}
    assert "drawn (20): decoder.layer_norm15.0.weight" in start.report.text()
    half = starting_point_from(same, encoder=folder / "pair", fields={"decoder_layers": 1})
    assert {name.split(".")[0] for name in half.report.drawn} == {"decoder"}
    assert half.checkpoint.config.part("decoder").n_layers == 1


def test_an_encoder_without_output_gets_a_bias(folder: Path, same: XLMTokenizer) -> None:
    start = starting_point_from(same, model=folder / "bare")
    assert start.architecture == LM
    assert start.report.drawn == ("pred_layer.proj.bias",)


@pytest.mark.parametrize("match", ["all", "words"])
def test_languages_of_parts_that_differ(folder: Path, same: XLMTokenizer, match: str) -> None:
    write_model(folder / "more", n_langs=3, lang2id=NEW)
    start = starting_point_from(
        same,
        encoder=folder / "lm",
        decoder=folder / "more",
        match=match,
        lang2id={"en": 0, "fr": 1, "de": 2},
    )
    if match == "all":
        assert start.report.drawn_languages == {"encoder.lang_embeddings.weight": ("de",)}
    else:
        assert start.report.copied["encoder"].fresh_languages == ("de",)
    old = open_checkpoint(folder / "more").tensors["transformer.lang_embeddings.weight"].read()
    table = tensor(start, "decoder.lang_embeddings.weight")
    for name, i in (start.checkpoint.config.lang2id or {}).items():
        assert np.array_equal(table[i], old[NEW[name]])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"model": "lm", "other": True},
            "another vocabulary, of 34 words, than the tokenizer, of 26",
        ),
        ({"model": "lm", "added": 3}, r"has a vocabulary of 34 words, and the tokenizer has 37"),
        ({"model": "one"}, r"has 1 language \(en\), and the run needs 2 \(en, fr\): it lacks fr"),
        ({"model": "lm", "lang2id": NEW}, r"2 languages \(en, fr\), .* needs 3 .*lacks de. Give m"),
        ({"model": "nameless"}, "has 2 languages, and does not say which: give model.lang2id"),
        ({"model": "lm", "translates": True}, "is an encoder alone, .* start.encoder"),
        ({"model": "pair", "causal": True}, "is an encoder-decoder, which clm does not train"),
        ({"encoder": "lm", "causal": True}, "an encoder-decoder, which clm does not train"),
        ({"encoder": "one"}, r"has 1 language \(en\), and the run needs 2"),
        ({"encoder": "lm", "fields": {"n_heads": 2}}, "model.n_heads is 2"),
        ({"model": "lm", "fields": {"mask_index": 7}}, "model.mask_index is 7, and the tokenizer"),
        ({"model": "lm", "fields": {"pad_index": 9}, "match": "words"}, "model.pad_index is 9, a"),
        ({"model": "lm", "fields": {"n_langs": 1}, "match": "words"}, "n_langs is 1, .* need 2"),
        ({"model": "lm", "encoder": "lm"}, "give model, or encoder and decoder"),
        ({}, "give model, or encoder and decoder"),
        ({"model": "lm", "match": "word"}, "match is 'word': .*Did you mean 'words'"),
        ({"model": "absent"}, "no folder at .*absent"),
    ],
)
def test_what_does_not_go_together(
    folder: Path, same: XLMTokenizer, arguments: dict[str, Any], words: str
) -> None:
    given, tokenizer = dict(arguments), same
    if given.pop("other", False):
        tokenizer = XLMTokenizer.from_pretrained(folder / "other")
        given["lang2id"] = OLD
    if more := given.pop("added", 0):
        tokenizer = XLMTokenizer.from_pretrained(folder / "same")
        tokenizer.add_tokens([f"new{i}" for i in range(more)])
    for name in ("model", "encoder", "decoder"):
        if name in given:
            given[name] = folder / given[name]
    with pytest.raises((CheckpointError, ConfigError), match=words):
        starting_point_from(tokenizer, **given)


def test_nameless_languages_are_named_by_the_run(folder: Path, same: XLMTokenizer) -> None:
    table = {"en": 1, "fr": 0}
    start = starting_point_from(
        same, model=folder / "nameless", lang2id=table, fields={"lang2id": table}
    )
    assert start.checkpoint.config.lang2id == table


def test_a_checkpoint_without_words_is_taken_at_its_size(
    folder: Path, tmp_path: Path, same: XLMTokenizer
) -> None:
    write_model(tmp_path / "lm")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "lm" / name).unlink()
    start = starting_point_from(same, model=tmp_path / "lm")
    assert "34 words are taken for the tokenizer's" in start.report.text()
    with pytest.raises(CheckpointError, match=r"brings no vocabulary, .*vocab\.json"):
        starting_point_from(same, model=tmp_path / "lm", match="words")


def test_parts_of_nameless_languages_keep_their_rows(tmp_path: Path, same: XLMTokenizer) -> None:
    table = {"en": 0, "fr": 3}
    write_model(tmp_path / "lm", n_langs=5, lang2id=None)
    for other in (tmp_path / "lm", write_model(tmp_path / "named")):
        start = starting_point_from(
            same, encoder=tmp_path / "lm", decoder=other, lang2id=table, fields={"lang2id": table}
        )
        assert (start.checkpoint.config.n_langs, start.checkpoint.config.lang2id) == (5, table)


def test_one_nameless_language_among_those_of_a_tokenizer(
    tmp_path: Path, same: XLMTokenizer
) -> None:
    write_model(tmp_path / "lm", n_langs=1, lang2id=None)
    start = starting_point_from(same, model=tmp_path / "lm", lang2id=OLD, languages=["fr"])
    assert (start.checkpoint.config.n_langs, start.checkpoint.config.lang2id) == (1, {"fr": 0})
    assert not start.report.drawn


@pytest.mark.parametrize("match", ["all", "words"])
@pytest.mark.parametrize("layout", ["folder", "keras"])
def test_words_that_were_added_are_known(tmp_path: Path, layout: str, match: str) -> None:
    source = tmp_path / "lm"
    write_model(source, vocab_size=35)
    tokenizer = XLMTokenizer.from_pretrained(source)
    listed = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    tokenizer.add_tokens(["zq"])
    tokenizer.save_pretrained(source)
    # As the original wrote them, before one was added.
    (source / "facebook.json").write_text(Original(words=tuple(listed)).to_json())
    if layout == "keras":
        (source / "facebook.json").unlink()
        convert(source, tmp_path / "lm.keras", to="keras")
        source = tmp_path / "lm.keras"
    start = starting_point_from(tokenizer, model=source, match=match, lang2id=OLD)
    if match == "words":
        assert "35 of 35 words copied" in start.report.text()
    assert start.checkpoint.config.vocab_size == 35


def test_settings_of_generation_are_of_the_checkpoint(
    folder: Path, other: XLMTokenizer, same: XLMTokenizer, tmp_path: Path, monkeypatch: Any
) -> None:
    """Its ids are not those of other words, and drawn weights have no folder."""
    write_model(tmp_path / "lm")
    settings = {"eos_token_id": 7, "bad_words_ids": [[30]], "max_new_tokens": 5}
    (tmp_path / "lm" / "generation_config.json").write_text(json.dumps(settings))
    monkeypatch.chdir(tmp_path / "lm")

    def beside(start: StartingPoint) -> GenerationConfig | None:
        return GenerationConfig.of_folder(start.checkpoint.file.parent)

    parts: dict[str, Any] = {"encoder": tmp_path / "lm", "decoder": tmp_path / "lm"}
    assert "max_new_tokens" in repr(beside(starting_point_from(same, **parts, translates=True)))
    empty = GenerationConfig.of_folder(folder)
    changed = starting_point_from(other, **parts, translates=True, match="words")
    assert beside(changed) == empty
    small_tokenizer(tmp_path / "same", lang2id=OLD)
    made, data = run_data(tmp_path, same)
    assert beside(starting_point(made, data)) == empty


def test_special_tokens_of_other_numbers(folder: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "lm")
    other = small_tokenizer(tmp_path / "same", lang2id=OLD, mask_token="<special4>")
    with pytest.raises(CheckpointError, match="special tokens: mask_index 5 and 8"):
        starting_point_from(other, model=tmp_path / "lm")


# -- other words and languages -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lm", "untied", "bare", "pair"])
def test_rows_by_word_and_by_language(folder: Path, other: XLMTokenizer, name: str) -> None:
    start = starting_point_from(other, model=folder / name, match="words", seed=4)
    made = start.checkpoint.config
    assert (made.vocab_size, made.lang2id, made.n_langs) == (26, NEW, 3)
    old = open_checkpoint(folder / name)
    own, new = words_of(old), other.get_vocab()
    assert own is not None
    stem = "encoder." if name == "pair" else ""
    names = {n.replace("transformer.", ""): t for n, t in old.tensors.items()}
    tables = ["embeddings.weight"]
    tables += ["pred_layer.proj.bias"] if name != "bare" else []
    tables += ["pred_layer.proj.weight"] if name == "untied" else []
    for path in tables:
        before, now = names[stem + path].read(), tensor(start, stem + path)
        for word in (*COMMON, "</s>", "<pad>", "<special1>"):
            assert np.array_equal(now[new[word]], before[own[word]]), (path, word)
        spec = next(
            s for s in tensors_of(made, str(start.checkpoint.architecture)) if s.path == stem + path
        )
        drawn = drawn_value(spec, made, 4)
        assert np.array_equal(now[new["x"]], drawn[new["x"]])
    before = names[stem + "lang_embeddings.weight"].read()
    now = tensor(start, stem + "lang_embeddings.weight")
    assert np.array_equal(now[[1, 2]], before[[0, 1]])
    assert not np.array_equal(now[0], before[0])
    copied = start.report.copied["model"]
    assert (copied.words, copied.of) == (22, 26)
    assert "22 of 26 words copied, 4 drawn" in start.report.text()
    assert "languages copied: en, fr; drawn: de" in start.report.text()


def test_new_rows_beside_those_of_the_original(
    folder: Path, other: XLMTokenizer, tmp_path: Path
) -> None:
    """It draws them by the width, and its files do not say so: another layout, the same run."""
    convert(folder / "lm", tmp_path / "lm.pth", to="facebook")
    for fields, expected in (({}, 12**-0.5), ({"embed_init_std": 0.5}, 0.5)):
        start = starting_point_from(other, model=tmp_path / "lm.pth", match="words", fields=fields)
        assert start.checkpoint.config.embed_init_std == pytest.approx(expected)


def test_parts_by_words(folder: Path, other: XLMTokenizer) -> None:
    start = starting_point_from(
        other, encoder=folder / "lm", decoder=folder / "pair", match="words", translates=True
    )
    assert start.architecture == ENCODER_DECODER
    assert not start.report.drawn
    assert {*start.report.copied} == {"encoder", "decoder"}
    made = start.checkpoint.config
    assert (made.vocab_size, made.lang2id) == (26, NEW)
    old = open_checkpoint(folder / "pair")
    own, new = words_of(old), other.get_vocab()
    assert own is not None
    now = tensor(start, "decoder.embeddings.weight")
    before = old.tensors["decoder.embeddings.weight"].read()
    assert np.array_equal(now[new["ab"]], before[own["ab"]])


def test_a_run_of_one_language_keeps_those_that_were_learned(
    folder: Path, other: XLMTokenizer
) -> None:
    start = starting_point_from(other, model=folder / "lm", match="words", lang2id={"de": 0})
    assert start.checkpoint.config.lang2id == {"en": 0, "fr": 1, "de": 2}
    start = starting_point_from(other, model=folder / "lm", match="words", lang2id={})
    assert start.checkpoint.config.lang2id == OLD
    with pytest.raises(CheckpointError, match="does not say which"):
        starting_point_from(other, model=folder / "nameless", match="words", lang2id={"en": 0})
    # A model of one language has no table, and gets none by itself.
    start = starting_point_from(other, model=folder / "one", match="words", lang2id={"en": 0})
    assert start.checkpoint.config.n_langs == 1
    start = starting_point_from(other, model=folder / "one", match="words", lang2id=NEW)
    copied = start.report.copied["model"]
    assert (copied.fresh_languages, copied.zero_languages) == (("de", "fr"), ("en",))


@pytest.mark.parametrize(
    ("named", "zeros", "said"),
    [
        ({"en": 0}, ["en"], "languages copied: none; drawn: de, fr\nmodel: languages that start"),
        (
            None,
            ["de", "en", "fr"],
            "model: languages that start from zeros, which add nothing: de, en, fr",
        ),
        ({"xx": 0}, [], "languages copied: none; drawn: de, en, fr"),
    ],
)
def test_a_model_of_one_language_for_several(
    tmp_path: Path, other: XLMTokenizer, named: dict[str, int] | None, zeros: list[str], said: str
) -> None:
    """It adds no embedding for its language, which it may not name."""
    write_model(tmp_path / "one", n_langs=1, lang2id=named)
    start = starting_point_from(other, model=tmp_path / "one", match="words")
    table = tensor(start, "lang_embeddings.weight")
    assert [name for name, i in NEW.items() if not table[i].any()] == zeros
    assert said in start.report.text()


def test_positions_that_both_have(folder: Path, other: XLMTokenizer) -> None:
    old = open_checkpoint(folder / "lm").tensors["transformer.position_embeddings.weight"].read()
    for size in (12, 30):
        start = starting_point_from(
            other, model=folder / "lm", match="words", fields={"max_position_embeddings": size}
        )
        now = tensor(start, "position_embeddings.weight")
        kept = min(size, len(old))
        assert len(now) == size
        assert np.array_equal(now[:kept], old[:kept])
        assert f"{kept} positions copied" in start.report.text()


def test_special_words_are_matched_by_their_roles(folder: Path, tmp_path: Path) -> None:
    other_tokenizer(tmp_path / "other")
    vocabulary = json.loads((tmp_path / "other" / "vocab.json").read_text())
    renamed = {"<mask>" if w == "<special1>" else w: i for w, i in vocabulary.items()}
    (tmp_path / "other" / "vocab.json").write_text(json.dumps(renamed))
    more = [f"<special{i}>" for i in (0, *range(2, 10))]
    tokenizer = XLMTokenizer.from_pretrained(
        tmp_path / "other", mask_token="<mask>", additional_special_tokens=more
    )
    start = starting_point_from(tokenizer, model=folder / "lm", match="words")
    old = open_checkpoint(folder / "lm").tensors["transformer.embeddings.weight"].read()
    assert np.array_equal(tensor(start, "embeddings.weight")[renamed["<mask>"]], old[5])


@pytest.mark.parametrize("layout", ["torch", "tf", "keras", "facebook"])
def test_words_of_every_layout(tmp_path: Path, folder: Path, layout: str) -> None:
    converted = tmp_path / "converted"
    convert(folder / "one", converted, to=layout)
    found = words_of(open_checkpoint(converted))
    assert found == XLMTokenizer.from_pretrained(folder / "one").get_vocab()


def test_the_original_s_own_files(shared: Callable[[str], Path], other: XLMTokenizer) -> None:
    path = next(shared("golden/facebook/mlm_langs").glob("*.pth"))
    checkpoint = open_checkpoint(path)
    words = words_of(checkpoint)
    assert words is not None
    start = starting_point_from(other, model=path, match="words", lang2id=checkpoint.config.lang2id)
    assert start.report.copied["model"].words == len({*words} & {*other.get_vocab()})
    assert start.report.copied["model"].languages == tuple(checkpoint.config.lang2id or ())


def test_parts_take_no_moments_and_say_so(tmp_path: Path, other: XLMTokenizer) -> None:
    content = golden("mlm_langs")
    content["model_optimizer"] = optimizer(content, ("model",))
    write_torch(tmp_path / "checkpoint.pth", content, legacy=True)
    start = starting_point_from(other, encoder=tmp_path / "checkpoint.pth", match="words")
    said = f"of {tmp_path / 'checkpoint.pth'}, no moments of Adam are taken: it is a part."
    assert said in start.report.text()


def test_what_cannot_be_copied_by_name(folder: Path, tmp_path: Path, other: XLMTokenizer) -> None:
    adaptive = write_all(tmp_path, make(LM, "adaptive"))["safetensors"]
    with pytest.raises(CheckpointError, match="adaptive softmax"):
        starting_point_from(other, model=adaptive, match="words")
    with pytest.raises(CheckpointError, match="does not say which"):
        starting_point_from(other, model=folder / "nameless", match="words")
    pruned = write_all(tmp_path / "pruned", make(LM, "pruned"))["safetensors"]
    with pytest.raises(CheckpointError, match="pruned heads"):
        starting_point_from(other, model=pruned, match="words")
