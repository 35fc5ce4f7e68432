"""`generate` gives the ids that transformers' own class gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from xlm_core.errors import UnknownArgumentError

PROMPT = torch.tensor([[0, 14, 15, 16], [0, 21, 9, 30]])
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "sampled": {"do_sample": True, "top_k": 20},
    "sampled beams": {"do_sample": True, "num_beams": 2},
    "penalties": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
}


def generated(model: Any, **options: Any) -> torch.Tensor:
    torch.manual_seed(0)
    # transformers 5 caches the keys of this bidirectional model, the appended mask's among them,
    # and gives other ids than without; 4 and this library cache nothing.
    ids: torch.Tensor = model.generate(PROMPT, max_new_tokens=7, use_cache=False, **options)
    return ids


@pytest.fixture(scope="module")
def pairs(kind: Any, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(ours, theirs): the checkpoint, and random ones that come upon padding and end tokens."""
    theirs = transformers.XLMWithLMHeadModel
    found = [(kind.XLMWithLMHeadModel.from_pretrained(folder), theirs.from_pretrained(folder))]
    for seed, fields in enumerate(({}, {"eos_token_id": 1}, {"causal": True, "lang_id": 1})):
        path = tmp_path_factory.mktemp("random")
        torch.manual_seed(seed)
        config = transformers.XLMConfig(
            vocab_size=31, emb_dim=12, n_layers=2, n_heads=3, n_langs=2, init_std=0.7,
            embed_init_std=1.0, max_position_embeddings=32, **fields,
        )  # fmt: skip
        theirs(config).save_pretrained(path)
        found.append((kind.XLMWithLMHeadModel.from_pretrained(path), theirs.from_pretrained(path)))
    return found


@pytest.mark.parametrize("way", WAYS)
def test_ids_are_transformers_own(pairs: Any, way: str) -> None:
    for ours, theirs in pairs:
        assert torch.equal(generated(ours, **WAYS[way]), generated(theirs.eval(), **WAYS[way]))


def test_a_padded_prompt_counts_as_it_would_alone(kind: Any, folder: Path) -> None:
    model = kind.XLMWithLMHeadModel.from_pretrained(folder)
    alone = model.generate(PROMPT[:1], max_new_tokens=4)
    positions = torch.tensor([[2, 2, *PROMPT[0].tolist()]])
    padded = model.generate(positions, attention_mask=(positions != 2).long(), max_new_tokens=4)
    assert padded.shape == (1, 10)
    # Positions are counted from the first column, padding or not: ids may differ, tokens are seen.
    visible = model.prepare_inputs_for_generation(positions, attention_mask=positions != 2)
    assert visible["attention_mask"].tolist() == [[0, 0, 1, 1, 1, 1, 1]]
    assert alone.shape == (1, 8)


def test_languages_of_the_prompt_go_on(kind: Any, folder: Path) -> None:
    model = kind.XLMWithLMHeadModel.from_pretrained(folder)
    given = model.prepare_inputs_for_generation(PROMPT, langs=torch.ones(2, 3, dtype=torch.long))
    assert given["langs"].tolist() == [[1] * 5] * 2
    beams = model.generate(PROMPT, langs=torch.ones_like(PROMPT), num_beams=2, max_new_tokens=3)
    plain = model.generate(PROMPT, num_beams=2, max_new_tokens=3)
    assert not torch.equal(beams, plain)


def test_what_generate_does_not_take(kind: Any, folder: Path) -> None:
    model = kind.XLMWithLMHeadModel.from_pretrained(folder)
    with pytest.raises(UnknownArgumentError, match="inputs_embeds"):
        model.prepare_inputs_for_generation(PROMPT, inputs_embeds=torch.zeros(2, 4, 8))
    with pytest.raises(ValueError, match="no_such"):
        model.generate(PROMPT, no_such=1)


def test_the_generation_settings_of_a_folder(kind: Any, folder: Path, tmp_path: Path) -> None:
    model = kind.XLMWithLMHeadModel.from_pretrained(folder)
    model.generation_config.max_new_tokens = 3
    model.save_pretrained(tmp_path)
    again = kind.XLMWithLMHeadModel.from_pretrained(tmp_path)
    assert again.generate(PROMPT).shape == (2, 7)
