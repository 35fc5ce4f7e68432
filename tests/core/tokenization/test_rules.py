"""Rules: each needs its trigger, and the shortcuts around them leave none out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzz_text import PUNCTUATION, fuzz_texts
from tests.support.tokenizer_parts import (
    control_characters,
    romanian_rules,
    rules_of,
    rules_of_normalization,
)
from xlm_core.tokenization.text.pipeline import Pipeline
from xlm_core.tokenization.text.rules import Rule, apply, compute, replace, rewrite

LANGUAGES = ("en", "de", "fr", "ga", "fi", "so", "cs", "ko", "zh")
DIALECTS = pytest.mark.parametrize("perl", [False, True], ids=["sacremoses", "perl"])
# Whatever any rule looks at, often; everything else now and then.
ALPHABET = "".join(sorted({*"".join(PUNCTUATION), *" \t\r\n\u00a0\ue000aAbsn5٣²DOTMULTIcm"}))
dense = st.text(st.one_of(st.sampled_from(ALPHABET), st.characters()), max_size=12)


def every_rule(perl: bool) -> list[Rule]:
    """Each once; what `compute` was given is made anew in every language."""
    found = {}
    for language in LANGUAGES:
        for rule in rules_of(language, perl):
            found[rule.pattern.pattern, rule.trigger, str(rule.replacement)] = rule
    return list(found.values())


@DIALECTS
def test_a_rule_does_nothing_without_its_trigger(perl: bool) -> None:
    rules = [rule for rule in every_rule(perl) if rule.trigger]
    assert len(rules) > 90

    @given(text=dense)
    def check(text: str) -> None:
        for rule in rules:
            # Without it, also where its characters stand apart.
            without = text
            while rule.trigger in without:
                without = without.replace(rule.trigger, rule.trigger[:-1])
            assert not rule.pattern.search(without), (rule.pattern.pattern[:80], rule.trigger)
            assert rule.sub(without) == without

    check()


@DIALECTS
def test_a_rule_acts_on_its_own_trigger(perl: bool) -> None:
    """No rule is dead: around its trigger, some text makes it match."""
    around = ("", "a", "5", "s", " ", ".", ",", "'", '"', "\u00a0", "x y", ")", "x.")
    for rule in every_rule(perl):
        texts = (left + rule.trigger + right for left in around for right in around)
        assert any(rule.pattern.search(text) for text in texts), rule.pattern.pattern[:80]


@DIALECTS
def test_literals_are_their_patterns(perl: bool) -> None:
    @given(text=dense)
    def check(text: str) -> None:
        for rule in every_rule(perl):
            assert rule.sub(text) == rule.pattern.sub(rule.template, text)

    check()


@pytest.mark.parametrize("language", ["en", "de", "cs", "ro", "zh"])
@pytest.mark.parametrize("mode", ["v5", "original"])
def test_shortcuts_of_normalize(language: str, mode: str) -> None:
    """`normalize` skips rules that a search says are not needed: every rule must give the same."""
    pipeline = Pipeline(mode, language, lowercase=True)

    def plain(text: str) -> str:
        text = apply(rules_of_normalization(pipeline), text + "\n" if pipeline.perl else text)
        text = text[:-1] if pipeline.perl else text.strip()
        text = text.translate(control_characters(pipeline))
        return apply(romanian_rules(), text) if language == "ro" and not pipeline.perl else text

    @given(text=dense)
    def check(text: str) -> None:
        assert pipeline.normalize(text) == plain(text)

    check()
    for text in fuzz_texts(200, seed=31):
        assert pipeline.normalize(text) == plain(text), ascii(text)


def test_by_hand() -> None:
    assert replace("a", r"\1").sub("bab") == r"b\1b"
    assert rewrite("(a)(b)", 2, r"\n", 1, trigger="ab").sub("xabab") == r"xb\nab\na"
    assert compute("a+", lambda m: str(len(m[0])), trigger="a").sub("aab") == "2b"
    rules = (replace("a", "b"), replace("b", "c"))
    assert apply(rules, "ab") == "cc"
    assert apply((rewrite("b", "c", trigger="x"),), "ab") == "ab"
