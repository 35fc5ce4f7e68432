"""Chinese."""

from __future__ import annotations

from xlm_core.tokenization.text.segmenters.segmenter import Segmenter


class Chinese(Segmenter):
    """Splits Chinese with rjieba, as transformers does; the original used Stanford's segmenter."""

    language = "zh"
    package = "rjieba"
    before_normalization = True

    def split(self, text: str) -> list[str]:
        """The words of `text`."""
        try:
            import rjieba
        except ImportError as error:
            raise self.missing_package() from error
        return list(rjieba.cut(text))
