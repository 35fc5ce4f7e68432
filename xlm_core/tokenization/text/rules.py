"""Rewriting rules as data: a pattern, its replacement, and a string that every match contains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Replacement = tuple[str | int, ...] | Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """Replaces every match of `pattern`, from left to right.

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
        """Apply the rule to `text`."""
        if self.literal is not None:
            return text.replace(self.literal, self.template)  # type: ignore[arg-type]
        return self.pattern.sub(self.template, text)


def replace(old: str, new: str) -> Rule:
    """The rule that replaces the string `old` by `new`."""
    return Rule(re.compile(re.escape(old)), (new,), old, new, literal=old)


def rewrite(pattern: str, *replacement: str | int, trigger: str) -> Rule:
    """The rule that replaces a match by `replacement`: strings, and numbers of groups, in order."""
    template = "".join(
        f"\\g<{part}>" if isinstance(part, int) else part.replace("\\", r"\\")
        for part in replacement
    )
    return Rule(re.compile(pattern), replacement, trigger, template)


def compute(pattern: str, function: Callable[[re.Match[str]], str], *, trigger: str) -> Rule:
    """The rule that replaces a match by what `function` returns for it."""
    return Rule(re.compile(pattern), function, trigger, function)


def apply(rules: Iterable[Rule], text: str) -> str:
    """Apply every rule to `text`, in order."""
    for rule in rules:
        if rule.trigger in text:
            text = rule.sub(text)
    return text
