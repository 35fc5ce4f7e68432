"""The tokens that a tokenizer knows: subwords, added tokens, special tokens, and their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xlm_core.errors import TokenizerError, refuse_unknown_arguments, warn
from xlm_core.tokenization.words.added_tokens import AddedToken, list_of_tokens

NAMED_SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
DEFAULT_ADDITIONAL_SPECIAL_TOKENS = tuple(f"<special{i}>" for i in range(10))


class Vocabulary:
    """Tokens and their ids, both ways.

    Special tokens are added tokens too: they are found in a text as they are. Those that the
    vocabulary lacks get new ids, after the last one.

    Args:
        encoder: Id of each subword.
        roles: Token of each role ("pad_token", ...), or None for a role without one.
        additional: Special tokens without a role.
        added: Added tokens that are known already, by id.

    Attributes:
        encoder: Id of each subword, as vocab.json has it.
        decoder: Subword of each id.
        roles: Token of each role, or None.
        additional: Special tokens without a role, in order; None where they were unset.
        added: Tokens that are found in a text as they are, by id.
        added_ids: Id of each of these.

    Raises:
        TokenizerError: The added tokens contradict the subwords, or one is no token.
    """

    def __init__(
        self,
        encoder: dict[str, int],
        roles: Mapping[str, Any],
        additional: Iterable[Any],
        added: Mapping[int, AddedToken],
    ) -> None:
        self.encoder = encoder
        self.decoder = {i: token for token, i in encoder.items()}
        self._refuse_contradictions(added)
        self.added = dict(added)
        self.added_ids = {token.content: i for i, token in self.added.items()}
        tokens = {
            role: None if token is None else AddedToken.of(token, special=True)
            for role, token in roles.items()
        }
        others = [AddedToken.of(token, special=True) for token in list_of_tokens(additional)]
        self.roles = {
            role: None if token is None else token.content for role, token in tokens.items()
        }
        self.additional: list[str] | None = [token.content for token in others]
        known = {token.content: token for token in (*tokens.values(), *others) if token}
        missing = [
            name for name in known if name not in self.encoder and name not in self.added_ids
        ]
        if missing:
            warn(
                f"The vocabulary lacks {', '.join(map(repr, missing))}; as in transformers, they "
                "are given new ids after the last one, which the model's embeddings must have room "
                "for."
            )
        self._add(
            (known[name] for name in self.special_tokens() if name not in self.added_ids),
            lowercase=False,
        )

    def __copy__(self) -> Vocabulary:
        """Another one of the same subwords, whose added tokens and roles are its own."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.roles, other.added = dict(self.roles), dict(self.added)
        other.added_ids = dict(self.added_ids)
        other.additional = None if self.additional is None else list(self.additional)
        return other

    def _refuse_contradictions(self, added: Mapping[int, AddedToken]) -> None:
        counts = Counter(token.content for token in added.values())
        wrong = [
            f"{token.content!r}: {i}"
            for i, token in added.items()
            if i < 0
            or self.encoder.get(token.content, i) != i
            or self.decoder.get(i, token.content) != token.content
            or counts[token.content] > 1
        ]
        if wrong:
            raise TokenizerError(
                f"Added tokens contradict the vocabulary: {', '.join(wrong[:5])}. A token that the "
                "vocabulary has keeps its id, and no id stands for two tokens."
            )

    # -- ids ----------------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many tokens there are, added ones included."""
        return len(self.encoder.keys() | self.added_ids.keys())

    def ids(self) -> dict[str, int]:
        """Id of every subword and added token."""
        return {**self.encoder, **self.added_ids}

    def id_of(self, token: str) -> int:
        """Id of a token; that of the unknown token where it is not known.

        Raises:
            TokenizerError: It is not known, and neither is the unknown token.
        """
        found = self.added_ids.get(token)
        if found is None:
            found = self.encoder.get(token)
        return self.unknown_id() if found is None else found

    def token_of(self, i: int) -> str:
        """Token of an id; the unknown token where there is no such id."""
        added = self.added.get(i)
        if added is not None:
            return added.content
        return self.decoder.get(i, self.roles["unk_token"] or "<unk>")

    def unknown_id(self) -> int:
        """Id of the unknown token.

        Raises:
            TokenizerError: There is none.
        """
        unknown = self.roles["unk_token"]
        found = None
        if unknown is not None:
            found = self.added_ids.get(unknown, self.encoder.get(unknown))
        if found is None:
            raise TokenizerError(
                f"There is no id for what the vocabulary lacks: unk_token is {unknown!r}. Set "
                "tokenizer.unk_token to a token of the vocabulary."
            )
        return found

    # -- special tokens -----------------------------------------------------------------------

    def id_of_role(self, role: str) -> int | None:
        """Id of the token that has a role; None for a role without one."""
        token = self.roles[role]
        return None if token is None else self.id_of(token)

    def special_tokens(self) -> list[str]:
        """Every special token once: those with a role in the order of roles, then the others."""
        named = (token for token in self.roles.values() if token is not None)
        return list(dict.fromkeys((*named, *(self.additional or ()))))

    def token(self, content: str) -> AddedToken:
        """How a special token is found in a text."""
        i = self.added_ids.get(content)
        return AddedToken(content, special=True) if i is None else self.added[i]

    def special_tokens_map(self) -> dict[str, str | list[str]]:
        """The token of each role that has one, and the list of the others."""
        found: dict[str, str | list[str]] = {r: t for r, t in self.roles.items() if t is not None}
        if self.additional:
            found["additional_special_tokens"] = list(self.additional)
        return found

    def add_special_tokens(
        self, tokens: Mapping[str, Any], *, replace_additional: bool, lowercase: bool
    ) -> int:
        """Give tokens to roles, and add them where they are not known.

        Args:
            tokens: Token of each role, or a list for "additional_special_tokens" (also
                "extra_special_tokens", transformers 5's name).
            replace_additional: That list replaces the one before, rather than extending it.
            lowercase: As in `Vocabulary.add_tokens`.

        Returns:
            How many new ids there are.
        """
        given = dict(tokens)
        extra = given.pop("extra_special_tokens", None)
        if extra is not None:
            given.setdefault("additional_special_tokens", extra)
        known = (*NAMED_SPECIAL_TOKENS, "additional_special_tokens", "extra_special_tokens")
        refuse_unknown_arguments("add_special_tokens", given.keys() - set(known), known)
        found: list[AddedToken] = []
        for role, value in given.items():
            if role == "additional_special_tokens":
                new = [AddedToken.of(token, special=True) for token in list_of_tokens(value)]
                kept = [] if replace_additional and new else self.additional or []
                self.additional = [*kept, *(t.content for t in new if t.content not in kept)]
                found += new
            elif value is None:
                self.roles[role] = None
            else:
                found.append(AddedToken.of(value, special=True))
                self.roles[role] = found[-1].content
        return self._add(found, lowercase=lowercase)

    # -- added tokens -------------------------------------------------------------------------

    def add_tokens(self, tokens: Any, *, special: bool, lowercase: bool) -> int:
        """Add tokens that are found in a text as they are.

        Args:
            tokens: A string or `AddedToken`, or several.
            special: Strings among them are special tokens.
            lowercase: Lowercase those that are found in lowercased text.

        Returns:
            How many new ids there are.
        """
        if isinstance(tokens, str) or not isinstance(tokens, Sequence):
            tokens = [tokens]
        known = self.special_tokens()
        new = [
            AddedToken.of(token, special=special or (isinstance(token, str) and token in known))
            for token in tokens
            # An AddedToken says anew how a token is found; a string changes nothing.
            if not (isinstance(token, str) and token in self.added_ids)
        ]
        return self._add(new, lowercase=lowercase)

    def _add(self, tokens: Iterable[AddedToken], *, lowercase: bool) -> int:
        ids = self.ids()
        # transformers takes the first of these alone, and so a taken id where ids have holes.
        next_id = max(len(ids), max(ids.values(), default=-1) + 1)
        count = 0
        for token in tokens:
            if not token.content:
                continue
            if lowercase and not token.special and token.normalized:
                token = AddedToken.of({**token.to_dict(), "content": token.content.lower()})
            found = self.added_ids.get(token.content, self.encoder.get(token.content))
            if found is None:
                found = next_id + count
                count += 1
            if token.special and token.content not in self.special_tokens():
                self.additional = [*(self.additional or ()), token.content]
            self.added[found] = token
            self.added_ids[token.content] = found
        return count
