"""The rooms of the house: which modules make one, and which others it may import.

A room may import the rooms that it names, all of which stand above it in the list: so imports
point one way. A module belongs to the room with the longest matching name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Room:
    """A part of a package.

    Attributes:
        name: As in the picture; the package, then what it is.
        modules: Names of modules and packages, all that lies below them included.
        imports: Names of the rooms that it may import.
    """

    name: str
    modules: tuple[str, ...]
    imports: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """Top-level package."""
        return self.modules[0].partition(".")[0]


FOR_TRANSFORMERS = "xlm_torch: for transformers"


def _within(package: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{package}.{name}" for name in names)


_CORE = (
    Room(
        "errors", _within("xlm_core", "errors", "whole_files", "distribution", "loading_arguments")
    ),
    Room("hub", _within("xlm_core", "hub"), ("errors",)),
    Room(
        "configuration",
        _within("xlm_core", "config", "config_keys", "config_rules"),
        ("errors", "hub"),
    ),
    Room("weight table", _within("xlm_core", "weights"), ("configuration",)),
    Room(
        "rules of models",
        _within("xlm_core", "inputs", "heads", "outputs", "positions", "changes", "quantization"),
        ("errors", "configuration", "weight table"),
    ),
    Room("containers", _within("xlm_core", "containers"), ("errors",)),
    Room(
        "parts of checkpoints",
        _within(
            "xlm_core.checkpoints",
            "dtypes",
            "finite_check",
            "moments",
            "naming",
            "original",
            "original_params",
            "others",
            "shards",
            "weights",
        ),
        ("errors", "configuration", "weight table", "containers"),
    ),
    Room(
        "layouts",
        _within("xlm_core.checkpoints", "layouts"),
        ("errors", "configuration", "weight table", "containers", "parts of checkpoints"),
    ),
    Room(
        "checkpoints",
        _within("xlm_core", "checkpoints"),
        (
            "errors",
            "configuration",
            "weight table",
            "containers",
            "hub",
            "parts of checkpoints",
            "layouts",
        ),
    ),
    Room("text", _within("xlm_core.tokenization", "settings", "text"), ("errors",)),
    Room("words", _within("xlm_core.tokenization", "words"), ("errors", "text")),
    Room(
        "tokens of a text",
        _within("xlm_core.tokenization", "text_encoder", "decoding", "attributes"),
        ("errors", "text", "words"),
    ),
    Room(
        "calls",
        _within("xlm_core.tokenization", "calls"),
        ("errors", "text", "words", "tokens of a text"),
    ),
    Room(
        "workers",
        _within("xlm_core.tokenization", "workers"),
        ("errors", "tokens of a text", "calls"),
    ),
    Room(
        "files of a tokenizer",
        _within("xlm_core.tokenization", "files"),
        ("errors", "hub", "text", "words"),
    ),
    Room(
        "tokenizer",
        _within("xlm_core", "tokenization"),
        (
            "errors",
            "text",
            "words",
            "tokens of a text",
            "calls",
            "workers",
            "files of a tokenizer",
        ),
    ),
    Room(
        "texts",
        _within("xlm_core", "texts"),
        ("errors", "configuration", "words", "calls", "tokenizer"),
    ),
    Room("generation", _within("xlm_core", "generation"), ("errors", "configuration")),
    Room(
        "corpus",
        _within("xlm_core", "corpus"),
        ("errors", "containers", "files of a tokenizer", "tokenizer"),
    ),
    Room(
        "subwords",
        _within("xlm_core", "subwords"),
        ("errors", "text", "words", "files of a tokenizer"),
    ),
    Room("objectives", _within("xlm_core", "objectives"), ("errors", "configuration", "corpus")),
    Room(
        "rules of training",
        _within("xlm_core", "training"),
        (
            "errors",
            "hub",
            "configuration",
            "weight table",
            "containers",
            "parts of checkpoints",
            "checkpoints",
            "words",
            "files of a tokenizer",
            "tokenizer",
            "containers",
            "corpus",
            "objectives",
        ),
    ),
    Room("xlm_core", ("xlm_core",), ("errors", "configuration", "words", "calls", "tokenizer")),
)


def _family(
    package: str, *, parts: tuple[str, ...] = (), fast: tuple[str, ...] = ()
) -> tuple[Room, ...]:
    """The rooms of a family: the same in both.

    Args:
        package: Of the family.
        parts: What its parts alone import beside what those of the other family do.
        fast: The same of its fast paths.
    """

    def named(*names: str) -> tuple[str, ...]:
        return tuple(f"{package}: {name}" for name in names)

    def room(name: str, modules: tuple[str, ...], *imports: str) -> Room:
        return Room(f"{package}: {name}", modules, imports)

    parts_of_models = ("activations", "cache", "layers", "losses", "outputs")
    every_model = (
        "asked_by_tools",
        "inputs",
        "keras_model",
        "datasets",
        "sample_weights",
        "optimizers",
        "pretrained",
    )
    heads = (
        "heads",
        "language_model",
        "classification",
        "question_answering",
        "translation",
        "adaptive_softmax",
        "sequence_summary",
        "squad_head",
    )
    described = ("errors", "configuration", "weight table")
    return (
        room("parts", _within(package, *parts_of_models), "rules of models", *parts),
        room(
            "formulas",
            _within(package, "attention", "feed_forward"),
            "configuration",
            *named("parts"),
        ),
        room(
            "fast paths",
            _within(package, "fast"),
            "rules of models",
            *named("parts", "formulas"),
            *fast,
        ),
        room(
            "int8",
            _within(package, "quantization"),
            "errors",
            "rules of models",
            *named("parts", "fast paths"),
        ),
        room(
            "every model",
            _within(package, *every_model),
            *described,
            "rules of models",
            "containers",
            "parts of checkpoints",
            "checkpoints",
            *named("parts", "fast paths", "int8"),
        ),
        room(
            "model",
            _within(package, "model"),
            "configuration",
            "rules of models",
            *named("parts", "formulas", "fast paths", "every model"),
        ),
        room(
            "generation",
            _within(package, "generation"),
            "errors",
            "configuration",
            "rules of models",
            "checkpoints",
            "generation",
            *named("parts", "fast paths", "every model"),
        ),
        room(
            "heads",
            _within(package, *heads),
            *described,
            "rules of models",
            "checkpoints",
            *named("parts", "fast paths", "every model", "model", "generation"),
        ),
        room(
            "texts",
            _within(package, "texts"),
            "errors",
            "configuration",
            "weight table",
            "tokenizer",
            "texts",
            *named("every model", "heads"),
        ),
        room(
            "training",
            _within(package, "training"),
            "errors",
            "configuration",
            "containers",
            "weight table",
            "tokenizer",
            "objectives",
            "rules of training",
            *named("parts", "every model", "heads"),
        ),
        room(
            "family",
            (package,),
            "errors",
            "configuration",
            "checkpoints",
            "tokenizer",
            *named("parts", "fast paths", "int8", "every model", "model", "heads"),
            *named("texts"),
        ),
    )


_BASE = ("errors", "configuration", "weight table")
_CONVERSION = (
    Room("reports", _within("conversion", "reports"), (*_BASE, "containers", "layouts")),
    Room(
        "opening",
        _within("conversion", "opening"),
        (
            "errors",
            "hub",
            "layouts",
            "checkpoints",
            "words",
            "files of a tokenizer",
            "tokenizer",
            "xlm_torch: family",
            "xlm_tf: family",
        ),
    ),
    Room("line by line", _within("conversion", "line_by_line"), ("errors", "reports")),
    Room(
        "evaluate",
        _within("conversion", "evaluation"),
        ("errors", "text", "reports", "line by line"),
    ),
    Room(
        "written texts",
        _within("conversion", "generation"),
        (
            "errors",
            "configuration",
            "weight table",
            "generation",
            "checkpoints",
            "text",
            "words",
            "tokenizer",
            "opening",
            "line by line",
        ),
    ),
    Room(
        "texts through a model",
        _within("conversion", "texts"),
        (
            "errors",
            "weight table",
            "checkpoints",
            "texts",
            "opening",
            "line by line",
        ),
    ),
    Room(
        "tokenize",
        _within("conversion", "tokenize"),
        (
            "errors",
            "words",
            "tokens of a text",
            "calls",
            "workers",
            "files of a tokenizer",
            "tokenizer",
            "corpus",
            "line by line",
        ),
    ),
    Room(
        "vocabulary",
        _within("conversion", "vocabulary"),
        (
            "errors",
            "text",
            "files of a tokenizer",
            "tokenizer",
            "subwords",
            "reports",
            "line by line",
        ),
    ),
    Room(
        "convert",
        _within("conversion", "convert"),
        (
            *_BASE,
            "containers",
            "hub",
            "parts of checkpoints",
            "layouts",
            "checkpoints",
            "text",
            "words",
            "files of a tokenizer",
            "tokenizer",
            "reports",
            "opening",
        ),
    ),
    Room(
        "inspect",
        _within("conversion", "inspection"),
        (
            "containers",
            "parts of checkpoints",
            "layouts",
            "checkpoints",
            "files of a tokenizer",
            "reports",
        ),
    ),
    Room(
        "verify",
        _within("conversion", "verification"),
        (
            *_BASE,
            "rules of models",
            "containers",
            "checkpoints",
            "opening",
            "reports",
        ),
    ),
    Room(
        "train",
        _within("conversion", "training"),
        (
            "errors",
            "configuration",
            "words",
            "tokenizer",
            "corpus",
            "objectives",
            "rules of training",
            "xlm_torch: training",
            "xlm_tf: training",
            "reports",
            "opening",
            "line by line",
            "written texts",
            "evaluate",
        ),
    ),
    Room(
        "command line",
        ("conversion",),
        (
            *_BASE,
            "containers",
            "layouts",
            "checkpoints",
            "corpus",
            "text",
            "reports",
            "opening",
            "texts",
            "texts through a model",
            "line by line",
            "written texts",
            "evaluate",
            "tokenize",
            "vocabulary",
            "convert",
            "inspect",
            "verify",
            "train",
        ),
    ),
)

ROOMS: tuple[Room, ...] = (
    *_CORE,
    *_family("xlm_torch"),
    # What is transformers' own kind, and imported by nobody.
    Room(
        FOR_TRANSFORMERS,
        _within("xlm_torch", "for_transformers"),
        (
            "errors",
            "configuration",
            "rules of models",
            "checkpoints",
            "tokenizer",
            "xlm_torch: parts",
            "xlm_torch: fast paths",
            "xlm_torch: every model",
            "xlm_torch: model",
            "xlm_torch: heads",
        ),
    ),
    # optree is told that what a tokenizer returns is a dictionary.
    *_family("xlm_tf", parts=("calls",), fast=("errors",)),
    *_CONVERSION,
)


def room_of(module: str, rooms: Iterable[Room] = ROOMS) -> str:
    """The name of a module's room.

    Raises:
        KeyError: If it has none.
    """
    matches = {
        prefix: room.name
        for room in rooms
        for prefix in room.modules
        if module == prefix or module.startswith(prefix + ".")
    }
    if not matches:
        raise KeyError(f"{module} is in no room: tests/support/rooms.py lists them")
    return matches[max(matches, key=len)]
