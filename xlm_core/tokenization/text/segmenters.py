"""Words of Chinese, Thai and Japanese, which do not write blanks between them.

The packages are optional (extras `zh`, `th`, `ja`) and load when a text needs them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xlm_core.errors import InputError, MissingPackageError
from xlm_core.tokenization.text.aligned_text import AlignedText

SEGMENTED_LANGUAGES = ("zh", "th", "ja")

# Where transformers looks for it, and where KyTea's own installation puts it under $HOME/local.
DEFAULT_KYTEA_MODEL = "~/local/share/kytea/model.bin"


def chinese(text: str) -> list[str]:
    """Words of a Chinese text by rjieba (the original used the Stanford segmenter)."""
    try:
        import rjieba
    except ImportError as error:
        raise MissingPackageError(_missing("zh", "rjieba")) from error
    return list(rjieba.cut(text))


def thai(text: str) -> list[str]:
    """Words of a Thai text by pythainlp; blanks are words too."""
    try:
        from pythainlp.tokenize import word_tokenize
    except ImportError as error:
        raise MissingPackageError(_missing("th", "pythainlp")) from error
    return list(word_tokenize(text))


class Japanese:
    """Words of a Japanese text by KyTea.

    Args:
        model: File of KyTea's model.
    """

    def __init__(self, model: str | Path = DEFAULT_KYTEA_MODEL) -> None:
        self.model = str(model)
        self._kytea: Any = None
        self._lock = threading.Lock()

    def __call__(self, text: str) -> list[str]:
        """The words of `text`."""
        # One object inside the C++ library: one text at a time.
        with self._lock:
            if self._kytea is None:
                self._kytea = self._load()
            return list(self._kytea.getWS(text))

    def _load(self) -> Any:
        try:
            import Mykytea
        except ImportError as error:
            raise MissingPackageError(_missing("ja", "kytea")) from error
        path = Path(self.model).expanduser()
        if not path.is_file():
            raise InputError(
                f"Japanese needs a model for KyTea, and there is no file {path}. Install KyTea "
                "(https://github.com/neubig/kytea), which brings one, or give the path of a model "
                "as XLMTokenizer(..., kytea_model=PATH)."
            )
        return Mykytea.Mykytea(f"-model {path}")

    def __getstate__(self) -> dict[str, str]:
        return {"model": self.model}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(state["model"])  # type: ignore[misc]


def cut(text: AlignedText, words: Sequence[str]) -> list[AlignedText]:
    """`text` cut into `words`, which a segmenter found in it in this order."""
    pieces, position = [], 0
    for word in words:
        begin = text.text.find(word, position)
        if begin < 0:
            raise InputError(
                f"The segmenter returned {word!r}, which is not in the rest of the text. Offsets "
                "cannot be given for this text; ask for ids alone."
            )
        position = begin + len(word)
        pieces.append(text[begin:position])
    return pieces


def _missing(language: str, package: str) -> str:
    return (
        f"Texts in {language!r} are split into words by {package}, which is not installed. Install "
        f"it with pip install 'xlm-models[{language}]', or split the text yourself and pass the "
        "words with is_split_into_words=True."
    )


Segmenter = Callable[[str], list[str]]
