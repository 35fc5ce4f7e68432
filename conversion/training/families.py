"""What a family trains with."""

from __future__ import annotations

from typing import Any

from conversion.opening.families import FRAMEWORKS, load_family


def training_of(framework: str) -> tuple[Any, Any]:
    """The training package of a family, and its framework.

    Args:
        framework: A key of `FRAMEWORKS`.

    Raises:
        MissingPackageError: If the framework is not installed.
    """
    _, library = load_family(FRAMEWORKS[framework])
    if framework == "torch":
        import xlm_torch.training

        return xlm_torch.training, library
    import xlm_tf.training

    return xlm_tf.training, library
