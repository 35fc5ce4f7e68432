"""Normalisation of punctuation, as rules in the order in which they are applied.

Sources: replace-unicode-punctuation.perl and normalize-punctuation.perl of Moses (August 2019),
and sacremoses' normalize.py, which transformers uses. Where the two differ, the rule says so.
"""

from __future__ import annotations

import re
from functools import lru_cache

from xlm_core.tokenization.text.rules import Rule, compute, replace, rewrite

NBSP = "\N{NO-BREAK SPACE}"

# One character each, whatever the order.
_UNICODE_PUNCTUATION = {
    **dict(zip("，、；：∶？！％～’━", ",,;::?!%~'-", strict=True)),
    **dict.fromkeys("“”「」《》", '"'),
    **dict(zip("（）【】〈〉", "()[]<>", strict=True)),
    **dict(zip("０２３４５６７８９", "023456789", strict=True)),
    "…": "...",
}


@lru_cache(maxsize=2)
def unicode_punctuation(perl: bool) -> tuple[Rule, ...]:
    """Rules that turn full-width and typographic punctuation into ASCII."""
    # The script of August 2019 wrote a quote for the full-width one; corrected in October.
    digit_one = '"' if perl else "1"
    # Perl reads bytes here: only a blank is taken away after a full stop.
    space = " " if perl else r"\s"
    return (
        *(replace(old, new) for old, new in {**_UNICODE_PUNCTUATION, "１": digit_one}.items()),
        rewrite(f"。{space}*", ". ", trigger="。"),
        rewrite(f"．{space}*", ". ", trigger="．"),
    )


@lru_cache(maxsize=64)
def normalization(language: str, perl: bool) -> tuple[Rule, ...]:
    """Rules that normalise punctuation for `language`, in the dialect of Perl or of sacremoses."""
    digit = "[0-9]" if perl else r"\d"
    # Perl makes a double quote of a lone single one; corrected in November 2019.
    single = '"' if perl else "'"
    blank_before, blank_after = (' "', '" ') if perl else ('"', '"')
    one_blank = rewrite("  +", " ", trigger="  ")
    return (
        replace("\r", ""),
        replace("(", " ("),
        replace(")", ") "),
        one_blank,
        rewrite(r"\) ([.!:?;,])", ")", 1, trigger=") "),
        replace("( ", "("),
        replace(" )", ")"),
        rewrite(f"({digit}) %", 1, "%", trigger=" %"),
        replace(" :", ":"),
        replace(" ;", ";"),
        replace("`", "'"),
        replace("''", ' " '),
        replace("„", '"'),
        replace("“", '"'),
        replace("”", '"'),
        replace("–", "-"),
        replace("—", " - "),
        one_blank,
        replace("´", "'"),
        rewrite("([a-zA-Z])‘([a-zA-Z])", 1, "'", 2, trigger="‘"),
        rewrite("([a-zA-Z])’([a-zA-Z])", 1, "'", 2, trigger="’"),
        replace("‘", single),
        replace("‚", single),
        replace("’", '"' if perl else "'"),
        replace("''", '"'),
        replace("´´", '"'),
        replace("…", "..."),
        replace(f"{NBSP}«{NBSP}", blank_before),
        replace(f"«{NBSP}", '"'),
        replace("«", '"'),
        replace(f"{NBSP}»{NBSP}", blank_after),
        replace(f"{NBSP}»", '"'),
        replace("»", '"'),
        replace(f"{NBSP}%", "%"),
        replace(f"nº{NBSP}", "nº "),
        replace(f"{NBSP}:", ":"),
        replace(f"{NBSP}ºC", " ºC"),
        replace(f"{NBSP}cm", " cm"),
        replace(f"{NBSP}?", "?"),
        replace(f"{NBSP}!", "!"),
        replace(f"{NBSP};", ";"),
        replace(f",{NBSP}", ", "),
        one_blank,
        *_quotes_and_commas(language, perl),
        rewrite(
            f"({digit}){NBSP}({digit})",
            *(1, "," if language in ("de", "es", "cz", "cs", "fr") else ".", 2),
            trigger=NBSP,
        ),
    )


def _quotes_and_commas(language: str, perl: bool) -> tuple[Rule, ...]:
    """Rules for the order of a closing quote and a comma or period."""
    if language == "en":
        return (rewrite('"([,.]+)', 1, '"', trigger='"'),)
    # sacremoses knows three languages here, Perl all but Czech.
    applies = language not in ("cs", "cz") if perl else language in ("de", "es", "fr")
    if not applies:
        return ()
    space = r"[ \t\n\r\f\v]" if perl else r"\s"
    moved = rf'(\.+)"({space}*[^<])'
    swap = re.compile(moved)
    return (
        replace(',"', '",'),
        # `moved` alone would be tried at every period of a long run that no quote follows: look
        # only where a run begins, and on from there while one match follows another.
        compute(
            rf'(?<!\.)\.++"{space}*[^<](?:\.++"{space}*[^<])*',
            lambda match: swap.sub(r'"\1\2', match[0]),
            trigger='."',
        ),
    )
