"""What `convert` did: from where, to where, what was written, what was lost, how it was checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from conversion.reports.json_text import json_text
from conversion.reports.wording import shown
from xlm_core.containers.lazy_tensors import DTYPES

# Every value of the first is a value of the second.
_WITHOUT_ROUNDING = frozenset(
    (
        ("float16", "float32"),
        ("float16", "float64"),
        ("bfloat16", "float32"),
        ("bfloat16", "float64"),
        ("float32", "float64"),
    )
)


@dataclass(frozen=True)
class Summary:
    """What a conversion did.

    Attributes:
        source, target: As they were given.
        came_from, went_to: Names of the layouts.
        architecture: The class.
        tensors: Number of tensors.
        nbytes: Bytes of these.
        files: Name -> bytes, of what was written.
        dropped: What the source holds and the target does not, in words.
        notes: What else to know.
        checked: Whether every tensor was read back and compared.
        seconds: "open", "write", "check", "total".
        cast: The dtypes of the tensors that were cast -> the dtype that they were cast to.
    """

    source: str
    target: str
    came_from: str
    went_to: str
    architecture: str
    tensors: int
    nbytes: int
    files: dict[str, int]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    checked: bool
    seconds: dict[str, float]
    cast: Mapping[str, str]

    def text(self) -> str:
        """For people, a few lines."""
        megabytes = sum(self.files.values()) / 1e6
        layouts = f"{self.source} ({self.came_from}) -> {self.target} ({self.went_to})"
        lines = [
            f"{layouts}: {self.architecture}, {self.tensors} tensors",
            f"{len(self.files)} files, {megabytes:,.1f} MB: {', '.join(self.files)}",
            *(f"dropped: {shown(what)}" for what in self.dropped),
            *(f"note: {shown(note)}" for note in self.notes),
        ]
        times = ", ".join(f"{name} {spent:.2f} s" for name, spent in self.seconds.items())
        return "\n".join([*lines, f"{self.equality()}; {times}"])

    def json(self) -> str:
        """The whole summary as one JSON object."""
        return json_text("convert", asdict(self) | {"equality": self.equality()})

    def equality(self) -> str:
        """How the tensors of the target equal those of the source, in words."""
        if not self.checked:
            return "every tensor not read back"
        rounded = {to for pair in self.cast.items() for to in pair[1:] if _rounds(*pair)}
        if rounded:
            return f"every tensor read back and equal after rounding to {' and '.join(rounded)}"
        if self.cast:
            wider = " and ".join({*self.cast.values()})
            return f"every tensor read back and equal in every value, as {wider}"
        return "every tensor read back and equal bit by bit"


def _rounds(before: str, after: str) -> bool:
    return (before, after) not in _WITHOUT_ROUNDING and {before, after} <= {*DTYPES}
