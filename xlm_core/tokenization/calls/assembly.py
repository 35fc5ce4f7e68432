"""From columns of texts to an encoding: ids, truncation, frames, masks, padding, in that order.

All of it works on whole columns of a batch, so that a text costs a few list operations beside its
ids.
"""

from __future__ import annotations

from typing import Any

from xlm_core.errors import InputError, warn
from xlm_core.tokenization.calls.alignment import LazyAlignment, Texts
from xlm_core.tokenization.calls.arguments import SIDES, Arguments, Plan, check_natural, make_plan
from xlm_core.tokenization.calls.columns import Column, languages
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.calls.framing import FramingMixin
from xlm_core.tokenization.calls.padding import pad_keys
from xlm_core.tokenization.calls.truncation import Rows, cut_rows, overflow_span, refuse_stride

Ids = list[list[int]]
Langs = list[str | None]


class AssemblyMixin(FramingMixin):
    """The one path that every call takes."""

    def _encode(
        self,
        first: Column,
        second: Column | None,
        arguments: Arguments,
        single: bool = False,
        batch_axis: bool = True,
    ) -> BatchEncoding:
        """Encode a batch; with `single` a batch of one, whose keys lose the batch axis."""
        plan = self._plan(arguments)
        special = self.num_special_tokens_to_add(second is not None) * arguments.add_special_tokens
        self._check(first, second, arguments, plan, special)
        langs = self._langs(arguments.lang, len(first.items), "lang")
        langs_pair = langs
        if arguments.lang_pair is not None:
            langs_pair = self._langs(arguments.lang_pair, len(first.items), "lang_pair")
        a = self._ids(first, langs, arguments)
        b = None if second is None else self._ids(second, langs_pair, arguments)
        rows = self._rows(a, b, arguments, plan, special)
        data: dict[str, Any] = {}
        overflow = self._overflow(a, b, rows, arguments, plan, special)
        if self.mode != "v5":
            data.update(overflow)
        if rows.cut:
            a = [a[sample][i:j] for sample, (i, j) in zip(rows.samples, rows.first, strict=True)]
            if b is not None and rows.second is not None:
                b = [
                    b[sample][i:j] for sample, (i, j) in zip(rows.samples, rows.second, strict=True)
                ]
        data["input_ids"] = self._framed(a, b) if special else _joined(a, b)
        lengths = list(map(len, data["input_ids"]))
        self._add_masks(data, a, b, lengths, arguments, special)
        if self.mode == "v5":
            data.update(overflow)
        one_row = single and not arguments.return_windows
        names = self.model_input_names
        if arguments.return_length and not one_row:
            data["length"] = lengths
        wanted = arguments.return_attention_mask
        if "attention_mask" in names if wanted is None else wanted:
            data["attention_mask"] = [[1] * length for length in lengths]
        if arguments.return_langs:
            data["langs"] = self._lang_rows(langs, langs_pair, a, b, rows, bool(special))
        self._warn_of_long(lengths, plan, arguments)
        # transformers gives one empty row back as it is.
        pads = None if one_row and lengths == [0] else pad_keys(data, lengths, plan, self._fill())
        alignment = self._aligned(
            (first, second),
            (langs, langs_pair),
            arguments,
            rows,
            pads,
            data["input_ids"],
            plan.side,
        )
        if arguments.return_offsets_mapping:
            assert alignment is not None
            data["offset_mapping"] = [row.offsets for row in alignment]
        if arguments.return_windows:
            data["overflow_to_sample_mapping"] = list(rows.samples)
        if one_row:
            data = {key: value[0] for key, value in data.items()}
            if arguments.return_length:
                data["length"] = len(data["input_ids"])
        encoding = BatchEncoding(data, alignment, n_sequences=1 if second is None else 2)
        return encoding.convert_to_tensors(arguments.return_tensors, one_row and batch_axis)

    def _plan(self, arguments: Arguments) -> Plan:
        side = arguments.padding_side
        return make_plan(
            padding=arguments.padding,
            truncation=arguments.truncation,
            max_length=arguments.max_length,
            multiple=arguments.pad_to_multiple_of,
            side=self.padding_side if side is None else side,
            model_max_length=self.model_max_length,
            pad_token_id=self.pad_token_id,
            verbose=arguments.verbose,
        )

    def _fill(self) -> dict[str, int | None]:
        """What each key is padded with."""
        return {
            "input_ids": -1 if self.pad_token_id is None else self.pad_token_id,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
            "attention_mask": 0,
            "langs": None,
        }

    def _check(
        self,
        first: Column,
        second: Column | None,
        arguments: Arguments,
        plan: Plan,
        special: int,
    ) -> None:
        """Refuse arguments that contradict each other, before anything is tokenized."""
        check_natural("stride", arguments.stride, 0)
        check_natural("workers", arguments.workers, 1)
        if plan.truncation and plan.max_length is not None and plan.max_length < special:
            raise InputError(
                f"max_length is {plan.max_length}, but the special tokens alone need {special}: "
                "give a larger max_length, or add_special_tokens=False."
            )
        if plan.truncation and self.truncation_side not in SIDES:
            raise InputError(
                f"truncation_side={self.truncation_side!r} is not known: expected 'right' or "
                "'left'. Set it on the tokenizer."
            )
        if arguments.return_token_type_ids and not special and self.mode != "v5":
            raise InputError(
                "return_token_type_ids=True with add_special_tokens=False: token types are "
                "defined for framed sequences. Give add_special_tokens=True, or "
                "return_token_type_ids=None."
            )
        asked = "return_windows" if arguments.return_windows else "return_overflowing_tokens"
        if arguments.return_windows and arguments.return_overflowing_tokens:
            raise InputError(
                "return_windows and return_overflowing_tokens both say what becomes of tokens "
                "that are cut off: give one of them."
            )
        if arguments.return_windows or arguments.return_overflowing_tokens:
            if second is not None and plan.truncation == "longest_first":
                raise InputError(
                    f"{asked}=True for pairs with truncation='longest_first', which cuts both: "
                    "give 'only_first' or 'only_second'."
                )
            missing = plan.max_length is None and self.mode != "v5"
            if missing or (arguments.return_windows and not plan.truncation):
                raise InputError(f"{asked}=True needs truncation and max_length: give both.")
        if arguments.return_windows and plan.max_length is not None:
            room = plan.max_length - self.num_special_tokens_to_add() * bool(special)
            if arguments.stride >= room:
                refuse_stride(arguments.stride, room)
        for column in (first, second):
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
        if arguments.return_langs and (arguments.lang is None or not self.lang2id):
            lacking = "lang" if arguments.lang is None else "lang2id, which this tokenizer lacks"
            raise InputError(
                f"return_langs=True needs {lacking}: give lang='en', for instance, and a "
                "tokenizer with lang2id={'en': 0, ...}."
            )

    def _langs(self, value: Any, count: int, name: str) -> Langs:
        langs = languages(value, count, name)
        known = {lang: self._check_lang(lang) for lang in set(langs) if lang is not None}
        return [known[lang] if lang is not None else None for lang in langs] if known else langs

    def _splits(self, arguments: Arguments) -> bool:
        split = arguments.split_special_tokens
        return self.split_special_tokens if split is None else split

    def _ids(self, column: Column, langs: Langs, arguments: Arguments) -> Ids:
        if column.kind == "ids":
            return column.items
        if column.kind == "tokens":
            return [self.convert_tokens_to_ids(tokens) for tokens in column.items]
        return self._ids_of_texts(
            column.items,
            langs,
            words=column.kind == "words",
            bypass=arguments.bypass_tokenizer,
            split_special_tokens=self._splits(arguments),
            workers=arguments.workers,
        )

    def _rows(self, a: Ids, b: Ids | None, arguments: Arguments, plan: Plan, special: int) -> Rows:
        first = list(map(len, a))
        second = None if b is None else list(map(len, b))
        if plan.truncation and plan.max_length is not None and first:
            size = plan.max_length - special
            totals = first if second is None else list(map(int.__add__, first, second))
            if max(totals) > size:
                return cut_rows(
                    first,
                    second,
                    size,
                    plan.truncation,
                    self.truncation_side,
                    arguments.stride,
                    arguments.return_windows,
                )
        return Rows.whole(first, second)

    def _overflow(
        self,
        a: Ids,
        b: Ids | None,
        rows: Rows,
        arguments: Arguments,
        plan: Plan,
        special: int,
    ) -> dict[str, Any]:
        """What transformers calls overflowing: the tokens cut off, and `stride` beside them."""
        if not arguments.return_overflowing_tokens:
            return {}
        over: Ids = []
        counts = []
        for sample, ids in enumerate(a):
            total = len(ids) + special
            span, sequence = rows.first[sample], ids
            if b is not None and rows.second is not None:
                total += len(b[sample])
                if span == (0, len(ids)):
                    span, sequence = rows.second[sample], b[sample]
            gone = len(sequence) - (span[1] - span[0])
            side = self.truncation_side
            start, stop = (
                overflow_span(len(sequence), gone, arguments.stride, side) if gone else (0, 0)
            )
            over.append(sequence[start:stop])
            # The published figure: below 0 where there is room left.
            counts.append(total - (plan.max_length or 0))
        if self.mode == "v5":
            # There only where tokens are cut, and never as tensors.
            if arguments.return_tensors or not any(over):
                return {}
            counts = [max(count, 0) for count in counts]
        return {"overflowing_tokens": over, "num_truncated_tokens": counts}

    def _framed(self, a: Ids, b: Ids | None) -> Ids:
        opening, closing = self._frame()
        if b is None:
            return [[opening, *ids, closing] for ids in a]
        pairs = zip(a, b, strict=True)
        return [[opening, *ids, closing, *pair_ids, closing] for ids, pair_ids in pairs]

    def _add_masks(
        self,
        data: dict[str, Any],
        a: Ids,
        b: Ids | None,
        lengths: list[int],
        arguments: Arguments,
        special: int,
    ) -> None:
        wanted = arguments.return_token_type_ids
        if "token_type_ids" in self.model_input_names if wanted is None else wanted:
            if b is None or not special:
                data["token_type_ids"] = [[0] * length for length in lengths]
            else:
                ones = [len(ids) + 1 for ids in b]
                data["token_type_ids"] = [
                    [0] * (length - one) + [1] * one
                    for length, one in zip(lengths, ones, strict=True)
                ]
        if arguments.return_special_tokens_mask:
            mask = self.get_special_tokens_mask
            data["special_tokens_mask"] = (
                [mask(ids, None if b is None else b[row]) for row, ids in enumerate(a)]
                if special
                else [[0] * length for length in lengths]
            )

    def _lang_rows(
        self, langs: Langs, langs_pair: Langs, a: Ids, b: Ids | None, rows: Rows, framed: bool
    ) -> Ids:
        numbers = self.lang2id or {}
        result = []
        for row, sample in enumerate(rows.samples):
            ids = [numbers[langs[sample] or ""]] * (len(a[row]) + 2 * framed)
            if b is not None:
                ids += [numbers[langs_pair[sample] or ""]] * (len(b[row]) + framed)
            result.append(ids)
        return result

    def _warn_of_long(self, lengths: list[int], plan: Plan, arguments: Arguments) -> None:
        if plan.max_length is None and arguments.verbose and lengths:
            limit, longest = self.model_max_length, max(lengths)
            if 0 < limit < longest:
                warn(
                    f"{sum(length > limit for length in lengths)} of {len(lengths)} sequences are "
                    f"longer than the model takes: {longest} tokens, model_max_length is {limit}. "
                    "Give truncation=True."
                )

    def _aligned(
        self,
        columns: tuple[Column, Column | None],
        langs: tuple[Langs, Langs],
        arguments: Arguments,
        rows: Rows,
        pads: list[int] | None,
        ids: Ids,
        side: str,
    ) -> LazyAlignment | None:
        """What finds the texts' alignment later; None where ids or tokens were given."""
        texts = []
        for column, lang in zip(columns, langs, strict=True):
            if column is None:
                continue
            if column.kind in ("ids", "tokens"):
                return None
            texts.append(
                Texts(
                    column.items,
                    lang,
                    column.kind == "words",
                    arguments.bypass_tokenizer,
                    self._splits(arguments),
                )
            )
        layout = (rows.samples, rows.first, rows.second, pads)
        return LazyAlignment(self, tuple(texts), layout, ids, arguments.add_special_tokens, side)


def _joined(a: Ids, b: Ids | None) -> Ids:
    if b is None:
        return [list(ids) for ids in a]
    return [[*ids, *pair_ids] for ids, pair_ids in zip(a, b, strict=True)]
