"""Segmenters: a base class, and one file for each language written without blanks between words.

The packages that do the work are optional, and load when a text needs them.
"""

from __future__ import annotations

from pathlib import Path

from xlm_core.tokenization.text.segmenters.chinese import Chinese
from xlm_core.tokenization.text.segmenters.japanese import DEFAULT_KYTEA_MODEL, Japanese
from xlm_core.tokenization.text.segmenters.segmenter import Segmenter
from xlm_core.tokenization.text.segmenters.thai import Thai

__all__ = ["DEFAULT_KYTEA_MODEL", "SEGMENTERS", "Segmenter", "segmenter_for"]

SEGMENTERS: dict[str, type[Segmenter]] = {kind.language: kind for kind in (Chinese, Japanese, Thai)}


def segmenter_for(
    language: str, *, kytea_model: str | Path = DEFAULT_KYTEA_MODEL
) -> Segmenter | None:
    """A new segmenter for `language`; None where words have blanks between them.

    Args:
        language: Code of the language.
        kytea_model: Path of the model with which KyTea splits Japanese.
    """
    if language == Japanese.language:
        return Japanese(kytea_model)
    kind = SEGMENTERS.get(language)
    return None if kind is None else kind()
