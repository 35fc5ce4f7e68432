"""Beams: the original's bookkeeping written plainly, and values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xlm_core.generation import BeamSearch


def search(beams: int = 2, limit: int = 5, **options: object) -> BeamSearch:
    settings: dict[str, object] = {
        "beams": beams, "returned": 1, "eos": (1,), "pad": 2, "closing": 1,
        "scoring": "original", "length_penalty": 1.0, "early_stopping": False,
    }  # fmt: skip
    settings |= options
    return BeamSearch(np.array([limit]), np.array([1]), **settings)  # type: ignore[arg-type]


def step(beams: BeamSearch, scores: list[float], indices: list[int], vocabulary: int = 10):  # type: ignore[no-untyped-def]
    return beams.step(np.array([scores]), np.array([indices]), vocabulary)


def test_a_sentence_that_ends() -> None:
    beams = search()
    assert beams.candidates == 4
    assert beams.scores.tolist() == [0, -1e9]
    first = step(beams, [-0.5, -1.0, -2.0, -3.0], [4, 1, 5, 6])
    assert first.ids.tolist() == [4, 5]
    assert first.sources.tolist() == [0, 0]
    assert first.scores.tolist() == [-0.5, -2.0]
    # The second beam's best is first, the first beam ends.
    second = step(beams, [-0.6, -0.7, -1.5, -2.5], [17, 1, 8, 9])
    assert second.ids.tolist() == [7, 8]
    assert second.sources.tolist() == [1, 0]
    # Finished: [1] with -1 / 1, [4, 1] with -0.7 / 2; -9 / 5 can beat neither.
    third = step(beams, [-9.0, -9.1, -9.2, -9.3], [3, 4, 5, 6])
    assert beams.done
    assert third.ids.size == 0
    sequences, scores = beams.finish()
    assert sequences.tolist() == [[4, 1]]
    assert scores.tolist() == [-0.35]


def test_the_token_at_the_limit_counts_and_is_replaced() -> None:
    beams = search(limit=1, returned=2)
    step(beams, [-0.5, -1.0, -2.0, -3.0], [4, 1, 5, 6])
    assert beams.done
    sequences, scores = beams.finish()
    assert sequences.tolist() == [[1], [1]]
    assert scores.tolist() == [-0.5, -1.0]


def test_transformers_divides_by_what_was_generated() -> None:
    beams = search(scoring="transformers", closing=None, early_stopping=True, returned=2)
    step(beams, [-0.5, -1.0, -2.0, -3.0], [4, 1, 5, 6])
    # The fourth ends, and is not among the best two.
    step(beams, [-0.6, -1.0, -1.5, -2.0], [17, 1, 8, 11])
    assert beams.done
    sequences, scores = beams.finish()
    assert sequences.tolist() == [[4, 1], [1, 2]]
    assert scores.tolist() == [-0.5, -1.0]


def test_an_end_that_is_ruled_out_finishes_nothing() -> None:
    beams = search()
    first = step(beams, [-0.5, -np.inf, -np.inf, -np.inf], [4, 1, 5, 6])
    assert not beams.done
    assert first.ids.tolist() == [4, 1]
    assert first.scores.tolist() == [-0.5, -np.inf]


@pytest.mark.parametrize("drops", [True, False])
def test_sentences_that_are_done_leave_the_batch_or_stay(drops: bool) -> None:
    beams = BeamSearch(
        np.array([1, 3]), np.array([1, 1]), beams=2, returned=1, eos=(1,), pad=2, closing=1,
        scoring="original", length_penalty=1.0, early_stopping=False, drops_finished=drops,
    )  # fmt: skip
    taken = beams.step(np.array([[-1.0, -2, -3, -4]] * 2), np.array([[4, 5, 6, 7]] * 2), 10)
    assert taken.ids.tolist() == ([4, 5] if drops else [2, 2, 4, 5])
    assert taken.sources.tolist() == ([2, 2] if drops else [0, 1, 2, 2])
    assert beams.sentences.tolist() == ([1] if drops else [0, 1])


class PlainHypotheses:
    """The finished sequences of the original, from the description of its scores."""

    def __init__(self, size: int, longest: int, penalty: float, early: bool) -> None:
        self.size, self.longest, self.penalty, self.early = size, longest, penalty, early
        self.kept: list[tuple[float, list[int]]] = []

    def add(self, ids: list[int], total: float) -> None:
        self.kept.append((total / len(ids) ** self.penalty, ids))
        if len(self.kept) > self.size:
            worst = min(range(len(self.kept)), key=lambda i: self.kept[i][0])
            del self.kept[worst]

    def is_done(self, best: float) -> bool:
        full = len(self.kept) >= self.size
        worst = min((score for score, _ in self.kept), default=0.0)
        return full and (self.early or worst >= best / self.longest**self.penalty)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 0.6, -1.0, 2.0])
@pytest.mark.parametrize("early", [False, True])
def test_as_a_plain_loop(penalty: float, early: bool) -> None:
    generator = np.random.default_rng(0)
    vocabulary, beams, limit = 7, 3, 6
    for _ in range(20):
        table = np.log(generator.dirichlet(np.ones(vocabulary), size=vocabulary))
        found = search(beams, limit, returned=3, length_penalty=penalty, early_stopping=early)
        plain = PlainHypotheses(beams, limit, penalty, early)
        rows, sums = [[1]] * beams, [0.0, -1e9, -1e9]
        last = np.ones(beams, dtype=int)
        for length in range(1, limit + 1):
            totals = table[[row[-1] for row in rows]] + np.array(sums)[:, None]
            best = np.argsort(-totals.ravel(), kind="stable")[: 2 * beams]
            scores = totals.ravel()[best]
            if not found.done:
                ours = table[last] + found.scores[:, None]
                order = np.argsort(-ours.ravel(), kind="stable")[: 2 * beams]
                last = found.step(ours.ravel()[order][None], order[None], vocabulary).ids
            if plain.is_done(scores.max()):
                break
            following: list[tuple[float, list[int]]] = []
            for score, index in zip(scores, best, strict=True):
                row, token = rows[index // vocabulary], int(index % vocabulary)
                if token == 1 or length == limit:
                    plain.add(row, score)
                else:
                    following.append((score, [*row, token]))
                if len(following) == beams:
                    break
            if not following:
                break
            sums, rows = [score for score, _ in following], [row for _, row in following]
        sequences, scores = found.finish()
        expected = sorted(plain.kept, key=lambda each: -each[0])
        for row, score, (total, ids) in zip(sequences, scores, expected, strict=True):
            assert [i for i in row.tolist() if i != 2] == [i for i in [*ids[1:], 1] if i != 2]
            assert score == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("scoring", ["original", "transformers"])
@pytest.mark.parametrize("early", [False, True])
def test_sentences_do_not_know_of_each_other(scoring: str, early: bool) -> None:
    """Of whole numbers, so that many candidates and finished sequences are equally good."""
    limits, prompts, vocabulary = np.array([6, 2, 9, 6, 1]), np.array([1, 3, 1, 2, 1]), 9
    settings: dict[str, object] = {
        "beams": 3, "returned": 3, "eos": (1, 3), "pad": 2, "closing": 1, "scoring": scoring,
        "length_penalty": 1.0, "early_stopping": early,
    }  # fmt: skip
    tables = np.random.default_rng(0).integers(-4, -1, (5, 9, 3, vocabulary)).astype(float)

    def found(numbers: list[int], *, drops: bool = True) -> tuple[list[list[int]], list[float]]:
        beams = BeamSearch(
            limits[numbers], prompts[numbers], drops_finished=drops, **settings  # type: ignore[arg-type]
        )  # fmt: skip
        for number in range(9):
            if beams.done:
                break
            tokens = tables[np.array(numbers)[beams.sentences], number]
            totals = tokens.reshape(-1, vocabulary) + beams.scores[:, None]
            totals = totals.reshape(len(beams.sentences), -1)
            order = np.argsort(-totals, axis=1, kind="stable")[:, : beams.candidates]
            beams.step(np.take_along_axis(totals, order, axis=1), order, vocabulary)
        assert beams.done
        sequences, scores = beams.finish()
        return [[i for i in row if i != 2] for row in sequences.tolist()], scores.tolist()

    together = found([0, 1, 2, 3, 4])
    assert found([0, 1, 2, 3, 4], drops=False) == together
    alone = [found([number]) for number in range(5)]
    assert [row for rows, _ in alone for row in rows] == together[0]
    assert [score for _, scores in alone for score in scores] == together[1]
