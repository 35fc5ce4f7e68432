"""The framings that a call may ask for: sentences as pretrained, and prompts."""

from __future__ import annotations

from typing import Any

import pytest

from xlm_core.errors import InputError

TEXTS = ["abc de", "a"]
KINDS = [("sentence", [1]), ("prompt", [])]


@pytest.fixture(params=["v4", "v5", "original"])
def tokenizer(ours: Any, request: Any) -> Any:
    ours.mode = request.param
    ours.lang2id = {"en": 4, "fr": 6}
    return ours


@pytest.mark.parametrize(("kind", "end"), KINDS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch(tokenizer: Any, kind: str, end: list[int], side: str) -> None:
    def padded(row: list[int], pad: int, count: int) -> list[int]:
        return [pad] * count + row if side == "left" else row + [pad] * count

    batch = tokenizer(
        TEXTS,
        framing=kind,
        padding=True,
        padding_side=side,
        lang=["en", "fr"],
        return_langs=True,
        return_special_tokens_mask=True,
        return_offsets_mapping=True,
        return_token_type_ids=True,
    )
    ids = [[1, 31, 32, *end], padded([1, 15, *end], 2, 1)]
    assert batch["input_ids"] == ids
    assert batch["attention_mask"] == [[int(i != 2) for i in row] for row in ids]
    assert batch["special_tokens_mask"] == [[int(i in (1, 2)) for i in row] for row in ids]
    assert batch["langs"] == [[4] * len(ids[0]), [6] * len(ids[0])]
    zeros = [0] * len(end)
    assert [[list(span)[1] for span in row] for row in batch["offset_mapping"]] == [
        [0, 3, 6, *zeros],
        padded([0, 1, *zeros], 0, 1),
    ]
    assert batch.word_ids(0) == [None, 0, 1, *(None for _ in end)]
    assert [tokenizer.decode(row, skip_special_tokens=True) for row in ids] == TEXTS


@pytest.mark.parametrize(("kind", "end"), KINDS)
def test_one_text_cut(tokenizer: Any, kind: str, end: list[int]) -> None:
    tokenizer.truncation_side = "left"
    cut = dict(framing=kind, truncation=True, max_length=2 + len(end))
    assert tokenizer("abc de", **cut)["input_ids"] == [1, 32, *end]
    windows = tokenizer("abc de a", return_windows=True, **cut)["input_ids"]
    assert windows == [[1, 15, *end], [1, 32, *end], [1, 31, *end]]
    assert tokenizer("", framing=kind)["input_ids"] == [1, *end]
    assert tokenizer([20], framing=kind)["input_ids"] == [1, 20, *end]
    assert tokenizer(text_target="a", framing=kind)["input_ids"] == [1, 15, *end]
    with pytest.raises(InputError, match=f"the special tokens alone need {1 + len(end)}"):
        tokenizer("a", framing=kind, truncation=True, max_length=0)


def test_pairs(tokenizer: Any) -> None:
    assert tokenizer([20], [21], framing="sentence")["input_ids"] == [1, 20, 1, 21, 1]
    with pytest.raises(InputError, match="framing='prompt' is for one text"):
        tokenizer("a", "a", framing="prompt")


def test_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"framing='promt' is not known.* mean 'prompt'\?"):
        tokenizer("a", framing="promt")
    with pytest.raises(InputError, match="framing='prompt' with add_special_tokens=False"):
        tokenizer("a", framing="prompt", add_special_tokens=False)
