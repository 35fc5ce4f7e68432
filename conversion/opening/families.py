"""The families, by the framework that each needs."""

from __future__ import annotations

import importlib
from typing import Any

from xlm_core.distribution import missing_framework
from xlm_core.errors import MissingPackageError

# Title of a family -> its package, the framework it needs, and the extra that installs it.
FAMILIES = {
    "PyTorch": ("xlm_torch", "torch", "torch"),
    "TensorFlow": ("xlm_tf", "tensorflow", "tf"),
}
# As options and arguments call them -> title.
FRAMEWORKS = {"torch": "PyTorch", "tf": "TensorFlow"}


def load_family(title: str) -> tuple[Any, Any]:
    """Import a family.

    Args:
        title: A key of `FAMILIES`.

    Returns:
        The family's package and the framework.

    Raises:
        MissingPackageError: If the framework is not installed, or does not load.
    """
    package, framework, extra = FAMILIES[title]
    try:
        needed = importlib.import_module(framework)
        return importlib.import_module(package), needed
    except MissingPackageError:
        raise  # the family says so itself
    except ImportError as error:
        ours = (error.name or "").partition(".")[0] in (package, "xlm_core", "conversion")
        if ours:
            raise
        raise MissingPackageError(missing_framework(title, (framework,), extra, error)) from error


def loadable() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The families that load, and why the others do not, a sentence each."""
    titles, reasons = [], []
    for title in FAMILIES:
        try:
            load_family(title)
        except MissingPackageError as error:
            reasons.append(str(error))
        else:
            titles.append(title)
    return tuple(titles), tuple(reasons)
