"""The calls that `XLMTokenizer` has in common with every slow tokenizer of transformers 4.57."""

from __future__ import annotations

from typing import Any

from xlm_core.errors import InputError
from xlm_core.tokenization.calls.arguments import Arguments, make_plan, truncation_name
from xlm_core.tokenization.calls.assembly import AssemblyMixin
from xlm_core.tokenization.calls.columns import is_batch, many_samples, one_sample
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.calls.padding import features_of, pad_keys
from xlm_core.tokenization.calls.truncation import kept, overflow_span, removed


class BatchingMixin(AssemblyMixin):
    """The calls of a slow tokenizer of transformers, over what `XLMTokenizer` provides."""

    def __call__(
        self,
        text: Any = None,
        text_pair: Any = None,
        text_target: Any = None,
        text_pair_target: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
        **more: Any,
    ) -> BatchEncoding:
        """Tokenize a text, a pair, or a batch of either.

        A str is one text, a list of str a batch; with `is_split_into_words` a list of str is one
        text and a list of such lists a batch. Entries may be pairs (first, second), and lists of
        ids in place of a text.

        Args:
            text: What to tokenize.
            text_pair: Second texts, one for each.
            text_target, text_pair_target: Tokenized as well; their ids become `labels`, or the
                whole result where `text` is None.
            add_special_tokens: Frame the sequences: `<s> A </s>`, `<s> A </s> B </s>` (with
                mode="original" `</s>` in place of `<s>`).
            padding: True or "longest", "max_length", False or "do_not_pad".
            truncation: True or "longest_first", "only_first", "only_second", False or
                "do_not_truncate". None is False, but True where `max_length` is given and
                `padding` is False.
            max_length: The length that padding and truncation go to; default, the model's.
            stride: How many tokens overflowing tokens or windows share with what was kept.
            is_split_into_words: Lists of str are texts that are split into words.
            pad_to_multiple_of: Padded lengths are multiples of it.
            padding_side: "right" or "left", in place of the tokenizer's.
            return_tensors: "np", "pt" or "tf".
            return_token_type_ids, return_attention_mask: Default, whether `model_input_names`
                has them.
            return_overflowing_tokens: `overflowing_tokens` and `num_truncated_tokens`.
            return_special_tokens_mask: 1 for the frame and padding, else 0.
            return_offsets_mapping: `offset_mapping`, characters (start, end) of each token.
            return_length: The length of each row: without padding in a batch, with it for one
                text, as in transformers.
            verbose: False keeps warnings about lengths quiet.
            **more: Not in transformers:
                lang: The language of the texts, or a list of one each.
                lang_pair: That of the second texts; default `lang`.
                return_langs: `langs`, the number of the language at each position: of a pair the
                    second one for its second sequence, the `</s>` after it and padding after that.
                bypass_tokenizer: Words, separated by spaces, go straight to BPE.
                split_special_tokens: Special tokens in a text are split like words.
                workers: Number of processes.
                return_windows: As many rows a text as cover it, each of at most `max_length`,
                    neighbours sharing `stride` tokens, and `overflow_to_sample_mapping`, the
                    sample of each row. As fast tokenizers do for return_overflowing_tokens.

        Returns:
            Key -> list of ints for one text, lists of them for a batch; with return_tensors
            int64 (TensorFlow int32) of shape (batch, length), batch 1 for one text.

        Raises:
            InputError: For texts or arguments that make no sense, with what to do. transformers
                leaves rows long where truncation cannot shorten them, gives ragged object arrays
                and takes a list for one text's pair; these are refused.
            UnknownArgumentError: For an unknown argument.
        """
        arguments = Arguments.of(
            "the tokenizer",
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            is_split_into_words=is_split_into_words,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=padding_side,
            return_tensors=return_tensors,
            return_token_type_ids=return_token_type_ids,
            return_attention_mask=return_attention_mask,
            return_overflowing_tokens=return_overflowing_tokens,
            return_special_tokens_mask=return_special_tokens_mask,
            return_offsets_mapping=return_offsets_mapping,
            return_length=return_length,
            verbose=verbose,
            **more,
        )
        if text is None and text_target is None:
            raise InputError(
                "the tokenizer got neither text nor text_target: expected a str, or a list for a "
                "batch (of texts, of lists of words, of pairs)."
            )
        if text is None:
            return self._call_one(text_target, text_pair_target, arguments)
        encoding = self._call_one(text, text_pair, arguments)
        if text_target is not None:
            target = self._call_one(text_target, text_pair_target, arguments)
            encoding["labels"] = target["input_ids"]
        return encoding

    def _call_one(self, text: Any, pair: Any, arguments: Arguments) -> BatchEncoding:
        words = arguments.is_split_into_words
        if is_batch(text, words):
            return self._encode(*many_samples(text, pair, words), arguments)
        if isinstance(text, str) and isinstance(pair, (list, tuple)) and not words:
            raise InputError(
                f"text is one str and text_pair a list of {len(pair)}: expected one str, or a "
                "list for text as well."
            )
        return self._encode(*one_sample(text, pair, words), arguments, single=True)

    def encode(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        **more: Any,
    ) -> Any:
        """The ids of one text or pair: `encode_plus` reduced to its `input_ids`.

        Returns:
            A list of ints; with return_tensors int64 (TensorFlow int32) of shape (1, length).
        """
        return self.encode_plus(
            text,
            text_pair,
            add_special_tokens,
            padding,
            truncation,
            max_length,
            stride,
            padding_side=padding_side,
            return_tensors=return_tensors,
            **more,
        )["input_ids"]

    def encode_plus(
        self,
        text: Any,
        text_pair: Any = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        **more: Any,
    ) -> BatchEncoding:
        """Tokenize one text or pair; a list is its tokens, words (if split) or ids.

        Args:
            text, text_pair: A str, or a list of str or int.
            add_special_tokens, padding, truncation, max_length, stride, is_split_into_words: As in
                `__call__`.
            **more: Its other arguments.

        Returns:
            As `__call__` for one text.
        """
        arguments = Arguments.of(
            "encode_plus",
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            is_split_into_words=is_split_into_words,
            **more,
        )
        return self._encode(
            *one_sample(text, text_pair, is_split_into_words), arguments, single=True
        )

    def batch_encode_plus(
        self,
        batch_text_or_text_pairs: Any,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        **more: Any,
    ) -> BatchEncoding:
        """Tokenize a batch of texts, or of pairs (first, second).

        Args:
            batch_text_or_text_pairs: One entry a sample: a str, a list of words (if split) or
                ids, or a pair of these.
            add_special_tokens, padding, truncation, max_length, stride, is_split_into_words: As in
                `__call__`.
            **more: Its other arguments.

        Returns:
            As `__call__` for a batch.
        """
        arguments = Arguments.of(
            "batch_encode_plus",
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            is_split_into_words=is_split_into_words,
            **more,
        )
        columns = many_samples(batch_text_or_text_pairs, None, is_split_into_words)
        return self._encode(*columns, arguments)

    def prepare_for_model(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        *,
        prepend_batch_axis: bool = False,
        **more: Any,
    ) -> BatchEncoding:
        """Truncate, frame, mask and pad the ids of one text or pair.

        Args:
            ids, pair_ids: Lists of ints, without special tokens.
            add_special_tokens, padding, truncation, max_length, stride: As in `__call__`.
            prepend_batch_axis: Give tensors an axis of one row.
            **more: The other arguments of `__call__`.

        Returns:
            As `__call__` for one text; tensors of shape (length,).
        """
        arguments = Arguments.of(
            "prepare_for_model",
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            **more,
        )
        columns = one_sample(ids, pair_ids, False)
        return self._encode(*columns, arguments, single=True, batch_axis=prepend_batch_axis)

    def truncate_sequences(
        self,
        ids: list[int],
        pair_ids: list[int] | None = None,
        num_tokens_to_remove: int = 0,
        truncation_strategy: str = "longest_first",
        stride: int = 0,
    ) -> tuple[list[int], list[int] | None, list[int]]:
        """Remove tokens from one sequence or two.

        Args:
            ids, pair_ids: Lists of ints, without special tokens.
            num_tokens_to_remove: How many; below 1 none.
            truncation_strategy: "longest_first", "only_first", "only_second" or
                "do_not_truncate".
            stride: How many kept tokens come along with those removed.

        Returns:
            The shortened ids, the shortened pair_ids or None, and the overflowing tokens: those
            removed and `stride` beside them; none for pairs with "longest_first".

        Raises:
            InputError: If the strategy cannot remove as many.
        """
        strategy = truncation_name(truncation_strategy)
        if num_tokens_to_remove <= 0 or strategy is None:
            return ids, pair_ids, []
        side, length = self.truncation_side, len(ids)
        other = None if pair_ids is None else len(pair_ids)
        gone, gone_pair = removed(length, other, num_tokens_to_remove, strategy)
        overflowing: list[int] = []
        if strategy == "only_second" and pair_ids is not None:
            overflowing = pair_ids[slice(*overflow_span(len(pair_ids), gone_pair, stride, side))]
        elif strategy == "only_first" or pair_ids is None:
            overflowing = ids[slice(*overflow_span(length, gone, stride, side))]
        if pair_ids is not None:
            pair_ids = pair_ids[slice(*kept(len(pair_ids), gone_pair, side))]
        return ids[slice(*kept(length, gone, side))], pair_ids, overflowing

    def pad(
        self,
        encoded_inputs: Any,
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad what was encoded before, as data collators do.

        Args:
            encoded_inputs: A mapping of one sample or of a batch, or a list of mappings of one
                sample each; values are lists, arrays or tensors. transformers writes into what it
                is given; here it stays as it is.
            padding, max_length, pad_to_multiple_of, padding_side: As in `__call__`.
            return_attention_mask: Add `attention_mask` where there is none, and pad it; default,
                whether `model_input_names` has it.
            return_tensors: "np", "pt" or "tf"; default, what the ids were given as.
            verbose: False keeps warnings about lengths quiet.

        Returns:
            input_ids, token_type_ids, special_tokens_mask, attention_mask and langs, where there,
            padded; other keys as they were. Without alignment.

        Raises:
            InputError: If there are no input_ids, or keys do not fit together.
        """
        main = self.model_input_names[0]
        data, single, kind = features_of(encoded_inputs, main)
        if single and not data[main]:
            if return_attention_mask:
                data["attention_mask"] = []
            return BatchEncoding(data, tensor_type=return_tensors)
        plan = make_plan(
            padding=padding,
            truncation=False,
            max_length=max_length,
            multiple=pad_to_multiple_of,
            side=self.padding_side if padding_side is None else padding_side,
            model_max_length=self.model_max_length,
            pad_token_id=self.pad_token_id,
            verbose=verbose,
        )
        if single:
            data = {key: [value] for key, value in data.items()}
        lengths = list(map(len, data[main]))
        fill = self._fill()
        if return_attention_mask is None:
            return_attention_mask = "attention_mask" in self.model_input_names
        if not return_attention_mask:
            del fill["attention_mask"]
        elif "attention_mask" not in data:
            data["attention_mask"] = [[1] * length for length in lengths]
        pad_keys(data, lengths, plan, fill)
        if single:
            data = {key: value[0] for key, value in data.items()}
        return BatchEncoding(data, tensor_type=return_tensors or kind)
