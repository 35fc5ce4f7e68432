"""Japanese."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from xlm_core.errors import InputError
from xlm_core.tokenization.text.segmenters.segmenter import Segmenter

# Where transformers looks for it, and where KyTea's own installation puts it under $HOME/local.
DEFAULT_KYTEA_MODEL = "~/local/share/kytea/model.bin"


class Japanese(Segmenter):
    """Splits Japanese with KyTea.

    Args:
        model: Path of KyTea's model file.
    """

    language = "ja"
    package = "kytea"

    def __init__(self, model: str | Path = DEFAULT_KYTEA_MODEL) -> None:
        self.model = str(model)
        self._kytea: Any = None
        self._lock = threading.Lock()

    def split(self, text: str) -> list[str]:
        """The words of `text`."""
        # KyTea's C++ object can split one text at a time.
        with self._lock:
            if self._kytea is None:
                self._kytea = self._load()
            return list(self._kytea.getWS(text))

    def _load(self) -> Any:
        try:
            import Mykytea
        except ImportError as error:
            raise self.missing_package() from error
        path = Path(self.model).expanduser()
        if not path.is_file():
            raise InputError(
                f"Japanese needs a model for KyTea, and there is no file {path}. Install KyTea "
                "(https://github.com/neubig/kytea), which brings one, put a model there, or give "
                "its path as XLMTokenizer(..., kytea_model=PATH)."
            )
        return Mykytea.Mykytea(f"-model {path}")
