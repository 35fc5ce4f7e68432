"""Figures of an evaluation, and early stopping."""

from __future__ import annotations

import math

import pytest

from xlm_core.objectives import Task
from xlm_core.training.figures import Stopping, Tally, figure_name, figures_of

EN, FR = Task("mlm", ("en",)), Task("mlm", ("fr",))
TLM, MT = Task("tlm", ("en", "fr")), Task("mt", ("fr", "en"))


def test_figures_are_named_as_by_the_original() -> None:
    assert figure_name("valid", EN, "ppl") == "valid_en_mlm_ppl"
    assert figure_name("test", TLM, "acc") == "test_en_fr_mlm_acc"
    assert figure_name("valid", MT, "bleu") == "valid_fr-en_mt_bleu"
    assert figure_name("valid", Task("clm", ("en", "fr")), "ppl") == "valid_en-fr_clm_ppl"


def test_sums_become_figures() -> None:
    tallies = {EN: Tally(), FR: Tally(2 * math.log(5), 2, 1), TLM: Tally(0.0, 1, 1)}
    tallies[EN].add(math.log(3), 1, 0)
    tallies[EN].add(math.log(3), 1, 2)
    figures = figures_of("valid", tallies)
    assert figures["valid_en_mlm_ppl"] == pytest.approx(3)
    assert figures["valid_en_mlm_acc"] == 100
    assert figures["valid_mlm_ppl"] == pytest.approx(4)  # pairs are not among the languages
    assert figures["valid_mlm_acc"] == 75
    clm = Task("clm", ("en",))
    assert "valid_en_clm_word_ppl" not in figures_of("valid", {clm: Tally(1.0, 1, 1)})
    per_word = figures_of("valid", {clm: Tally(2 * math.log(5), 4, 1, words=2)})
    assert per_word["valid_en_clm_word_ppl"] == pytest.approx(5)
    assert Tally(1e6, 1).perplexity == math.inf
    assert math.isnan(Tally().perplexity)


def test_a_run_stops_when_nothing_gets_better() -> None:
    stopping = Stopping("valid_mlm_ppl", patience=1)
    ends = []
    for value in (5.0, 4.0, 4.5, 3.0, math.nan, 3.0):
        better = stopping.is_better({"valid_mlm_ppl": value})
        ends.append((better, stopping.is_over))
    assert [better for better, _ in ends] == [True, True, False, True, False, False]
    assert [over for _, over in ends] == [False] * 5 + [True]
    again = Stopping("valid_mlm_ppl", patience=1)
    again.resume(stopping.state())
    assert again.is_over
    more = Stopping("valid_en_mlm_acc")
    assert [more.is_better({"valid_en_mlm_acc": x}) for x in (1, 2, 1)] == [True, True, False]
    never = Stopping(None)
    assert not never.is_better({})
    assert not never.is_over
