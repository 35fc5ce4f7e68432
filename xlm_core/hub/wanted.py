"""`WantedFiles`: which files of a repository to download."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class WantedFiles:
    """Which files of a repository to download: the caller knows their names, the hub does not.

    Attributes:
        what: What they are, in a word, for messages: "weights".
        needed: Names of the files that have to be there, at least one.
        optional: Names of files to take if they are there; first the one that is most often.
        first_of: Names of which the first that is there is taken, and one has to be.
        parts: Which files belong to the one that was found of `first_of`, by looking into it.
    """

    what: str
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()
    first_of: tuple[str, ...] = ()
    parts: Callable[[Path], Iterable[str]] = lambda file: ()
