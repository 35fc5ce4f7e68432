"""The calls that `XLMTokenizer` has in common with every slow tokenizer of transformers 4.57."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from xlm_core.errors import InputError
from xlm_core.tokenization.calls.arguments import Arguments, make_plan, truncation_name
from xlm_core.tokenization.calls.assembly import Assembly
from xlm_core.tokenization.calls.called_tokenizer import CalledTokenizer
from xlm_core.tokenization.calls.columns import Column, is_batch, many_samples, one_sample
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.calls.framing import Framing
from xlm_core.tokenization.calls.padding import features_of, pad_keys, padding_values
from xlm_core.tokenization.calls.truncation import kept, overflow_span, removed


class Batching:
    """Encodes texts, pairs and batches of either, and pads and truncates what is encoded.

    Args:
        tokenizer: Whose texts these are. Its settings are read at every call, and the methods
            that a subclass may override are asked by their public names.
        framing: Its special tokens around sequences.
    """

    def __init__(self, tokenizer: CalledTokenizer, framing: Framing) -> None:
        self._tokenizer = tokenizer
        self._framing = framing

    def call(
        self, text: Any, pair: Any, target: Any, target_pair: Any, arguments: Arguments
    ) -> BatchEncoding:
        """Encode texts, and targets as their labels.

        Args:
            text, pair: The texts, and the second text of each; None for none.
            target, target_pair: Encoded as well; their ids become `labels`, or the whole
                encoding where `text` is None.
            arguments: What the call says besides.

        Raises:
            InputError: There are neither texts nor targets, or they make no sense.
        """
        if text is None and target is None:
            raise InputError(
                "the tokenizer got neither text nor text_target: expected a str, or a list for a "
                "batch (of texts, of lists of words, of pairs)."
            )
        if target is None:
            return self._one_or_many(text, pair, arguments)
        of_text = replace(arguments, lang_target=None)
        of_target = of_text
        if arguments.lang_target is not None:
            of_target = replace(of_text, lang=arguments.lang_target)
        if text is None:
            return self._one_or_many(target, target_pair, of_target)
        encoding = self._one_or_many(text, pair, of_text)
        if target_pair is None:
            of_target = replace(of_target, lang_pair=None)  # of the text's pair alone
        encoding["labels"] = self._one_or_many(target, target_pair, of_target)["input_ids"]
        return encoding

    def _one_or_many(self, text: Any, pair: Any, arguments: Arguments) -> BatchEncoding:
        words = arguments.is_split_into_words
        if is_batch(text, words):
            return self.many(text, pair, arguments)
        if isinstance(text, str) and isinstance(pair, (list, tuple)) and not words:
            raise InputError(
                f"text is one str and text_pair a list of {len(pair)}: expected one str, or a "
                "list for text as well."
            )
        return self.one(text, pair, arguments)

    def one(self, text: Any, pair: Any, arguments: Arguments) -> BatchEncoding:
        """Encode one text or pair; tensors have a batch axis, lists have none."""
        first, second = one_sample(text, pair, arguments.is_split_into_words)
        return self._assembly(first, second, arguments).encoding(single=True, batch_axis=True)

    def prepare(
        self,
        ids: list[int],
        pair_ids: list[int] | None,
        arguments: Arguments,
        *,
        batch_axis: bool,
    ) -> BatchEncoding:
        """Encode the ids of one text or pair; tensors have a batch axis where it is asked for."""
        first, second = one_sample(ids, pair_ids, False)
        return self._assembly(first, second, arguments).encoding(single=True, batch_axis=batch_axis)

    def many(self, texts: Any, pairs: Any, arguments: Arguments) -> BatchEncoding:
        """Encode a batch of texts, or of pairs."""
        first, second = many_samples(texts, pairs, arguments.is_split_into_words)
        return self._assembly(first, second, arguments).encoding(single=False, batch_axis=True)

    def _assembly(self, first: Column, second: Column | None, arguments: Arguments) -> Assembly:
        return Assembly(self._tokenizer, self._framing, first, second, arguments)

    def truncate(
        self, ids: list[int], pair_ids: list[int] | None, count: int, strategy: str, stride: int
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """Remove `count` tokens; see `XLMTokenizer.truncate_sequences`.

        Returns:
            The shortened ids, the shortened pair_ids or None, and the overflowing tokens.

        Raises:
            InputError: The strategy is unknown or cannot remove as many.
        """
        name = truncation_name(strategy)
        if count <= 0 or name is None:
            return ids, pair_ids, []
        side, length = self._tokenizer.truncation_side, len(ids)
        other = None if pair_ids is None else len(pair_ids)
        gone, gone_pair = removed(length, other, count, name)
        overflowing: list[int] = []
        if name == "only_second" and pair_ids is not None:
            overflowing = pair_ids[slice(*overflow_span(len(pair_ids), gone_pair, stride, side))]
        elif name == "only_first" or pair_ids is None:
            overflowing = ids[slice(*overflow_span(length, gone, stride, side))]
        if pair_ids is not None:
            pair_ids = pair_ids[slice(*kept(len(pair_ids), gone_pair, side))]
        return ids[slice(*kept(length, gone, side))], pair_ids, overflowing

    def pad(
        self,
        encoded: Any,
        *,
        padding: bool | str,
        max_length: int | None,
        multiple: int | None,
        side: str | None,
        return_attention_mask: bool | None,
        return_tensors: str | None,
        verbose: bool,
    ) -> BatchEncoding:
        """Pad what was encoded before; see `XLMTokenizer.pad`.

        Raises:
            InputError: There are no input_ids, or keys do not fit together.
        """
        tokenizer = self._tokenizer
        main = tokenizer.model_input_names[0]
        data, single, kind = features_of(encoded, main)
        if single and not data[main]:
            if return_attention_mask:
                data["attention_mask"] = []
            return BatchEncoding(data, tensor_type=return_tensors)
        plan = make_plan(
            padding=padding,
            truncation=False,
            max_length=max_length,
            multiple=multiple,
            side=tokenizer.padding_side if side is None else side,
            model_max_length=tokenizer.model_max_length,
            pad_token_id=tokenizer.pad_token_id,
            verbose=verbose,
        )
        if single:
            data = {key: [value] for key, value in data.items()}
        lengths = list(map(len, data[main]))
        values = padding_values(tokenizer)
        if return_attention_mask is None:
            return_attention_mask = "attention_mask" in tokenizer.model_input_names
        if not return_attention_mask:
            del values["attention_mask"]
        elif "attention_mask" not in data:
            data["attention_mask"] = [[1] * length for length in lengths]
        pad_keys(data, lengths, plan, values)
        if single:
            data = {key: value[0] for key, value in data.items()}
        return BatchEncoding(data, tensor_type=return_tensors or kind)
