"""What a pickle may build: keys that cannot be made to collide, values that can be walked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

# The dictionaries of the largest checkpoints, three of 200,000 words, take 4 million opcodes.
MOST_OPCODES = 12_000_000
# Lists, dictionaries, tuples, sets and whatever else a byte or two can make.
MOST_CONTAINERS = 1_000_000
DEEPEST = 200
# Items of all containers, counted as often as they are reached.
MOST_ITEMS = 10_000_000
# Keys of which the file chooses the hash: each may collide with all others.
MOST_ODD_KEYS = 10_000
MOST_TUPLE_KEYS = 1_000
LONGEST_TUPLE_KEY = 8
LONGEST_TUPLE_TEXT = 1_000
# Integers up to about the number of entries never share a place in the table.
KEYS_AT_ONCE = 256
_ROOM = 2 * KEYS_AT_ONCE

_PLAIN = frozenset((int, float, bool, type(None)))
_LISTS = frozenset((list, tuple, set, frozenset))


class Keys:
    """Admits the keys of the dictionaries and sets of one pickle.

    The hash of a text differs in each process, but that of a number, or of a tuple of them, is
    known: a file could hold a million that fall on each other, and keep a machine busy for hours.
    So numbers that count up are admitted in any number, and others up to a limit.
    """

    def __init__(self) -> None:
        self._odd = 0
        self._tuples = 0

    def refusal(self, present: int, keys: list[Any]) -> str:
        """Why these keys cannot go into a table with `present` entries; "" if they can.

        Args:
            present: Entries that are there already.
            keys: Up to `KEYS_AT_ONCE` of them.
        """
        kinds = set(map(type, keys))
        if kinds == {str}:
            return ""
        if kinds == {int} and min(keys) >= 0 and max(keys) <= present + _ROOM:
            return ""
        for key in keys:
            kind = type(key)
            if kind is tuple:
                self._tuples += 1
                if not _is_short(key):
                    return "a key is a tuple that is long, or not of short texts and numbers"
            elif kind is int or kind is float:
                self._odd += kind is float or not 0 <= key <= present + _ROOM
                if kind is int and not _is_short((key,)):
                    return "a key is an integer of more than 64 bits"
            elif kind not in (str, bool, type(None)):
                return f"a key is a {kind.__name__}, not a text, a number or a tuple of these"
        if self._odd > MOST_ODD_KEYS or self._tuples > MOST_TUPLE_KEYS:
            return (
                f"more than {MOST_ODD_KEYS:,} keys are numbers that do not count up, or more than "
                f"{MOST_TUPLE_KEYS:,} are tuples"
            )
        return ""


def _is_short(key: tuple[Any, ...]) -> bool:
    if len(key) > LONGEST_TUPLE_KEY:
        return False
    for item in key:
        if type(item) is str:
            if len(item) > LONGEST_TUPLE_TEXT:
                return False
        elif type(item) is not int or not -(2**63) <= item < 2**64:
            return False
    return True


def why_unusable(value: Any, size: int, leaves: tuple[type, ...] = ()) -> str:
    """Why a value cannot be used like one that was written down in full; "" if it can.

    What contains itself never ends, and some hundred bytes can say "twice the one before" until
    nobody can visit all of it.

    Args:
        value: What a pickle built.
        size: Bytes of the pickle.
        leaves: Types that may stand where plain values and arrays of numbers may.
    """
    most_text = 64 * size + (1 << 20)
    items, text = 0, 0
    open_containers: list[Iterator[Any]] = [iter((value,))]
    while open_containers:
        for item in open_containers[-1]:
            kind = type(item)
            if kind is str or kind is bytes:
                text += len(item)
            elif kind in _PLAIN:
                pass
            elif kind is dict or kind in _LISTS:
                items += len(item)
                if kind is dict:
                    text += _length_of_keys(item)
                open_containers.append(iter(item.values() if kind is dict else item))
                break
            elif not isinstance(item, (np.generic, np.ndarray, np.dtype, *leaves)):
                return f"it holds {item}, which is no value by itself"
        else:
            open_containers.pop()
        if len(open_containers) > DEEPEST:
            return f"its containers lie more than {DEEPEST} deep in each other, or in themselves"
        if items > MOST_ITEMS or text > most_text:
            return f"written in full, it would have more than {items:,} items or {text:,} letters"
    return ""


def _length_of_keys(keys: Iterable[Any]) -> int:
    return sum(len(key) for key in keys if type(key) is str)
