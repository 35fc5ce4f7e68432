"""Calls whose arguments contradict each other, refused before anything is tokenized."""

from __future__ import annotations

from typing import NoReturn

from xlm_core.errors import InputError
from xlm_core.tokenization.calls.arguments import SIDES, Arguments, Plan, check_natural
from xlm_core.tokenization.calls.called_tokenizer import CalledTokenizer
from xlm_core.tokenization.calls.columns import Column
from xlm_core.tokenization.calls.truncation import refuse_stride
from xlm_core.tokenization.words.bpe import END_OF_WORD


def check_call(
    tokenizer: CalledTokenizer,
    first: Column,
    second: Column | None,
    arguments: Arguments,
    plan: Plan,
    special: int,
) -> None:
    """Refuse arguments that contradict each other, or the texts.

    Args:
        tokenizer: The tokenizer that is called.
        first: The first sequences.
        second: The second ones, or None.
        arguments: What the call says besides.
        plan: What its padding and truncation come to.
        special: How many special tokens frame each row.

    Raises:
        InputError: They do; the message says how to mend it.
    """
    check_natural("stride", arguments.stride, 0, required=True)
    check_natural("workers", arguments.workers, 1, required=True)
    if plan.truncation and plan.max_length is not None and plan.max_length < special:
        raise InputError(
            f"max_length is {plan.max_length}, but the special tokens alone need {special}: "
            "give a larger max_length, or add_special_tokens=False."
        )
    if plan.truncation and tokenizer.truncation_side not in SIDES:
        raise InputError(
            f"truncation_side={tokenizer.truncation_side!r} is not known: expected 'right' or "
            "'left'. Set it on the tokenizer."
        )
    if arguments.return_token_type_ids and not special and tokenizer.mode != "v5":
        raise InputError(
            "return_token_type_ids=True with add_special_tokens=False: token types are "
            "defined for framed sequences. Give add_special_tokens=True, or "
            "return_token_type_ids=None."
        )
    if arguments.return_windows or arguments.return_overflowing_tokens:
        _check_what_is_cut_off(tokenizer, second, arguments, plan, special)
    for column in (first, second):
        if column and column.kind == "tokens":
            _check_tokens(tokenizer, column)
        if column and arguments.return_offsets_mapping and column.kind in ("ids", "tokens"):
            raise InputError(
                f"return_offsets_mapping=True, but what was given are {column.kind}, which "
                "have no characters: give texts."
            )
    if arguments.lang_pair is not None and second is None:
        raise InputError(
            f"lang_pair={arguments.lang_pair!r}, but there is no text_pair: give one, or "
            "lang alone."
        )
    if arguments.lang_target is not None:
        raise InputError(
            f"lang_target={arguments.lang_target!r}, but there is no text_target: give one in a "
            "call of the tokenizer, or lang alone."
        )
    if arguments.return_langs and (arguments.lang is None or not tokenizer.lang2id):
        lacking = "lang" if arguments.lang is None else "lang2id, which this tokenizer lacks"
        raise InputError(
            f"return_langs=True needs {lacking}: give lang='en', for instance, and a "
            "tokenizer with lang2id={'en': 0, ...}."
        )


def _check_what_is_cut_off(
    tokenizer: CalledTokenizer,
    second: Column | None,
    arguments: Arguments,
    plan: Plan,
    special: int,
) -> None:
    if arguments.return_windows and arguments.return_overflowing_tokens:
        raise InputError(
            "return_windows and return_overflowing_tokens both say what becomes of tokens "
            "that are cut off: give one of them."
        )
    asked = "return_windows" if arguments.return_windows else "return_overflowing_tokens"
    if second is not None and plan.truncation == "longest_first":
        raise InputError(
            f"{asked}=True for pairs with truncation='longest_first', which cuts both: "
            "give 'only_first' or 'only_second'."
        )
    missing = plan.max_length is None and tokenizer.mode != "v5"
    if missing or (arguments.return_windows and not plan.truncation):
        raise InputError(f"{asked}=True needs truncation and max_length: give both.")
    if arguments.return_windows and plan.max_length is not None:
        one = special - (second is not None) if special else 0
        room = plan.max_length - one
        if arguments.stride >= room:
            refuse_stride(arguments.stride, room)


def _check_tokens(tokenizer: CalledTokenizer, column: Column) -> None:
    """Refuse lists of texts or words, which would be looked up as tokens and become unknown.

    No token holds a blank, but for added tokens; and somewhere in a batch of texts a word ends. The
    tokens of one text may be the beginning of a word, of which the vocabulary knows all that are
    longer than a character.
    """
    added = tokenizer.added_tokens_encoder
    ends_word = False
    for row in column.items:
        for token in row:
            known = token in added
            ends_word = ends_word or known or token.endswith(END_OF_WORD)
            if not known and len(token.split()) != 1:
                _refuse_tokens(row)
    if ends_word:
        return
    row = next(row for row in column.items if row)
    if column.single:
        longer = [token for token in row if len(token) > 1]
        ids = tokenizer.convert_tokens_to_ids(longer)
        if tokenizer.convert_ids_to_tokens(ids) == longer:
            return
    _refuse_tokens(row)


def _refuse_tokens(row: list[str]) -> NoReturn:
    raise InputError(
        f"{row!r:.80} was given for one text: without is_split_into_words a list of strings is a "
        f"list of tokens, as `tokenize` returns them ({END_OF_WORD!r} ends a word), and these are "
        "none. For words give is_split_into_words=True. For multiple choice, where each question "
        "has several texts, give flat lists and fold the rows: "
        "tokenizer([text for row in texts for text in row], "
        "[pair for row in pairs for pair in row], padding=True, return_tensors='np'), and of each "
        "value `value.reshape(len(texts), -1, value.shape[-1])`."
    )
