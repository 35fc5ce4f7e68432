"""The vocabulary as a user sees it: special tokens, added tokens, tokens to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

from xlm_core.errors import InputError, TokenizerError, refuse_unknown_arguments, warn
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


class _Role:
    """Attribute: the token that has a role, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> _Role: ...

    @overload
    def __get__(self, instance: SpecialTokensMixin, owner: type) -> str | None: ...

    def __get__(self, instance: SpecialTokensMixin | None, owner: type) -> _Role | str | None:
        return self if instance is None else instance._named[self._name]

    def __set__(self, instance: SpecialTokensMixin, token: Any) -> None:
        instance._named[self._name] = None if token is None else AddedToken.of(token).content
        instance._forget()


class _RoleId:
    """Attribute: the id of the token that has a role, or None."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name.removesuffix("_id")

    @overload
    def __get__(self, instance: None, owner: type) -> _RoleId: ...

    @overload
    def __get__(self, instance: SpecialTokensMixin, owner: type) -> int | None: ...

    def __get__(self, instance: SpecialTokensMixin | None, owner: type) -> _RoleId | int | None:
        if instance is None:
            return self
        token = instance._named[self._name]
        return None if token is None else instance._id_of_token(token)

    def __set__(self, instance: SpecialTokensMixin, i: int | None) -> None:
        setattr(instance, self._name, None if i is None else instance._token_of_id(i))


class SpecialTokensMixin:
    """What `XLMTokenizer` knows about its tokens.

    Attributes:
        encoder: Id of each subword of the vocabulary, as vocab.json has it.
        decoder: Subword of each id.
    """

    mode: str
    encoder: dict[str, int]
    decoder: dict[int, str]
    do_lowercase_and_remove_accent: bool
    _named: dict[str, str | None]
    _additional: list[str]
    _added: dict[int, AddedToken]
    _added_ids: dict[str, int]

    bos_token, bos_token_id = _Role(), _RoleId()
    eos_token, eos_token_id = _Role(), _RoleId()
    unk_token, unk_token_id = _Role(), _RoleId()
    sep_token, sep_token_id = _Role(), _RoleId()
    pad_token, pad_token_id = _Role(), _RoleId()
    cls_token, cls_token_id = _Role(), _RoleId()
    mask_token, mask_token_id = _Role(), _RoleId()

    def _forget(self) -> None:
        """Drop whatever was derived from the vocabulary."""
        raise NotImplementedError

    def _set_up_special_tokens(
        self,
        named: Mapping[str, Any],
        additional: Iterable[Any],
        added: Mapping[int, AddedToken],
    ) -> None:
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
        self._added = dict(added)
        self._added_ids = {token.content: i for i, token in self._added.items()}
        tokens = {
            name: None if token is None else AddedToken.of(token, special=True)
            for name, token in named.items()
        }
        others = [AddedToken.of(token, special=True) for token in list_of_tokens(additional)]
        self._named = {
            name: None if token is None else token.content for name, token in tokens.items()
        }
        self._additional = [token.content for token in others]
        known = {token.content: token for token in (*tokens.values(), *others) if token}
        missing = [
            name for name in known if name not in self.encoder and name not in self._added_ids
        ]
        if missing:
            warn(
                f"The vocabulary lacks {', '.join(map(repr, missing))}; as in transformers, they "
                "are given new ids after the last one, which the model's embeddings must have room "
                "for."
            )
        self._add_tokens(
            known[name] for name in self.all_special_tokens if name not in self._added_ids
        )

    # -- special tokens ---------------------------------------------------------------------

    @property
    def additional_special_tokens(self) -> list[str]:
        """Special tokens without a role of their own."""
        return list(self._additional)

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Iterable[Any]) -> None:
        self._additional = [AddedToken.of(token).content for token in list_of_tokens(tokens)]
        self._forget()

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Their ids."""
        return [self._id_of_token(token) for token in self._additional]

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once: those with a role in the order of roles, then the others."""
        named = (token for token in self._named.values() if token is not None)
        return list(dict.fromkeys((*named, *self._additional)))

    @property
    def all_special_ids(self) -> list[int]:
        """Their ids."""
        return [self._id_of_token(token) for token in self.all_special_tokens]

    @property
    def special_tokens_map(self) -> dict[str, str | list[str]]:
        """The token of each role that has one."""
        found: dict[str, str | list[str]] = {n: t for n, t in self._named.items() if t is not None}
        if self._additional:
            found["additional_special_tokens"] = self.additional_special_tokens
        return found

    # -- added tokens -----------------------------------------------------------------------

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Every token that is found in a text as it is, by id."""
        return dict(sorted(self._added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Their ids, by content."""
        return {token.content: i for i, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """Ids of the added tokens, special ones included."""
        return dict(self._added_ids)

    def add_tokens(self, new_tokens: Any, special_tokens: bool = False) -> int:
        """Add tokens that are found in a text as they are.

        A token that the vocabulary has keeps its id; others get new ones, after the last. Where
        the tokenizer lowercases, a token that is not special is added lowercased.

        Args:
            new_tokens: A string or `AddedToken`, or several.
            special_tokens: Whether they are control tokens.

        Returns:
            How many new ids there are; call `model.resize_token_embeddings(len(tokenizer))`.
        """
        if new_tokens is None:
            return 0
        if isinstance(new_tokens, str) or not isinstance(new_tokens, Sequence):
            new_tokens = [new_tokens]
        return self._add_tokens(
            [
                AddedToken.of(
                    token,
                    special=special_tokens
                    or (isinstance(token, str) and token in self.all_special_tokens),
                )
                for token in new_tokens
                # An AddedToken says anew how a token is found; a string changes nothing.
                if not (isinstance(token, str) and token in self._added_ids)
            ]
        )

    def add_special_tokens(
        self,
        special_tokens_dict: Mapping[str, Any],
        replace_additional_special_tokens: bool = True,
    ) -> int:
        """Give tokens to roles, and add them to the vocabulary where it lacks them.

        Args:
            special_tokens_dict: Token of each role ("pad_token", ...), or a list of tokens for
                "additional_special_tokens" (also "extra_special_tokens", transformers 5's name).
            replace_additional_special_tokens: Whether that list takes the place of the one before.

        Returns:
            How many new ids there are.
        """
        roles = dict(special_tokens_dict)
        extra = roles.pop("extra_special_tokens", None)
        if extra is not None:
            roles.setdefault("additional_special_tokens", extra)
        known = (*NAMED_SPECIAL_TOKENS, "additional_special_tokens", "extra_special_tokens")
        refuse_unknown_arguments("add_special_tokens", roles.keys() - set(known), known)
        tokens: list[AddedToken] = []
        for role, value in roles.items():
            if role == "additional_special_tokens":
                new = [AddedToken.of(token, special=True) for token in list_of_tokens(value)]
                if replace_additional_special_tokens and new:
                    self._additional = []
                self._additional += [t.content for t in new if t.content not in self._additional]
                tokens += new
            elif value is None:
                self._named[role] = None
            else:
                tokens.append(AddedToken.of(value, special=True))
                self._named[role] = tokens[-1].content
        return self._add_tokens(tokens)

    def _add_tokens(self, tokens: Iterable[AddedToken]) -> int:
        vocabulary = self.get_vocab()
        # transformers takes the first of these alone, and so a taken id where ids have holes.
        next_id = max(len(vocabulary), max(vocabulary.values(), default=-1) + 1)
        count = 0
        for token in tokens:
            if not token.content:
                continue
            if not token.special and token.normalized and self.do_lowercase_and_remove_accent:
                token = AddedToken.of({**token.to_dict(), "content": token.content.lower()})
            found = self._added_ids.get(token.content, self.encoder.get(token.content))
            if found is None:
                found = next_id + count
                count += 1
            if token.special and token.content not in self.all_special_tokens:
                self._additional.append(token.content)
            self._added[found] = token
            self._added_ids[token.content] = found
        self._forget()
        return count

    # -- tokens and ids ---------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, without added tokens."""
        return len(self.encoder)

    def __len__(self) -> int:
        """Size of the vocabulary, with added tokens."""
        return len(self.encoder.keys() | self._added_ids.keys())

    def get_vocab(self) -> dict[str, int]:
        """Id of every subword and added token."""
        return {**self.encoder, **self._added_ids}

    def _id_of_token(self, token: str) -> int:
        found = self._added_ids.get(token)
        if found is None:
            found = self.encoder.get(token)
        if found is None:
            found = self._unknown_id()
        return found

    def _unknown_id(self) -> int:
        unknown = self._named["unk_token"]
        found = None
        if unknown is not None:
            found = self._added_ids.get(unknown, self.encoder.get(unknown))
        if found is None:
            raise TokenizerError(
                f"There is no id for what the vocabulary lacks: unk_token is {unknown!r}. Set "
                "tokenizer.unk_token to a token of the vocabulary."
            )
        return found

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Id of a token, or of each of several; that of `unk_token` for what is not known."""
        if tokens is None:
            return None
        if isinstance(tokens, str):
            return self._id_of_token(tokens)
        wrong = [token for token in tokens if not isinstance(token, str)]
        if wrong:
            raise InputError(f"Tokens are strings; among them is {wrong[0]!r}.")
        return [self._id_of_token(token) for token in tokens]

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Token of an id, or of each of several; `unk_token` for an id that there is not.

        Args:
            ids: A number or several, also an array or tensor of them.
            skip_special_tokens: Leave the special tokens out.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if isinstance(ids, int):
            return self._token_of_id(ids)
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise InputError(f"Ids are whole numbers; got {ids!r}.")
        ids = list(ids)
        wrong = [i for i in ids if not hasattr(i, "__index__")]
        if wrong:
            raise InputError(
                f"Ids are whole numbers; among them is {wrong[0]!r}. For several rows of ids, call "
                "batch_decode."
            )
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._token_of_id(int(i)) for i in ids if int(i) not in skipped]

    def _token_of_id(self, i: int) -> str:
        added = self._added.get(i)
        if added is not None:
            return added.content
        return self.decoder.get(i, self._named["unk_token"] or "<unk>")
