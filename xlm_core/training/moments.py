"""Which of Adam's moments a run takes from a checkpoint of the original, and how that is said."""

from __future__ import annotations

import os
import warnings

from xlm_core.checkpoints import Moments, open_moments
from xlm_core.errors import XLMWarning


def moments_to_take(
    path: str | os.PathLike[str], *, match: str, is_original_adam: bool
) -> tuple[Moments | None, str]:
    """The moments that a run goes on with, or why there are none.

    Args:
        path: Of any checkpoint.
        match: How the model was started from it. With "words", rows were copied by name: those of
            words and languages are left out.
        is_original_adam: Whether the run's optimizer is `OriginalAdam`.

    Returns:
        The moments and ""; or None and why, in words. These are "" of a checkpoint that is none of
        the original's, and else a warning too.

    Raises:
        CheckpointError: If it is damaged.
    """
    moments = open_moments(path)
    if moments is None:
        return None, ""
    if not moments.steps or not is_original_adam:
        why = "it has no state of Adam" if not moments.steps else "this is another optimizer"
        text = f"of {os.fspath(path)}, no moments of Adam are taken: {why}. They start afresh."
        warnings.warn(text, XLMWarning, stacklevel=3)
        return None, text
    return (moments.without_tables() if match == "words" else moments), ""


def text_of_taken(
    path: str | os.PathLike[str], taken: int, parameters: int, *, updates_before: int
) -> str:
    """What was taken, in words.

    Args:
        path: Of the checkpoint.
        taken: Number of parameters whose moments were.
        parameters: Number of all.
        updates_before: Updates of its run behind which the learning rate goes on; 0: it does not.
    """
    text = f"of {os.fspath(path)}, Adam's moments of {taken} parameters are taken"
    if taken < parameters:
        text += f", those of {parameters - taken} start afresh"
    if updates_before:
        text += f"; the learning rate goes on behind its {updates_before} updates"
    return f"{text}."
