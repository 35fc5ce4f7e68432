"""Loading a family: what is said of a framework that is absent or broken."""

from __future__ import annotations

from typing import Any

import pytest

from conversion.opening import families
from xlm_core.errors import XLMError


class TestFamilies:
    def test_keras_alone_can_be_missing(self, monkeypatch: Any) -> None:
        def load(name: str) -> Any:
            if name == "xlm_tf":
                raise ModuleNotFoundError("No module named 'keras'", name="keras")

        monkeypatch.setattr(families.importlib, "import_module", load)
        with pytest.raises(families.MissingPackageError, match=r"xlm-parity\[tf\]"):
            families.load_family("TensorFlow")

    def test_a_broken_installation_says_why(self, monkeypatch: Any) -> None:
        def load(name: str) -> Any:
            raise ImportError("libsomething.so: cannot open")

        monkeypatch.setattr(families.importlib, "import_module", load)
        with pytest.raises(families.MissingPackageError, match=r"does not load \(libsomething"):
            families.load_family("PyTorch")

    def test_an_error_of_our_own_is_not_hidden(self, monkeypatch: Any) -> None:
        def load(name: str) -> Any:
            raise ImportError("cannot import name 'x' from 'xlm_core'", name="xlm_core")

        monkeypatch.setattr(families.importlib, "import_module", load)
        with pytest.raises(ImportError) as caught:
            families.load_family("PyTorch")
        assert not isinstance(caught.value, XLMError)
