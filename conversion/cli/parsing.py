"""The parsers of the command line: exit codes in the help, the nearest name after a typo."""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from xlm_core.errors import nearest

EXIT_CODES = (
    "Exit codes: 0, done, and everything that was checked passed; 1, a check failed; 2, it could "
    "not be done (one line on the standard error says why), or the arguments are wrong; 130, "
    "interrupted."
)
_INVALID = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
# An argument of Python in a message, as in overwrite=True, tied='output' or codes=.
_ARGUMENT = re.compile(
    r"""(?<![\w./-])(\w+)=(?:True\b|'([^']*)'|"([^"]*)"|(?![\w./-]))(?: \(--[a-z-]+\))?"""
)
# Options that have another name in Python.
_NAMES = {"largest": "shard-size"}


class Parser(argparse.ArgumentParser):
    """A parser that knows the names of its options, and helps after a typo."""

    def __init__(self, **options: Any) -> None:
        self.names: list[str] = []
        super().__init__(**{"allow_abbrev": False, "epilog": EXIT_CODES, **options})

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As `argparse` does; the names of options are kept."""
        self.names += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with the usage and the message; of a mistyped choice, the nearest one is named."""
        found = _INVALID.search(message)
        if found:
            choices = [choice.strip("'") for choice in found[2].split(", ")]
            message += f".{said}" if (said := nearest(found[1], choices)) else ""
        super().error(message)

    def refuse(self, unknown: list[str]) -> NoReturn:
        """Exit because of arguments that nobody knows; of an option, the nearest one is named."""
        mistyped = next((each for each in unknown if each.startswith("-")), unknown[0])
        said = nearest(mistyped.partition("=")[0], self.names)
        self.error(f"unrecognized arguments: {' '.join(unknown)}{f'.{said}' if said else ''}")

    def in_options(self, message: str) -> str:
        """A message of the library with its arguments written as options, as in --overwrite."""

        def option(found: re.Match[str]) -> str:
            name = f"--{_NAMES.get(found[1], found[1]).replace('_', '-')}"
            if name not in self.names:
                return found[0]
            value = found[2] or found[3]
            return f"{name} {value}" if value else name

        return _ARGUMENT.sub(option, message)
