"""Collated examples in Keras' `fit` and in tf.data."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.support.translation import small_config
from xlm_core import InputError, XLMConfig
from xlm_tf import TFXLMForConditionalGeneration, TFXLMWithLMHeadModel
from xlm_tf.training import ObjectiveCollator, collated_dataset

SIZES: dict[str, Any] = {"vocab_size": 40, "emb_dim": 16, "n_layers": 1, "n_heads": 2}
LANGS: dict[str, Any] = {"n_langs": 2, "lang2id": {"en": 0, "fr": 1}}


def rows(count: int = 10, *, translated: bool = False) -> list[dict[str, Any]]:
    draw = np.random.default_rng(0)
    texts = [[1, *draw.integers(14, 40, 3 + at % 5).tolist(), 1] for at in range(count)]
    return [{"input_ids": text} | ({"labels": text} if translated else {}) for text in texts]


def test_fit_takes_collated_batches() -> None:
    config = XLMConfig(**SIZES, **LANGS)
    collator = ObjectiveCollator(config, "mlm", "fr", seed=1)
    data = collated_dataset(rows(), collator, batch_size=4)
    model = TFXLMWithLMHeadModel(config)
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    fit: dict[str, Any] = {"verbose": 0, "shuffle": False}
    losses = model.fit(data, epochs=4, steps_per_epoch=3, **fit).history["loss"]
    assert losses[-1] < losses[0]
    assert collator.epoch == 0
    once = collated_dataset(rows(), collator, batch_size=4, shuffle=False, epochs=1)
    assert [len(batch["input_ids"]) for batch in once] == [4, 4, 2]


def test_order_and_masks_follow_seed_and_epoch() -> None:
    config = XLMConfig(**SIZES)

    def labels(seed: int | None, **more: Any) -> list[Any]:
        collator = ObjectiveCollator(config, "mlm", seed=seed)
        data = collated_dataset(rows(), collator, **{"batch_size": 4, "epochs": 2} | more)
        return [batch["labels"].numpy().tolist() for batch in data]

    first = labels(1)
    assert labels(1) == first
    assert labels(2) != first
    assert first[:3] != first[3:]
    assert labels(1, epochs=1, first_epoch=1) == first[3:]
    keras.utils.set_random_seed(3)
    drawn = labels(None)
    keras.utils.set_random_seed(3)
    assert labels(None) == drawn
    assert labels(None) != drawn
    in_order = ObjectiveCollator(config, "mlm", seed=1)
    indexed = [row | {"index": at} for at, row in enumerate(rows())]
    assert labels(1, shuffle=False)[0] == in_order.arrays(indexed[:4])["labels"].tolist()


@pytest.mark.parametrize("objective", ["mlm", "clm", "tlm", "mt"])
def test_a_dataset_of_collated_batches(objective: str) -> None:
    translated = objective in ("tlm", "mt")
    if objective == "mt":
        config = small_config(vocab_size=40, **LANGS)
        model: Any = TFXLMForConditionalGeneration(config)
    else:
        config = XLMConfig(**SIZES, **LANGS, causal=objective == "clm")
        model = TFXLMWithLMHeadModel(config)
    collator = ObjectiveCollator(config, objective, ("en", "fr") if translated else "fr")
    texts = rows(translated=translated)

    def batches() -> Any:
        for first in range(0, len(texts), 4):
            yield collator(texts[first : first + 4])

    data = tf.data.Dataset.from_generator(batches, output_signature=collator.output_signature)
    found = next(iter(data))
    assert set(found) == set(collator.arrays(texts[:1]))
    assert np.isfinite(model(found).loss)


def test_what_is_refused() -> None:
    collator = ObjectiveCollator(XLMConfig(**SIZES), "mlm")
    with pytest.raises(InputError, match="there are no examples"):
        collated_dataset([], collator)
    with pytest.raises(InputError, match="batch_size is 0"):
        collated_dataset(rows(), collator, batch_size=0)
    with pytest.raises(InputError, match="one mapping of input_ids: expected a list"):
        collated_dataset({"input_ids": [[1, 14, 1]]}, collator)  # type: ignore[arg-type]
