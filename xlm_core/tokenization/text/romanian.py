"""Romanian without its diacritics, as WMT16's systems and the original's en-ro models have it."""

from __future__ import annotations

from xlm_core.tokenization.text.rules import apply, replace

# Sennrich's scripts for the Romanian of WMT16: one spelling of s and t with cedilla or comma,
# then no diacritics at all.
ROMANIAN = tuple(
    replace(old, new) for old, new in zip("ŞşȘșŢţȚțĂăÂâÎî", "SsSsTtTtAaAaIi", strict=True)
)


def without_romanian_diacritics(text: str) -> str:
    """`text` with ș, ț, ă, â and î, in either spelling, as s, t, a and i."""
    return apply(ROMANIAN, text)
