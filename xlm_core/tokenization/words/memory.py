"""Caches of words and chunks, with one bound on all of them together."""

from __future__ import annotations

from typing import Any

DEFAULT_CACHE_SIZE = 100_000

# Longer ones are rare, and would make the memory of a full cache unbounded.
_LONGEST_REMEMBERED = 64


class Memory:
    """Bounds how much all caches of a tokenizer hold together; they are emptied when it is full.

    Emptying a cache now and then costs less than tracking what was used last. One entry of real
    text takes 160 to 240 bytes: 100,000, the default, take 15 to 25 MB.

    Args:
        size: The most entries that all caches hold together; 0 remembers nothing.
    """

    def __init__(self, size: int = DEFAULT_CACHE_SIZE) -> None:
        self.size = size
        self.entries = 0
        self._caches: list[dict[Any, Any]] = []

    def cache(self) -> dict[Any, Any]:
        """A new, empty cache whose entries count towards the bound."""
        cache: dict[Any, Any] = {}
        self._caches.append(cache)
        return cache

    def keep(self, cache: dict[Any, Any], key: Any, length: int, value: Any) -> None:
        """Remember `value` under `key`, unless its text of `length` characters is too long."""
        if length > _LONGEST_REMEMBERED:
            return
        if self.entries >= self.size:
            self.clear()
        if self.size:
            cache[key] = value
            self.entries += 1

    def clear(self) -> None:
        """Forget everything."""
        for cache in self._caches:
            cache.clear()
        self.entries = 0
