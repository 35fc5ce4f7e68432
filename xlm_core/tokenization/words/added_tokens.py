"""Added tokens: found in a text as they are, before anything else is done to it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from xlm_core.errors import TokenizerError
from xlm_core.tokenization.settings import mapping, whole_number
from xlm_core.tokenization.text.accents import lowercase_each
from xlm_core.tokenization.text.aligned_text import AlignedText


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is found in a text as it is.

    Attributes:
        content: Its characters.
        single_word: Only where a blank, or nothing, stands on either side of it.
        lstrip: White space before it belongs to it.
        rstrip: White space after it belongs to it.
        normalized: Found in lowercased text; by default whatever is not special.
        special: A control token: `skip_special_tokens` leaves it out.
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None
    special: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.content, str):
            raise TokenizerError(
                f"An added token is {self.content!r}, a {type(self.content).__name__}; expected a "
                "string."
            )
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)

    def __str__(self) -> str:
        return self.content

    @classmethod
    def of(cls, token: Any, *, special: bool | None = None) -> AddedToken:
        """`token` as an `AddedToken`.

        Args:
            token: A string, an `AddedToken` of this library or of another with the same
                attributes, or the object that tokenizer_config.json has for one.
            special: Whether it is special, if `token` is a string; or True to make it so.
        """
        if isinstance(token, str):
            return cls(token, special=bool(special))
        names = list(cls.__dataclass_fields__)
        if isinstance(token, Mapping):
            fields = {name: token[name] for name in names if name in token}
        else:
            fields = {name: getattr(token, name) for name in names if hasattr(token, name)}
        if "content" not in fields:
            raise TokenizerError(
                f"{token!r} is a {type(token).__name__}; expected a token: a string or an "
                "AddedToken."
            )
        if special:
            # Only the mark: how the token is found stays as it was asked for.
            fields["special"] = True
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """The object that tokenizer_config.json has for it."""
        return asdict(self)


def added_tokens_of(table: Any) -> dict[int, AddedToken]:
    """`added_tokens_decoder`, as tokenizer_config.json or a tokenizer has it, by id.

    Raises:
        TokenizerError: It is no table, an id is no whole number, or a token is none.
    """
    return {
        whole_number("an id of added_tokens_decoder", i): AddedToken.of(token)
        for i, token in mapping("added_tokens_decoder", table or {}).items()
    }


def list_of_tokens(tokens: Any) -> list[Any]:
    """`tokens` as a list; a string is refused, being no list of its characters."""
    if isinstance(tokens, str | bytes | Mapping) or not isinstance(tokens, Iterable):
        raise TokenizerError(f"{tokens!r} is no list of tokens: expected one such as ['<x>'].")
    return list(tokens)


class AddedTokens:
    """Finds added tokens in texts.

    Args:
        tokens: All of them; where several match, the longest counts.
        keep_case: Tokens that a text keeps when it is lowercased, in order of preference.
    """

    def __init__(self, tokens: Iterable[AddedToken], keep_case: Iterable[str]) -> None:
        self._tokens = {token.content: token for token in tokens}
        longest_first = sorted(self._tokens, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        keep_case = list(keep_case)
        # Lowercasing changes none of the usual tokens.
        self._kept = None
        if any(lowercase_each(token) != token for token in keep_case):
            self._kept = re.compile("|".join(map(re.escape, keep_case)))
        self.found_in = self._pattern.search

    def lowercase(self, text: str) -> str:
        """Lowercase `text` character by character, except tokens that keep their case."""
        if self._kept is None:
            return lowercase_each(text)
        return "".join(part if kept else lowercase_each(part) for part, kept in self._parts(text))

    def lowercase_aligned(self, text: AlignedText) -> AlignedText:
        """`lowercase` with spans."""
        lowercased = self.lowercase(text.text)
        if len(lowercased) == len(text):
            return text.with_text(lowercased)
        parts = self._parts(text.text) if self._kept else [(text.text, False)]
        lengths = [1 if kept else len(char.lower()) for part, kept in parts for char in part]
        spans = zip(text.spans, lengths, strict=True)
        return AlignedText(lowercased, [span for span, length in spans for _ in range(length)])

    def _parts(self, text: str) -> Iterator[tuple[str, bool]]:
        assert self._kept is not None
        last = 0
        for match in self._kept.finditer(text):
            yield text[last : match.start()], False
            yield match[0], True
            last = match.end()
        yield text[last:], False

    def sections(self, text: str) -> list[tuple[int, int, AddedToken | None]]:
        """Cut `text` at its added tokens: begin, end, and token of each part, if it is one."""
        cuts: list[tuple[int, int, AddedToken | None]] = []
        last = 0
        for match in self._pattern.finditer(text):
            if match.start() > last:
                cuts.append((last, match.start(), None))
            last = match.end()
            cuts.append((match.start(), last, self._tokens[match[0]]))
        if last < len(text):
            cuts.append((last, len(text), None))
        for at, (begin, end, token) in enumerate(cuts):
            # Joined with blanks that are gone, a part may be a token again.
            token = token or self._tokens.get(text[begin:end])
            if token is not None:
                _apply_flags(cuts, at, begin, end, token, text)
        return [
            (begin, end, token or self._tokens.get(text[begin:end]))
            for begin, end, token in cuts
            if begin < end
        ]


def _apply_flags(
    cuts: list[tuple[int, int, AddedToken | None]],
    at: int,
    begin: int,
    end: int,
    token: AddedToken,
    text: str,
) -> None:
    """Apply the flags of the token at `at`: take white space, or turn into text within a word."""
    left = cuts[at - 1] if at and cuts[at - 1][0] < cuts[at - 1][1] else None
    right = cuts[at + 1] if at + 1 < len(cuts) else None
    if token.rstrip and right:
        rest = text[right[0] : right[1]].lstrip()
        cuts[at + 1] = (right[1] - len(rest), *right[1:])
    if token.lstrip and left:
        kept = text[left[0] : left[1]].rstrip()
        cuts[at - 1] = (left[0], left[0] + len(kept), left[2])
    if token.single_word and left and text[left[1] - 1] != " ":
        # Blanks other than " " that it has taken are gone, and with them what stood there alone.
        start = begin if cuts[at - 1][0] == cuts[at - 1][1] else cuts[at - 1][0]
        cuts[at - 1] = (start, end, None)
        cuts[at] = (begin, begin, None)
    elif token.single_word and right and text[right[0]] != " ":
        stop = end if cuts[at + 1][0] == cuts[at + 1][1] else right[1]
        cuts[at + 1] = (begin, stop, None)
        cuts[at] = (begin, begin, None)
