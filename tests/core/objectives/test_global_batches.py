"""A seed gives the same global batches, however many share them and whoever reads them."""

from __future__ import annotations

import pickle
import random
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tests.core.objectives.test_statistics import EN, FR, model
from xlm_core.objectives import Batch, ObjectiveSettings, Task, TrainingBatches

TASKS = [
    Task("mlm", ("en",)),
    Task("mlm", ("fr",)),
    Task("tlm", ("en", "fr")),
    Task("mt", ("fr", "en")),
]
ARRAYS = ("input_ids", "lengths", "labels", "langs", "position_ids", "decoder_langs")


def made(seed: int, **settings: Any) -> TrainingBatches:
    return TrainingBatches(
        model(),
        TASKS,
        corpora={"en": EN, "fr": FR},
        pairs={("en", "fr"): (EN, FR)},
        settings=ObjectiveSettings(**settings),
        seed=seed,
    )


def joined(pieces: list[Batch], name: str) -> Any:
    arrays = [getattr(piece, name) for piece in pieces]
    return None if arrays[0] is None else np.concatenate(arrays)


@pytest.mark.parametrize("case", range(25))
def test_any_division_is_of_the_same_batches(case: int) -> None:
    draw = random.Random(case)
    seed, first = draw.randrange(1 << 40), draw.choice([0, 3, 5000])
    sizes: dict[str, Any] = {"parts": draw.randint(1, 6), "max_len": 60, "bptt": 32}
    sizes |= draw.choice([{"batch_size": draw.randint(1, 9)}, {"tokens_per_batch": 300}])
    sizes |= {"group_by_size": draw.random() < 0.5, "max_batch_size": draw.choice([0, 5])}
    sizes["multiple_of"] = draw.choice([1, 1, 2])
    ranks, readers, steps = draw.randint(1, 5), draw.randint(1, 4), 7
    whole_parts = draw.random() < 0.5
    whole = [made(seed, **sizes).global_batch(first + step) for step in range(steps)]
    read: list[list[list[Batch]]] = []
    for rank in range(ranks):
        # Every reader is a process of its own, which has read nothing of what came before.
        sources = [
            made(seed, **sizes).iterate(
                first,
                rank=rank,
                ranks=ranks,
                reader=reader,
                readers=readers,
                whole_parts=whole_parts,
            )
            for reader in range(readers)
        ]
        read.append([next(sources[step % readers]) for step in range(steps)])
    for step, parts in enumerate(whole):
        local = [read[rank][step] for rank in range(ranks)]
        if sizes["parts"] % ranks == 0 and (whole_parts or ranks == 1):
            pieces = [[each] for mine in local for each in mine]
        else:
            pieces = [[mine[place] for mine in local] for place in range(len(parts))]
        assert len(pieces) == len(parts)
        for part, own in zip(parts, pieces, strict=True):
            assert {each.task for each in own} == {part.task}
            for name in ARRAYS:
                np.testing.assert_array_equal(joined(own, name), getattr(part, name))


def test_parts_draw_their_languages_for_themselves() -> None:
    run = made(1, parts=4, batch_size=2, bptt=16)
    tasks = [[part.task for part in run.global_batch(step)] for step in range(40)]
    assert any(len({*each}) > 1 for each in tasks)
    # All of a step are of one kind, as all GPUs of the original work on one.
    assert all(len({(t.objective, len(t.languages)) for t in each}) == 1 for each in tasks)


def test_another_seed_gives_other_batches() -> None:
    one, two = (made(seed, batch_size=4, bptt=16).iterate() for seed in (1, 2))
    differ = [
        not np.array_equal(a[0].input_ids, b[0].input_ids) or a[0].task != b[0].task
        for a, b in islice(zip(one, two, strict=True), 20)
    ]
    assert all(differ)


def test_batches_can_be_sent_to_other_processes() -> None:
    batch = made(1, batch_size=2, bptt=16).part(3, 0)
    again = pickle.loads(pickle.dumps(batch))
    assert again.task == batch.task
    np.testing.assert_array_equal(again.input_ids, batch.input_ids)
