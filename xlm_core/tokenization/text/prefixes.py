"""Nonbreaking prefixes: words that keep their period, as "Mr.", or before a number, as "No. 5".

The lists are Moses' own; sacremoses carries them as they are today. Perl's scripts of August 2019
had fewer of them: `_ADDED_LATER` says which words to leave out.
Source: scripts/share/nonbreaking_prefixes of Moses, and sacremoses' copy of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class Prefixes:
    """Words after which a period stays: always, or only where a number follows."""

    always: frozenset[str]
    before_number: frozenset[str]


_LANGUAGES_OF_2019 = "ca cs de el en es fi fr ga hu is it lt lv nl pl pt ro ru sk sl sv ta yue zh"
_PERL_LANGUAGES = frozenset(_LANGUAGES_OF_2019.split())

# Not in the lists of August 2019, or written there with a blank at the end that no word matches.
_ADDED_LATER = {
    "en": "Rs",
    "es": "Fil gr pÃ¡g",
    "it": "Amn Arch a.c all es",
    "nl": "Nrs",
    "sk": "Pf",
    "sv": "adv apr aug d d.v.s dec f feb fil fr.o.m i.a.f jan jul jun jur kand lic m.a.o m.fl "
    "m.h.a m.m mag mar mha nov o.s.v okt p.g.a prop s sep t.ex t.o.m vol Ä Å Ö",
}


@lru_cache(maxsize=128)
def sacremoses_prefixes(language: str) -> Prefixes:
    """The list that sacremoses uses for `language`; English for one it does not know."""
    from sacremoses.tokenize import MosesTokenizer

    moses = MosesTokenizer(lang=language)
    before_number = frozenset(moses.NUMERIC_ONLY_PREFIXES)
    return Prefixes(frozenset(moses.NONBREAKING_PREFIXES) - before_number, before_number)


@lru_cache(maxsize=128)
def perl_prefixes(language: str) -> Prefixes:
    """The list of August 2019 for `language`; English for one without a file."""
    if language not in _PERL_LANGUAGES:
        language = "en"
    if language == "ta":
        return _tamil()
    known = sacremoses_prefixes(language)
    always = known.always - set(_ADDED_LATER.get(language, "").split())
    before_number = known.before_number
    if language == "is":
        # Listed twice in the file, and there the later line wins.
        always, before_number = always | {"no"}, before_number - {"no"}
    return Prefixes(always, before_number)


def _tamil() -> Prefixes:
    """The list of 2019: single vowels and syllables, a few titles; replaced since."""
    signs = ("", *"ாிீுூெேைொோௌ", "்")
    syllables = {consonant + sign for consonant in "கசடதபறயரலவளழஙஞணநமன" for sign in signs}
    # Four lines end in a blank, and so never match.
    syllables -= {"ங்", "ஞ்", "ந்", "ம்"}
    words = """அ ஆ இ ஈ உ ஊ எ ஏ ஐ ஒ ஓ ஔ ஃ திரு திருமதி வண கௌரவ உ.ம் Nos Nr"""
    return Prefixes(frozenset(syllables.union(words.split())), frozenset(("No", "Art", "pp")))
