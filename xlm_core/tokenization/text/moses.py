"""The Moses tokenizer: splits words and punctuation.

Two dialects: Perl's tokenizer.perl of August 2019, which prepared the text that XLM was trained
on, and sacremoses 0.2.0, which transformers uses. They differ in what is a letter (characters.py),
in the last period of a text, in colons (Finnish, Swedish), in apostrophes (Irish, Somali) and in
the word DOTMULTI.
Source: scripts/tokenizer/tokenizer.perl of Moses; sacremoses' tokenize.py.
"""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import category

from xlm_core.tokenization.text.aligned_text import AlignedText
from xlm_core.tokenization.text.characters import perl_classes, sacremoses_classes
from xlm_core.tokenization.text.prefixes import perl_prefixes, sacremoses_prefixes
from xlm_core.tokenization.text.rules import Rule, apply, compute, replace, rewrite

# Stands for each period of a run while single periods are looked at. Private use: no text that
# gets here holds it, since characters of category C are gone by then.
_DOT = "\ue000"

_WORD = re.compile(r"\S+")
_ONE_BLANK = rewrite(r"\s+", " ", trigger="")


class Moses:
    """Splits the normalised text of one language into words.

    Args:
        language: Code such as "en"; an unknown one gets the abbreviations of English.
        perl: Perl's dialect, rather than sacremoses'.
    """

    def __init__(self, language: str, *, perl: bool) -> None:
        self.perl = perl
        script = language if language in ("ko", "zh", "ja") else ""
        self._classes = perl_classes() if perl else sacremoses_classes(script)
        self._prefixes = (perl_prefixes if perl else sacremoses_prefixes)(language)
        self._before_periods = self._separations(language)
        self._after_periods = (
            rewrite(r"\.' ?$", " . ' ", trigger=".'"),
            replace(_DOT, "."),
            # The script's own mark for runs of periods; a text that holds the word gets periods.
            compute("(?:DOT)+MULTI", lambda m: "." * ((len(m[0]) - 5) // 3), trigger="DOTMULTI"),
        )
        # Nothing but letters and digits: one word, whatever stands around it.
        self.is_plain = re.compile(f"[{self._classes.alnum}]+").fullmatch

    def words(self, text: str) -> list[str]:
        """The words of `text`."""
        text = apply(self._before_periods, " ".join(text.split()))
        for position in reversed(self._final_periods(text)):
            text = f"{text[:position]} {text[position:]}"
        return apply(self._after_periods, " ".join(text.split())).split()

    def words_aligned(self, text: AlignedText) -> list[AlignedText]:
        """The words of `text`, each with its spans: the same steps as `words`."""
        if not text.text.strip():
            return []
        text = text.apply((_ONE_BLANK,)).strip().apply(self._before_periods)
        text = text.insert_spaces(self._final_periods(text.text))
        return text.apply((_ONE_BLANK,)).strip().apply(self._after_periods).split()

    def state_after_period(self, char: str) -> str:
        """How a word that begins with `char` affects a period before it.

        One character of the same kind: "x" (goes on), "5" (a number) or "X" (anything else).
        """
        if self._classes.is_lower(char):
            return "x"
        return "5" if char in "0123456789" else "X"

    def _separations(self, language: str) -> list[Rule]:
        number, alnum = self._classes.number, self._classes.alnum
        rules: list[Rule] = []
        if self.perl and language in ("fi", "sv"):
            rules += (
                rewrite(rf"([^{alnum}\s.:'`,\-])", " ", 1, " ", trigger=""),
                # USA:n, 20:een: a colon stays before a lower-case letter.
                compute(
                    ":(?=(.?))",
                    lambda m: ":" if m[1] and category(m[1]) == "Ll" else " : ",
                    trigger=":",
                ),
            )
        else:
            rules.append(rewrite(rf"([^{alnum}\s.'`,\-])", " ", 1, " ", trigger=""))
        rules.append(compute(r"\.{2,}", _set_run_apart, trigger=".."))
        if self.perl:
            rules.append(compute(r"DOTMULTI\.", _lengthen_mark, trigger="DOTMULTI."))
        rules += (
            rewrite(f"([^{number}]),", 1, " , ", trigger=","),
            rewrite(f",([^{number}])", " , ", 1, trigger=","),
            rewrite(f"([{number}]),$", 1, " , ", trigger=","),
        )
        return rules + self._apostrophes(language)

    def _apostrophes(self, language: str) -> list[Rule]:
        alpha, number = self._classes.alpha, self._classes.number
        neither = rewrite(f"([^{alpha}])'([^{alpha}])", 1, " ' ", 2, trigger="'")
        before = rewrite(f"([^{alpha}])'([{alpha}])", 1, " ' ", 2, trigger="'")
        after = rewrite(f"([{alpha}])'([^{alpha}])", 1, " ' ", 2, trigger="'")
        if language == "en":
            return [
                neither,
                rewrite(f"([^{alpha}{number}])'([{alpha}])", 1, " ' ", 2, trigger="'"),
                after,
                rewrite(f"([{alpha}])'([{alpha}])", 1, " '", 2, trigger="'"),
                rewrite(f"([{number}])'(s)", 1, " '", 2, trigger="'"),
            ]
        if language in ("fr", "it") or (self.perl and language == "ga"):
            contraction = rewrite(f"([{alpha}])'([{alpha}])", 1, "' ", 2, trigger="'")
            return [neither, before, after, contraction]
        if self.perl and language == "so":
            return [neither, before, after]
        return [replace("'", " ' ")]

    def _final_periods(self, text: str) -> list[int]:
        """Where a word's last period is one of its own: the positions of these periods."""
        if "." not in text:
            return []
        positions = []
        spans = [match.span() for match in _WORD.finditer(text)]
        for i, (begin, end) in enumerate(spans):
            if text[end - 1] != "." or end - begin < 2:
                continue
            if i + 1 == len(spans):
                following = ""
            elif self.perl and spans[i + 1][0] > end + 1:
                # Perl splits at every single blank: between two of them is an empty word.
                following = " "
            else:
                following = text[spans[i + 1][0]]
            if not self._keeps_period(text[begin : end - 1], following):
                positions.append(end - 1)
        return positions

    def _keeps_period(self, word: str, following: str) -> bool:
        """Whether `word` keeps its period before a word that begins with `following`, if any."""
        if self.perl and not following:
            return False
        return (
            ("." in word and any(char in self._classes.letters for char in word))
            or word in self._prefixes.always
            or (following != "" and self._classes.is_lower(following))
            or (word in self._prefixes.before_number and following in tuple("0123456789"))
        )


@lru_cache(maxsize=128)
def moses(language: str, perl: bool) -> Moses:
    """The `Moses` of a language and dialect, made once."""
    return Moses(language, perl=perl)


def _set_run_apart(match: re.Match[str]) -> str:
    run = " " + _DOT * len(match[0])
    return run + " " if match.end() < len(match.string) else run


def _lengthen_mark(match: re.Match[str]) -> str:
    return "DOTDOTMULTI " if match.end() < len(match.string) else "DOTDOTMULTI"
