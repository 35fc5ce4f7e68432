"""Columns of texts to an encoding: ids, truncation, frames, masks, padding, in that order.

All of it works on whole columns of a batch, so that a text costs a few list operations beside its
ids.
"""

from __future__ import annotations

from typing import Any

from xlm_core.errors import warn
from xlm_core.tokenization.calls.alignment import LazyAlignment, Texts
from xlm_core.tokenization.calls.arguments import Arguments, make_plan
from xlm_core.tokenization.calls.called_tokenizer import CalledTokenizer
from xlm_core.tokenization.calls.checks import check_call
from xlm_core.tokenization.calls.columns import Column, languages
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.calls.framing import Framing
from xlm_core.tokenization.calls.padding import pad_keys, padding_values
from xlm_core.tokenization.calls.truncation import Rows, cut_rows, overflow_span
from xlm_core.tokenization.text_encoder import TextOptions

Ids = list[list[int]]
Langs = list[str | None]


class Assembly:
    """One call: assembles the encoding of a batch.

    Args:
        tokenizer: The tokenizer that is called.
        framing: Its special tokens around sequences.
        first: The first sequences.
        second: The second ones; None for single sequences.
        arguments: What the call says besides.

    Raises:
        InputError: The arguments contradict each other, or the texts.
        UnknownLanguageError: A language is unknown.
    """

    __slots__ = (
        "_arguments",
        "_columns",
        "_framing",
        "_langs",
        "_langs_pair",
        "_names",
        "_options",
        "_plan",
        "_special",
        "_tokenizer",
    )

    def __init__(
        self,
        tokenizer: CalledTokenizer,
        framing: Framing,
        first: Column,
        second: Column | None,
        arguments: Arguments,
    ) -> None:
        self._tokenizer = tokenizer
        pair = second is not None
        self._framing = framing.of_kind(
            arguments.framing, pair=pair, add_special_tokens=arguments.add_special_tokens
        )
        self._columns = first, second
        self._arguments = arguments
        side = arguments.padding_side
        self._plan = make_plan(
            padding=arguments.padding,
            truncation=arguments.truncation,
            max_length=arguments.max_length,
            multiple=arguments.pad_to_multiple_of,
            side=tokenizer.padding_side if side is None else side,
            model_max_length=tokenizer.model_max_length,
            pad_token_id=tokenizer.pad_token_id,
            verbose=arguments.verbose,
        )
        # How many special tokens frame each row.
        # A subclass may say another number, but not for a framing that a call asks for.
        own = arguments.framing is None
        count = tokenizer.num_special_tokens_to_add(pair) if own else self._framing.count(pair)
        self._special = count * arguments.add_special_tokens
        check_call(tokenizer, first, second, arguments, self._plan, self._special)
        self._langs = self._languages(arguments.lang, "lang")
        self._langs_pair = self._langs
        if arguments.lang_pair is not None:
            self._langs_pair = self._languages(arguments.lang_pair, "lang_pair")
        split = arguments.split_special_tokens
        self._options = TextOptions(
            bypass=arguments.bypass_tokenizer,
            split_special_tokens=tokenizer.split_special_tokens if split is None else split,
        )
        self._names = tokenizer.model_input_names

    def encoding(self, *, single: bool, batch_axis: bool) -> BatchEncoding:
        """The encoding of the batch.

        Args:
            single: The batch is one sample, and its keys have no batch axis.
            batch_axis: Tensors of one sample have it nevertheless.
        """
        arguments, plan = self._arguments, self._plan
        column, column_pair = self._columns
        first = self._ids(column, self._langs)
        second = None if column_pair is None else self._ids(column_pair, self._langs_pair)
        rows = self._rows(first, second)
        overflow = self._overflow(first, second, rows)
        if rows.cut:
            first, second = rows.of(first, second)
        data: dict[str, Any] = {}
        # transformers 4 gives overflowing tokens first, transformers 5 after the masks.
        if self._tokenizer.mode != "v5":
            data.update(overflow)
        data["input_ids"] = self._framed(first, second)
        lengths = list(map(len, data["input_ids"]))
        self._add_masks(data, first, second, lengths)
        if self._tokenizer.mode == "v5":
            data.update(overflow)
        one_row = single and not arguments.return_windows
        if arguments.return_length and not one_row:
            data["length"] = lengths
        wanted = arguments.return_attention_mask
        if "attention_mask" in self._names if wanted is None else wanted:
            data["attention_mask"] = [[1] * length for length in lengths]
        if arguments.return_langs:
            data["langs"] = self._numbers_of_languages(first, second, rows)
        self._warn_of_long_rows(lengths)
        pads = None
        if not (one_row and lengths == [0]):  # transformers gives one empty row back as it is
            pads = pad_keys(data, lengths, plan, padding_values(self._tokenizer))
        alignment = self._alignment(rows, pads, data["input_ids"])
        if arguments.return_offsets_mapping:
            assert alignment is not None
            data["offset_mapping"] = [row.offsets for row in alignment]
        if arguments.return_windows:
            data["overflow_to_sample_mapping"] = list(rows.samples)
        if one_row:
            data = {key: value[0] for key, value in data.items()}
            if arguments.return_length:
                data["length"] = len(data["input_ids"])
        sequences = 1 if column_pair is None else 2
        encoding = BatchEncoding(data, alignment, n_sequences=sequences)
        return encoding.convert_to_tensors(arguments.return_tensors, one_row and batch_axis)

    def _languages(self, value: Any, name: str) -> Langs:
        """The language of each sample, checked."""
        langs = languages(value, len(self._columns[0].items), name)
        check = self._tokenizer._languages.check
        known = {lang: check(lang) for lang in set(langs) if lang is not None}
        return [known[lang] if lang is not None else None for lang in langs] if known else langs

    def _ids(self, column: Column, langs: Langs) -> Ids:
        """Ids of the sequences, without special tokens."""
        if column.kind == "ids":
            return column.items
        if column.kind == "tokens":
            return [self._tokenizer.convert_tokens_to_ids(tokens) for tokens in column.items]
        return self._tokenizer._ids_of_texts(
            column.items, langs, self._options_of(column), workers=self._arguments.workers
        )

    def _options_of(self, column: Column) -> TextOptions:
        if column.kind != "words":
            return self._options
        options = self._options
        return TextOptions(True, options.bypass, options.split_special_tokens)

    def _rows(self, first: Ids, second: Ids | None) -> Rows:
        """Which tokens each row holds, after truncation."""
        plan = self._plan
        lengths = list(map(len, first))
        lengths_pair = None if second is None else list(map(len, second))
        if plan.truncation and plan.max_length is not None and lengths:
            size = plan.max_length - self._special
            totals = lengths
            if lengths_pair is not None:
                totals = list(map(int.__add__, lengths, lengths_pair))
            if max(totals) > size:
                return cut_rows(
                    lengths,
                    lengths_pair,
                    size,
                    plan.truncation,
                    self._tokenizer.truncation_side,
                    self._arguments.stride,
                    self._arguments.return_windows,
                )
        return Rows.whole(lengths, lengths_pair)

    def _overflow(self, first: Ids, second: Ids | None, rows: Rows) -> dict[str, Any]:
        """What transformers calls overflowing: the tokens cut off, and `stride` beside them."""
        if not self._arguments.return_overflowing_tokens:
            return {}
        over: Ids = []
        counts = []
        for sample, ids in enumerate(first):
            total = len(ids) + self._special
            span, sequence = rows.first[sample], ids
            if second is not None and rows.second is not None:
                total += len(second[sample])
                if span == (0, len(ids)):
                    span, sequence = rows.second[sample], second[sample]
            gone = len(sequence) - (span[1] - span[0])
            start, stop = 0, 0
            if gone:
                side = self._tokenizer.truncation_side
                start, stop = overflow_span(len(sequence), gone, self._arguments.stride, side)
            over.append(sequence[start:stop])
            # As transformers reports it: below 0 where there is room left.
            counts.append(total - (self._plan.max_length or 0))
        if self._tokenizer.mode == "v5":
            # There only where tokens are cut, and never as tensors.
            if self._arguments.return_tensors or not any(over):
                return {}
            counts = [max(count, 0) for count in counts]
        return {"overflowing_tokens": over, "num_truncated_tokens": counts}

    def _framed(self, first: Ids, second: Ids | None) -> Ids:
        if self._special:
            return self._framing.frame(first, second)
        if second is None:
            return [list(ids) for ids in first]
        return [[*ids, *pair_ids] for ids, pair_ids in zip(first, second, strict=True)]

    def _add_masks(
        self, data: dict[str, Any], first: Ids, second: Ids | None, lengths: list[int]
    ) -> None:
        """Add the token types and the mask of special tokens, as far as they are wanted."""
        wanted = self._arguments.return_token_type_ids
        if "token_type_ids" in self._names if wanted is None else wanted:
            if second is None or not self._special:
                data["token_type_ids"] = [[0] * length for length in lengths]
            else:
                ones = [len(ids) + 1 for ids in second]
                data["token_type_ids"] = [
                    [0] * (length - one) + [1] * one
                    for length, one in zip(lengths, ones, strict=True)
                ]
        if self._arguments.return_special_tokens_mask:
            data["special_tokens_mask"] = (
                [
                    self._special_tokens_mask(ids, None if second is None else second[row])
                    for row, ids in enumerate(first)
                ]
                if self._special
                else [[0] * length for length in lengths]
            )

    def _special_tokens_mask(self, ids: list[int], pair_ids: list[int] | None) -> list[int]:
        if self._arguments.framing is None:
            return self._tokenizer.get_special_tokens_mask(ids, pair_ids)
        other = None if pair_ids is None else len(pair_ids)
        return self._framing.special_tokens_mask(len(ids), other)

    def _numbers_of_languages(self, first: Ids, second: Ids | None, rows: Rows) -> Ids:
        """The number of the language at each position of each row."""
        numbers = self._tokenizer.lang2id or {}
        framed = bool(self._special)
        frame = (1 + self._framing.closes) * framed
        result = []
        for row, sample in enumerate(rows.samples):
            ids = [numbers[self._langs[sample] or ""]] * (len(first[row]) + frame)
            if second is not None:
                ids += [numbers[self._langs_pair[sample] or ""]] * (len(second[row]) + framed)
            result.append(ids)
        return result

    def _warn_of_long_rows(self, lengths: list[int]) -> None:
        if self._plan.max_length is None and self._arguments.verbose and lengths:
            limit, longest = self._tokenizer.model_max_length, max(lengths)
            if 0 < limit < longest:
                warn(
                    f"{sum(length > limit for length in lengths)} of {len(lengths)} sequences are "
                    f"longer than the model takes: {longest} tokens, model_max_length is {limit}. "
                    "Give truncation=True."
                )

    def _alignment(self, rows: Rows, pads: list[int] | None, ids: Ids) -> LazyAlignment | None:
        """What finds the alignment when it is asked for; None where ids or tokens were given."""
        texts = []
        for column, langs in zip(self._columns, (self._langs, self._langs_pair), strict=True):
            if column is None:
                continue
            if column.kind in ("ids", "tokens"):
                return None
            texts.append(Texts(column.items, langs, self._options_of(column)))
        layout = (rows.samples, rows.first, rows.second, pads)
        framed = self._arguments.add_special_tokens
        frame = (int(framed), int(framed and self._framing.closes))
        return LazyAlignment(self._tokenizer, tuple(texts), layout, ids, frame, self._plan.side)
