"""`fill_mask`, `score` and `encode` of both families: against plain loops, and each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf
import torch
import transformers

import xlm_tf
import xlm_torch
from tests.support.small_tokenizer import small_tokenizer
from xlm_core import InputError, XLMConfig, XLMTokenizer, XLMWarning

LANGUAGES = {"en": 0, "fr": 1, "de": 2}
TEXTS = ["abc de fg", "", "ab", "h gf <special1> abc, de de ab h", "e", "de fgfg hab c d e f"]
MASKED = ["abc <special1> de", "<special1>", "<special1> fg h <special1> ab"]
LANGS = ["en", "fr", 2, "de", 0, "fr"]
BOUND = 1e-12


class Models(NamedTuple):
    """The same weights in both families, in float64."""

    torch: Any
    tf: Any
    tokenizer: XLMTokenizer


def _models(folder: Path, name: str = "XLMWithLMHeadModel", **values: Any) -> Models:
    tokenizer = small_tokenizer(folder, lang2id=LANGUAGES)
    small: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "emb_dim": 12,
        "n_layers": 3,
        "n_heads": 4,
        "n_langs": 3,
        "lang2id": LANGUAGES,
        "max_position_embeddings": 24,
        "embed_init_std": 0.6,
        "init_std": 0.4,
    }
    torch.manual_seed(3)
    model = getattr(xlm_torch, name)(XLMConfig(**{**small, **values}))
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn_like(parameter)
            if f".{path}".endswith(".embeddings.weight"):
                parameter[2] = 0
    model.save_pretrained(folder)
    return Models(
        getattr(xlm_torch, name).from_pretrained(folder, dtype="float64"),
        getattr(xlm_tf, f"TF{name}").from_pretrained(folder, dtype="float64"),
        tokenizer,
    )


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return _models(tmp_path_factory.mktemp("masked"))


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return _models(tmp_path_factory.mktemp("causal"), causal=True, tie_word_embeddings=False)


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("adaptive")
    return _models(
        folder, asm=True, asm_cutoffs=[8, 20], asm_div_value=2.0, n_langs=1, lang2id=None
    )


@pytest.fixture(params=["torch", "tf"])
def family(request: pytest.FixtureRequest) -> Any:
    return {"torch": xlm_torch, "tf": xlm_tf}[request.param]


def of(models: Models, family: Any) -> Any:
    return models.torch if family is xlm_torch else models.tf


def framed(models: Models, text: str, opening: int = 1) -> list[int]:
    ids = models.tokenizer(text, add_special_tokens=False, return_token_type_ids=False).input_ids
    return [opening, *ids, 1]


def logits(models: Models, ids: list[int], lang: Any) -> Any:
    """Log-probabilities at every position, of one row and by itself."""
    number = LANGUAGES.get(lang, lang)
    given = torch.tensor([ids])
    langs = None if number is None else torch.full_like(given, number)
    with torch.no_grad():
        scores = models.torch.eval()(given, langs=langs).logits[0]
    return scores if models.torch.config.asm else scores.log_softmax(-1)


def hidden(models: Models, ids: list[int], lang: Any, layer: int) -> Any:
    given = torch.tensor([ids])
    langs = torch.full_like(given, LANGUAGES.get(lang, lang))
    with torch.no_grad():
        output = models.torch.eval().transformer(given, langs=langs, output_hidden_states=True)
    return output.hidden_states[layer][0].numpy()


# -- score ----------------------------------------------------------------------------------------


def test_causal_scores_are_those_of_a_plain_loop(causal: Models, family: Any) -> None:
    found = family.score(of(causal, family), causal.tokenizer, TEXTS, lang=LANGS, batch_size=4)
    for text, lang, score in zip(TEXTS, LANGS, found, strict=True):
        ids = framed(causal, text)
        table = logits(causal, ids, lang)
        expected = [float(table[i, token]) for i, token in enumerate(ids[1:])]
        assert score.token_ids == ids[1:]
        assert score.tokens[-1] == "</s>"
        np.testing.assert_allclose(score.token_log_probs, expected, rtol=BOUND, atol=0)
        assert score.log_prob == pytest.approx(sum(expected), rel=BOUND)
        assert score.perplexity == pytest.approx(np.exp(-np.mean(expected)), rel=BOUND)


def test_masked_scores_are_those_of_a_plain_loop(masked: Models, family: Any) -> None:
    found = family.score(
        of(masked, family), masked.tokenizer, TEXTS, lang=LANGS, frame="<s>", batch_size=5
    )
    for text, lang, score in zip(TEXTS, LANGS, found, strict=True):
        ids = framed(masked, text, opening=0)
        expected = []
        for place in range(1, len(ids) - 1):
            changed = [*ids[:place], 5, *ids[place + 1 :]]
            expected.append(float(logits(masked, changed, lang)[place, ids[place]]))
        assert score.token_ids == ids[1:-1]
        np.testing.assert_allclose(score.token_log_probs, expected, rtol=BOUND, atol=0)
        assert score.log_prob == pytest.approx(sum(expected), rel=BOUND)


def test_scores_of_a_model_that_runs_as_a_graph(tmp_path: Path) -> None:
    models = _models(tmp_path, emb_dim=128, n_layers=1)
    found = [
        family.score(of(models, family), models.tokenizer, TEXTS, lang=LANGS)
        for family in (xlm_torch, xlm_tf)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.token_log_probs, other.token_log_probs, rtol=BOUND)


def test_scores_of_words(masked: Models, family: Any) -> None:
    score = family.score(of(masked, family), masked.tokenizer, "abc, fgh <special1> de", lang="en")
    values = score.token_log_probs
    assert score.tokens == ["abc</w>", "<unk>", "fg", "h</w>", "<special1>", "de</w>"]
    assert score.words == ["abc", ",", "fgh", "<special1>", "de"]
    assert score.word_log_probs == [*values[:2], values[2] + values[3], *values[4:]]


def test_scores_with_an_adaptive_softmax(adaptive: Models, family: Any) -> None:
    score = family.score(of(adaptive, family), adaptive.tokenizer, "abc de")
    ids = framed(adaptive, "abc de")
    expected = [
        float(logits(adaptive, [*ids[:i], 5, *ids[i + 1 :]], None)[i, ids[i]]) for i in (1, 2)
    ]
    np.testing.assert_allclose(score.token_log_probs, expected, rtol=BOUND)


def test_an_empty_text_has_no_masked_tokens_and_a_causal_end(
    masked: Models, causal: Models, family: Any
) -> None:
    nothing = family.score(of(masked, family), masked.tokenizer, "", lang="en")
    assert (nothing.tokens, nothing.log_prob, nothing.perplexity) == ([], 0.0, 1.0)
    ended = family.score(of(causal, family), causal.tokenizer, "", lang="en")
    assert (ended.tokens, ended.words) == (["</s>"], [])


@pytest.fixture(scope="module")
def translation(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("translation")
    return _models(
        folder,
        "XLMForConditionalGeneration",
        is_encoder_decoder=True,
        decoder_layers=2,
        sinusoidal_embeddings=True,
    )


def test_scores_of_translations_are_those_of_a_plain_loop(translation: Models, family: Any) -> None:
    models, sources = translation, ["de", "h g", "abc", "", "abc de fg h", "e f e f e"]
    found = family.score(
        of(models, family), models.tokenizer, TEXTS, lang=LANGS, sources=sources, src_lang="en",
        batch_size=4,
    )  # fmt: skip
    for text, source, lang, score in zip(TEXTS, sources, LANGS, found, strict=True):
        given, target = torch.tensor([framed(models, source)]), framed(models, text)
        read = torch.tensor([target[:-1]])
        with torch.no_grad():
            table = (
                models.torch.eval()(
                    given,
                    langs=torch.zeros_like(given),
                    decoder_input_ids=read,
                    decoder_langs=torch.full_like(read, LANGUAGES.get(lang, lang)),
                )
                .logits[0]
                .log_softmax(-1)
            )
        expected = [float(table[i, token]) for i, token in enumerate(target[1:])]
        np.testing.assert_allclose(score.token_log_probs, expected, rtol=BOUND, atol=0)
        assert score.token_ids == target[1:]


def test_sources_are_of_encoder_decoders(translation: Models, causal: Models, family: Any) -> None:
    model, tokenizer = of(translation, family), translation.tokenizer
    with pytest.raises(InputError, match="scores translations: give sources"):
        family.score(model, tokenizer, "ab", lang="en")
    with pytest.raises(InputError, match="there are 1 texts and 2 sources"):
        family.score(model, tokenizer, ["ab"], lang="en", sources=["ab", "c"], src_lang="fr")
    with pytest.raises(InputError, match=r"sources was given, but .* has no decoder"):
        family.score(of(causal, family), tokenizer, "ab", lang="en", sources="ab")
    with pytest.raises(InputError, match="model is translation: it predicts what comes next"):
        family.fill_mask(model, tokenizer, MASKED, lang="en")
    vectors = family.encode(model, tokenizer, "abc", lang="en")
    encoder = family.encode(model.encoder, tokenizer, "abc", lang="en")
    np.testing.assert_array_equal(vectors, encoder)


# -- fill_mask ------------------------------------------------------------------------------------


OPTIONS: list[dict[str, Any]] = [{}, {"top_k": 3}, {"targets": ["de", "abc"], "top_k": 2}]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> tuple[Models, list[list[Any]]]:
    """Models without languages, and what transformers' pipeline says, for `OPTIONS`."""
    folder = tmp_path_factory.mktemp("pipeline")
    models = _models(folder, n_langs=1, lang2id=None)
    theirs = transformers.pipeline(
        "fill-mask",
        transformers.XLMWithLMHeadModel.from_pretrained(folder).double(),
        tokenizer=transformers.XLMTokenizer.from_pretrained(folder),
        device="cpu",
    )
    theirs.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return models, [[theirs(text, **options) for text in MASKED] for options in OPTIONS]


def test_fillings_are_those_of_the_transformers_pipeline(
    pipeline: tuple[Models, list[list[Any]]], family: Any
) -> None:
    models, expected = pipeline
    special = set(models.tokenizer.all_special_tokens)
    for options, theirs in zip(OPTIONS, expected, strict=True):
        found = family.fill_mask(
            of(models, family), models.tokenizer, MASKED, frame="<s>", **options
        )
        for text, ours, other in zip(MASKED, found, theirs, strict=True):
            several = text.count("<special1>") > 1
            for one, two in zip(
                ours if several else [ours], other if several else [other], strict=True
            ):
                for key in ("token", "token_str"):
                    assert [each[key] for each in one] == [each[key] for each in two]
                scores = [[each["score"] for each in fillings] for fillings in (one, two)]
                np.testing.assert_allclose(*scores, rtol=1e-6)  # its softmax is float32
                if not several:  # the pipeline hides fillings that are special tokens
                    shown = [
                        [f["sequence"] for f in fillings if f["token_str"] not in special]
                        for fillings in (one, two)
                    ]
                    assert shown[0] == shown[1]


def test_fillings_are_the_same_in_both_families(masked: Models) -> None:
    given = (masked.tokenizer, MASKED)
    ours = xlm_torch.fill_mask(masked.torch, *given, lang=["en", "fr", "de"], top_k=30)
    other = xlm_tf.fill_mask(masked.tf, *given, lang=["en", "fr", "de"], top_k=30)
    flat = [
        [filling for text in found for filling in text if isinstance(filling, dict)]
        + [filling for each in found[2] for filling in each]
        for found in (ours, other)
    ]
    scores = [[filling.pop("score") for filling in each] for each in flat]
    assert flat[0] == flat[1]
    np.testing.assert_allclose(*scores, rtol=BOUND)
    table = logits(masked, framed(masked, MASKED[0]), "en").exp()[2]
    assert scores[0][0] == pytest.approx(float(table.max()), rel=BOUND)


def test_one_text_alone_and_another_mask(masked: Models, family: Any) -> None:
    model = of(masked, family)
    alone = family.fill_mask(model, masked.tokenizer, MASKED[0], lang="en")
    other = family.fill_mask(model, masked.tokenizer, "abc ___ de", lang="en", mask="___")
    assert alone == other
    assert len(alone) == 5
    assert all(set(f) == {"score", "token", "token_str", "sequence"} for f in alone)


# -- encode ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [-1, 0, 2])
def test_vectors_are_those_of_plain_loops(masked: Models, family: Any, layer: int) -> None:
    model = of(masked, family)
    states = [
        hidden(masked, framed(masked, text), lang, layer)
        for text, lang in zip(TEXTS, LANGS, strict=True)
    ]
    expected = {
        "mean": [x.mean(0) for x in states],
        "max": [x.max(0) for x in states],
        "first": [x[0] for x in states],
        "last": [x[-1] for x in states],
        "tokens": [x[1:-1] for x in states],
    }
    for pooling, arrays in expected.items():
        found = family.encode(
            model, masked.tokenizer, TEXTS, lang=LANGS, pooling=pooling, layer=layer, batch_size=4
        )
        if pooling != "tokens":
            assert found.shape == (len(TEXTS), 12)
        assert all(x.dtype == np.float64 for x in found)
        for one, other in zip(found, arrays, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(states[0]).max())


def test_vectors_of_words_are_means_of_their_subwords(masked: Models, family: Any) -> None:
    model, text = of(masked, family), "abc, fgh de"
    tokens = family.encode(model, masked.tokenizer, text, lang="en", pooling="tokens")
    words = family.encode(model, masked.tokenizer, text, lang="en", pooling="words")
    assert len(words) == len(masked.tokenizer.words(text, lang="en")) == 4
    expected = [tokens[0], tokens[1], (tokens[2] + tokens[3]) / 2, tokens[4]]
    np.testing.assert_allclose(words, expected, rtol=1e-12)


def test_the_frame_counts_unless_it_is_left_out(masked: Models, family: Any) -> None:
    model = of(masked, family)
    tokens = family.encode(model, masked.tokenizer, TEXTS, lang="en", pooling="tokens")
    for pooling in ("mean", "max"):
        found = family.encode(
            model, masked.tokenizer, TEXTS, lang="en", pooling=pooling, include_frame=False
        )
        for vector, states in zip(found, tokens, strict=True):
            # An empty text has zeros.
            expected = getattr(states, pooling)(0) if len(states) else np.zeros(12)
            np.testing.assert_allclose(vector, expected, rtol=0, atol=1e-13)
    framed_too = family.encode(
        model, masked.tokenizer, TEXTS, lang="en", pooling="tokens", include_frame=True
    )
    assert [len(x) for x in framed_too] == [len(x) + 2 for x in tokens]


def test_normalized_and_in_other_dtypes(masked: Models, family: Any) -> None:
    model = of(masked, family)
    found = family.encode(model, masked.tokenizer, TEXTS, lang="en", normalize_embeddings=True)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-12)
    half = family.encode(model, masked.tokenizer, TEXTS, lang="en", dtype="float16")
    assert half.dtype == np.float16
    alone = family.encode(model, masked.tokenizer, TEXTS[0], lang="en", dtype="float32")
    assert (alone.shape, alone.dtype) == ((12,), np.float32)
    np.testing.assert_allclose(half[0], alone, atol=1e-2)


def test_dropout_is_off_and_the_mode_stays(masked: Models) -> None:
    model = masked.torch
    expected = xlm_torch.encode(model, masked.tokenizer, TEXTS, lang="en")
    model.train()
    model.transformer.ffns[0].eval()
    try:
        found = xlm_torch.encode(model, masked.tokenizer, TEXTS, lang="en")
        assert model.training
        assert not model.transformer.ffns[0].training
    finally:
        model.eval()
    np.testing.assert_array_equal(found, expected)


def test_a_hook_of_the_encoder_is_called(masked: Models) -> None:
    calls = []
    handle = masked.torch.transformer.register_forward_hook(lambda *given: calls.append(1))
    try:
        xlm_torch.score(masked.torch, masked.tokenizer, "abc", lang="en")
        xlm_torch.encode(masked.torch, masked.tokenizer, "abc", lang="en", pooling="first")
    finally:
        handle.remove()
    assert len(calls) == 2


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_types_give_float32(masked: Models, family: Any, dtype: str) -> None:
    if family is xlm_torch:
        model = xlm_torch.XLMWithLMHeadModel(masked.torch.config).to(getattr(torch, dtype))
        model.load_state_dict(masked.torch.state_dict())
    else:
        model = xlm_tf.TFXLMWithLMHeadModel(masked.torch.config, dtype=f"mixed_{dtype}")
        for one, other in zip(model.variables, masked.tf.variables, strict=True):
            one.assign(tf.cast(other.value, one.dtype))
    found = family.encode(model, masked.tokenizer, TEXTS, lang="en")
    expected = xlm_torch.encode(masked.torch, masked.tokenizer, TEXTS, lang="en")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.2)
    score = family.score(model, masked.tokenizer, "abc de", lang="en")
    exact = xlm_torch.score(masked.torch, masked.tokenizer, "abc de", lang="en")
    assert score.log_prob == pytest.approx(exact.log_prob, rel=0.1)


def test_the_examples_of_the_page_run(
    masked: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    masked.torch.save_pretrained("my-xlm")
    masked.tokenizer.save_pretrained("my-xlm")
    (tmp_path / "corpus.txt").write_text("abc\nde fg\n")
    page = (Path(__file__).resolve().parents[2] / "docs" / "texts.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "texts.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 4


# -- what is refused ------------------------------------------------------------------------------


def test_refusals_are_the_same(masked: Models, causal: Models, family: Any) -> None:
    model, tokenizer = of(masked, family), masked.tokenizer
    encoder, long = model.encoder(), "ab " * 40

    def refused(name: str, pattern: str, *given: Any, **options: Any) -> None:
        with pytest.raises(InputError, match=pattern):
            getattr(family, name)(*given, **options)

    refused("fill_mask", "has no language model's output", encoder, tokenizer, "ab", lang="en")
    refused("score", "has no language model's output", encoder, tokenizer, "ab", lang="en")
    refused("fill_mask", "model is causal", of(causal, family), tokenizer, MASKED, lang="en")
    refused("score", "model is a str", "a model", tokenizer, "ab")
    refused("score", "text 1 has 82 ids", model, tokenizer, ["ab", long], lang="en")
    refused("encode", "at most 24 fit", model, tokenizer, long, lang="en", truncation=False)
    with pytest.warns(XLMWarning, match="1 of 2 texts had more than 24 ids"):
        family.encode(model, tokenizer, ["ab", long], lang="en")
