"""Encoder-decoders that start from the checkpoints of encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.layout_models import make, write_all
from xlm_core.checkpoints import Checkpoint, match_checkpoint, open_checkpoint
from xlm_core.checkpoints.loading import loading_info
from xlm_core.checkpoints.parts import join_parts
from xlm_core.errors import CheckpointError, UnknownArgumentError, XLMWarning
from xlm_core.weights import ENCODER_DECODER

LM = "XLMWithLMHeadModel"
NEW = ("decoder.layer_norm15.", "decoder.encoder_attn.")


def opened(folder: Path, architecture: str = LM, kind: str = "2 languages", **fields: Any) -> Any:
    return open_checkpoint(write_all(folder, make(architecture, kind, **fields))["safetensors"])


def fresh_of(checkpoint: Checkpoint) -> list[str]:
    return [spec.path for spec in match_checkpoint(checkpoint, ENCODER_DECODER, quiet=True).fresh]


@pytest.mark.parametrize("architecture", [LM, "XLMModel", "XLMForTokenClassification"])
def test_attention_to_the_source_is_new_and_nothing_else(tmp_path: Path, architecture: str) -> None:
    one = opened(tmp_path, architecture)
    joined = join_parts(one, one, {})
    fresh = fresh_of(joined)
    # What is no language model lacks the output's bias, in both parts.
    biases = [f"{part}.pred_layer.proj.bias" for part in ("encoder", "decoder")]
    assert [path for path in fresh if not path.startswith(NEW)] == (
        [] if architecture == LM else biases
    )
    assert sum(path.startswith(NEW) for path in fresh) == 2 * (2 + 8)
    for part in ("encoder", "decoder"):
        name = (
            "transformer.ffns.1.lin2.weight" if architecture != "XLMModel" else "ffns.1.lin2.weight"
        )
        taken = joined.tensors[f"{part}.ffns.1.lin2.weight"]
        assert np.array_equal(taken.read(), one.tensors[name].read())
    config = joined.config
    assert (config.is_encoder_decoder, config.is_encoder, config.n_layers) == (True, False, 2)
    assert (config.part("encoder").causal, config.part("decoder").causal) == (False, True)


def test_one_warning_and_the_loading_info_name_what_is_new(tmp_path: Path) -> None:
    one = opened(tmp_path)
    joined = join_parts(one, one, {"decoder_layers": 1})
    with pytest.warns(XLMWarning, match="started fresh, to be trained before use") as warned:
        match_checkpoint(joined, ENCODER_DECODER)
    (text,) = [str(each.message) for each in warned]
    info = loading_info(joined, ENCODER_DECODER, ignore_mismatched_sizes=False)
    assert all(f"{name}" in text for name in info["missing_keys"])
    assert info["missing_keys"] == fresh_of(joined)
    assert "decoder.ffns.1.lin2.weight" in text
    assert "decoder.ffns.1.lin2.weight" in info["unexpected_keys"]


def test_the_first_layers_are_taken(tmp_path: Path) -> None:
    one = opened(tmp_path)
    joined = join_parts(one, one, {"encoder_layers": 2, "decoder_layers": 1})
    depths = [joined.config.part(part).n_layers for part in ("encoder", "decoder")]
    assert depths == [2, 1]
    with pytest.raises(CheckpointError, match=r"decoder_layers is 3, and .* has 2 layers"):
        join_parts(one, one, {"decoder_layers": 3})
    both = join_parts(one, one, {"n_layers": 1})
    assert [both.config.part(part).n_layers for part in ("encoder", "decoder")] == [1, 1]
    mixed = join_parts(one, one, {"n_layers": 1, "encoder_layers": 2})
    assert [mixed.config.part(part).n_layers for part in ("encoder", "decoder")] == [2, 1]
    with pytest.raises(CheckpointError, match=r"^n_layers is 3, and .* has 2 layers"):
        join_parts(one, one, {"n_layers": 3})
    with pytest.raises(CheckpointError, match="decoder_layers is 0: expected at least 1"):
        join_parts(one, one, {"decoder_layers": 0})


def test_languages_are_taken_by_name(tmp_path: Path) -> None:
    first = opened(tmp_path / "a")
    second = opened(tmp_path / "b", n_langs=3, lang2id={"ro": 0, "fr": 1, "en": 2})
    joined = join_parts(first, second, {})
    assert joined.config.lang2id == {"en": 0, "fr": 1, "ro": 2}
    tables = {}
    for part, source in (("encoder", first), ("decoder", second)):
        tables[part] = joined.tensors[f"{part}.lang_embeddings.weight"].read()
        own = source.tensors["transformer.lang_embeddings.weight"].read()
        for name, row in source.config.lang2id.items():
            assert np.array_equal(tables[part][joined.config.lang2id[name]], own[row]), name
    assert joined.fresh_rows == {"encoder.lang_embeddings.weight": (2,)}
    with pytest.warns(XLMWarning, match="encoder.lang_embeddings.weight of ro"):
        match_checkpoint(joined, ENCODER_DECODER)
    table = {"fr": 0, "de": 1}
    chosen = join_parts(first, first, {"lang2id": table})
    assert (chosen.config.n_langs, chosen.config.lang2id) == (2, table)
    assert {*chosen.fresh_rows.values()} == {(1,)}


def test_an_encoder_decoder_gives_its_part_of_the_same_name(tmp_path: Path) -> None:
    both = opened(tmp_path / "a", ENCODER_DECODER)
    joined = join_parts(opened(tmp_path / "b"), both, {})
    assert not fresh_of(joined)
    path = "decoder.encoder_attn.1.k_lin.weight"
    assert np.array_equal(joined.tensors[path].read(), both.tensors[path].read())


def test_a_part_alone(tmp_path: Path) -> None:
    joined = join_parts(opened(tmp_path), None, {})
    fresh = fresh_of(joined)
    assert {path.partition(".")[0] for path in fresh} == {"decoder"}
    assert "decoder.embeddings.weight" in fresh


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"emb_dim": 16}, "emb_dim is 12 in .* and 16 in "),
        ({"vocab_size": 54}, "vocab_size is 53 in .* and 54 in "),
        ({"n_heads": 2}, "n_heads is 4 in .* and 2 in "),
        ({"gelu_activation": False}, "gelu_activation is True in .* and False in "),
        ({"eos_index": 7}, "eos_index is 1 in .* and 7 in "),
        ({"use_lang_emb": False}, "has embeddings of 2 languages, .* has none"),
    ],
)
def test_parts_that_do_not_go_together(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    first, second = opened(tmp_path / "a"), opened(tmp_path / "b", **fields)
    with pytest.raises(CheckpointError, match=f"do not go together: .*{message}"):
        join_parts(first, second, {})


def test_vocabularies_of_one_size_and_other_words(tmp_path: Path) -> None:
    checkpoints = [opened(tmp_path / name) for name in "ab"]
    for checkpoint, word in zip(checkpoints, "xy", strict=True):
        (checkpoint.folder / "vocab.json").write_text(f'{{"{word}": 0}}')
    with pytest.raises(CheckpointError, match="of one size and of different words"):
        join_parts(*checkpoints, {})
    assert join_parts(checkpoints[0], checkpoints[0], {})


def test_what_no_part_can_be(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has pruned heads"):
        join_parts(opened(tmp_path / "a", kind="pruned"), None, {})
    broken = opened(tmp_path / "b")
    tensors = {n: t for n, t in broken.tensors.items() if "ffns.0" not in n}
    with pytest.raises(CheckpointError, match=r"missing \(4\): ffns.0.lin1.weight"):
        join_parts(None, Checkpoint(broken.config, tensors, "broken"), {})
    with pytest.raises(UnknownArgumentError, match="decoder_layer"):
        join_parts(opened(tmp_path / "c"), None, {"decoder_layer": 1})
