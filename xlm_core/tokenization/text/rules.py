"""Rewriting rules as data: a pattern, what takes its place, and what it cannot do without."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Replacement = tuple[str | int, ...] | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """Everywhere `pattern` matches, left to right, write `replacement`.

    Attributes:
        pattern: Compiled pattern.
        replacement: Literal strings and group numbers in order, or a function of the match.
        trigger: A substring of every match: where it is absent, the rule need not be tried.
        template: `replacement` as `re.sub` wants it.
        literal: The whole pattern as a plain string, if it is one; `str.replace` is faster.
    """

    pattern: re.Pattern[str]
    replacement: Replacement
    trigger: str
    template: str | Callable[[re.Match[str]], str]
    literal: str | None = None

    def sub(self, text: str) -> str:
        """`text` after this rule."""
        if self.literal is not None:
            return text.replace(self.literal, self.template)  # type: ignore[arg-type]
        return self.pattern.sub(self.template, text)


def replace(old: str, new: str) -> Rule:
    """Write `new` wherever `old` stands."""
    return Rule(re.compile(re.escape(old)), (new,), old, new, literal=old)


def rewrite(pattern: str, *replacement: str | int, trigger: str) -> Rule:
    """Write `replacement` (strings, and numbers of groups) wherever `pattern` matches."""
    template = "".join(
        f"\\g<{part}>" if isinstance(part, int) else part.replace("\\", r"\\")
        for part in replacement
    )
    return Rule(re.compile(pattern), replacement, trigger, template)


def compute(pattern: str, function: Callable[[re.Match[str]], str], *, trigger: str) -> Rule:
    """Write what `function` makes of the match wherever `pattern` matches."""
    return Rule(re.compile(pattern), function, trigger, function)


def apply(rules: Iterable[Rule], text: str) -> str:
    """`text` after every rule in turn."""
    for rule in rules:
        if rule.trigger in text:
            text = rule.sub(text)
    return text
