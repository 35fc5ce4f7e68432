"""Thai."""

from __future__ import annotations

from xlm_core.tokenization.text.segmenters.segmenter import Segmenter


class Thai(Segmenter):
    """Splits Thai with PyThaiNLP, which returns blanks as words too."""

    language = "th"
    package = "pythainlp"

    def split(self, text: str) -> list[str]:
        """The words of `text`."""
        try:
            from pythainlp.tokenize import word_tokenize
        except ImportError as error:
            raise self.missing_package() from error
        return list(word_tokenize(text))
