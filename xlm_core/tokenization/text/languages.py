"""Languages: the ones that are known where a tokenizer has no table of its own."""

from __future__ import annotations

from collections.abc import Collection

from xlm_core.errors import UnknownLanguageError

# The languages of the published model of 100, and those that Moses has abbreviations for.
_LANGUAGES = """
    af als am an ang ar arz ast az bar be bg bn br bs ca ceb ckb cs cy da de el en eo es et eu fa fi
    fr fy ga gan gl gu he hi hr hu hy ia id is it ja jv ka kk kn ko ku la lb lt lv mk ml mn mr ms my
    nds ne nl nn no oc pl pt ro ru scn sco sh si simple sk sl sq sr sv sw ta te th tl tr tt uk ur uz
    vi war wuu yi zh zh_classical zh_min_nan zh_yue
    as cz mni or pa so tdt yue
"""
KNOWN_LANGUAGES = frozenset(_LANGUAGES.split())


def check_language(language: object, known: Collection[str]) -> str:
    """`language`, if it is among `known`.

    Raises:
        UnknownLanguageError: It is not; the message lists the known ones.
    """
    if not isinstance(language, str) or language not in known:
        raise UnknownLanguageError(
            f"Unknown language {language!r}. This tokenizer knows: {', '.join(sorted(known))}."
        )
    return language
