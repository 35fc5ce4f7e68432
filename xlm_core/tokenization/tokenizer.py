"""XLM's tokenizer: what it can do, and the parts that do it."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Self

from xlm_core import loading_arguments
from xlm_core.errors import (
    InputError,
    MethodNameError,
    TokenizerError,
    refuse_unknown_arguments,
)
from xlm_core.loading_arguments import (
    FileArguments,
    given_path,
    needed_path,
    settle_loading,
    settle_token,
)
from xlm_core.tokenization.attributes import PartAttribute, Role, RoleId, Setting
from xlm_core.tokenization.calls.arguments import SIDES, Arguments
from xlm_core.tokenization.calls.batching import Batching
from xlm_core.tokenization.calls.encoding import BatchEncoding
from xlm_core.tokenization.calls.framing import Framing
from xlm_core.tokenization.decoding import Decoder, join_punctuation, join_subwords
from xlm_core.tokenization.files.arguments import settle_making, settle_opening, settle_saving
from xlm_core.tokenization.files.folder import (
    ADDED_TOKENS_FILE,
    CONFIG_FILE,
    MERGES_FILE,
    SETTINGS,
    SPECIAL_TOKENS_FILE,
    VOCAB_FILE,
    FolderWriter,
    TokenizerFolder,
    config_of,
)
from xlm_core.tokenization.files.vocabulary_files import (
    Merges,
    are_cased,
    check_vocabulary,
    original_vocabulary,
    read_merges,
    read_vocabulary,
)
from xlm_core.tokenization.settings import list_of_names, one_of, truth, whole_number
from xlm_core.tokenization.text.detokenization import detokenizer_of
from xlm_core.tokenization.text.languages import Languages
from xlm_core.tokenization.text.pipeline import MODES
from xlm_core.tokenization.text.segmenters import DEFAULT_KYTEA_MODEL
from xlm_core.tokenization.text_encoder import Origin, TextEncoder, TextOptions
from xlm_core.tokenization.words.added_tokens import AddedToken, added_tokens_of, list_of_tokens
from xlm_core.tokenization.words.bpe import BPE
from xlm_core.tokenization.words.memory import DEFAULT_CACHE_SIZE
from xlm_core.tokenization.words.vocabulary import (
    DEFAULT_ADDITIONAL_SPECIAL_TOKENS,
    NAMED_SPECIAL_TOKENS,
    Vocabulary,
)

VERY_LARGE = int(1e30)


class XLMTokenizer:
    """Texts to ids and back, exactly as one of three peers does it.

    The work is done by parts: a `Vocabulary` (tokens and their ids), `Languages`, a `TextEncoder`
    (texts to ids), a `Framing` (special tokens around sequences), a `Batching` (calls) and a
    `Decoder` (ids to text). Those that depend on a setting are made anew when it is set.

    Args:
        vocab_file: vocab.json, or the ids themselves.
        merges_file: merges.txt, or the merges themselves.
        unk_token, bos_token, sep_token, pad_token, cls_token, mask_token: Tokens with a role.
        additional_special_tokens: Special tokens without one.
        lang2id: Number of each language of the model.
        id2lang: Language of each number; by default `lang2id` the other way round.
        do_lowercase_and_remove_accent: Lowercase words and remove their accents, as all published
            models want it but those of 17 and 100 languages.
        mode: Whose ids to give: "v4" (transformers 4.57, the default), "v5" (transformers 5) or
            "original" (the scripts that prepared the training data, and `</s>` at both ends).
        lang: Language of texts for which a call gives none.
        eos_token: As in transformers, none.
        model_max_length: Most tokens of a row that the model takes.
        padding_side, truncation_side: "right" or "left".
        clean_up_tokenization_spaces: Whether `decode` takes away blanks before punctuation.
        split_special_tokens: Whether special tokens in a text are split like words.
        model_input_names: What a call returns; by default input_ids, token_type_ids (in "v4"
            alone) and attention_mask.
        kytea_model: File of the model with which KyTea splits Japanese.
        cache_size: How many words and chunks are remembered, at most; see
            `xlm_core.tokenization.words.memory.Memory`.
        added_tokens_decoder: Tokens found in a text as they are, by id.
        name_or_path: Where it came from.
        **more: `max_len`, an old name of `model_max_length`; `extra_special_tokens`, that of
            transformers 5 for `additional_special_tokens`; and what transformers takes and never
            looks at, such as `verbose`.

    Attributes:
        encoder: Id of each subword of the vocabulary, as vocab.json has it.
        decoder: Subword of each id.

    Raises:
        TokenizerError: The files or tables cannot be used.
        UnknownArgumentError: An argument is not one of these.
    """

    is_fast = False
    # By the names of the constructor's arguments.
    vocab_files_names: ClassVar[dict[str, str]] = {
        "vocab_file": VOCAB_FILE,
        "merges_file": MERGES_FILE,
    }
    SPECIAL_TOKENS_ATTRIBUTES = (*NAMED_SPECIAL_TOKENS, "additional_special_tokens")
    pad_token_type_id = 0

    def __init__(
        self,
        vocab_file: str | Path | Mapping[str, int],
        merges_file: str | Path | Merges,
        unk_token: Any = "<unk>",
        bos_token: Any = "<s>",
        sep_token: Any = "</s>",
        pad_token: Any = "<pad>",
        cls_token: Any = "</s>",
        mask_token: Any = "<special1>",
        additional_special_tokens: Iterable[Any] = DEFAULT_ADDITIONAL_SPECIAL_TOKENS,
        lang2id: Mapping[str, int] | None = None,
        id2lang: Mapping[Any, str] | None = None,
        do_lowercase_and_remove_accent: bool = True,
        *,
        mode: str = "v4",
        lang: str = "en",
        eos_token: Any = None,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        clean_up_tokenization_spaces: bool = False,
        split_special_tokens: bool = False,
        model_input_names: Sequence[str] | None = None,
        kytea_model: str | Path = DEFAULT_KYTEA_MODEL,
        cache_size: int = DEFAULT_CACHE_SIZE,
        added_tokens_decoder: Mapping[int, Any] | None = None,
        name_or_path: str = "",
        **more: Any,
    ) -> None:
        if more:
            settle_making(more, lowercase=do_lowercase_and_remove_accent)
            length = more.pop("max_len", None)
            model_max_length = length if model_max_length is None else model_max_length
            additional_special_tokens = (
                more.pop("extra_special_tokens", None) or additional_special_tokens
            )
            for name in more:
                if callable(getattr(type(self), name, None)):
                    raise MethodNameError(
                        f"{type(self).__name__} got an argument {name!r}, which is the name of one "
                        "of its methods: give it to the calls that take it."
                    )
            refuse_unknown_arguments(type(self).__name__, more, _arguments_of(type(self)))
        if isinstance(vocab_file, Mapping):
            encoder = dict(vocab_file)
            check_vocabulary(encoder, "The vocabulary")
        else:
            encoder = read_vocabulary(vocab_file)
        self._merges = merges_file if isinstance(merges_file, Merges) else read_merges(merges_file)
        self._bpe = BPE(self._merges.ranks())
        self._languages = Languages(lang2id, id2lang)
        self.mode = mode
        self.do_lowercase_and_remove_accent = do_lowercase_and_remove_accent
        self.lang = lang
        self.kytea_model = kytea_model
        self.cache_size = cache_size
        if model_max_length is None:
            model_max_length = VERY_LARGE
        self.model_max_length = model_max_length
        self.padding_side = padding_side
        self.truncation_side = truncation_side
        self.clean_up_tokenization_spaces = clean_up_tokenization_spaces
        self.split_special_tokens = split_special_tokens
        self._model_input_names: list[str] | None = None
        if model_input_names:
            self.model_input_names = model_input_names
        self.name_or_path = str(name_or_path)
        self._unknown_settings: dict[str, Any] = {}
        self._vocabulary = Vocabulary(
            encoder,
            {
                "bos_token": bos_token,
                "eos_token": eos_token,
                "unk_token": unk_token,
                "sep_token": sep_token,
                "pad_token": pad_token,
                "cls_token": cls_token,
                "mask_token": mask_token,
            },
            additional_special_tokens,
            added_tokens_of(added_tokens_decoder),
        )
        self._make_parts()

    def _make_parts(self) -> None:
        """Make the parts that depend on settings; called whenever one of these changes."""
        if "_vocabulary" not in self.__dict__:
            return  # settings are still being set for the first time
        self._text_encoder = TextEncoder(
            self._bpe,
            self._vocabulary,
            mode=self.mode,
            lang=self.lang,
            check_language=self._languages.check,
            lowercase=self.do_lowercase_and_remove_accent,
            kytea_model=self.kytea_model,
            cache_size=self.cache_size,
        )
        self._framing = Framing(self._vocabulary, self.mode)
        self._batching = Batching(self, self._framing)
        self._decoder = Decoder(self._vocabulary, self.mode)

    # -- settings -----------------------------------------------------------------------------

    mode = Setting(lambda _, value: one_of("mode", value, MODES))
    lang = Setting(lambda self, value: self._languages.check_default(value))
    do_lowercase_and_remove_accent = Setting(
        lambda _, value: truth("do_lowercase_and_remove_accent", value)
    )
    kytea_model = Setting(lambda _, value: str(value))
    cache_size = Setting(lambda _, value: whole_number("cache_size", value))
    model_max_length = Setting(
        lambda _, value: whole_number("model_max_length", value), changes_ids=False
    )
    padding_side = Setting(lambda _, value: one_of("padding_side", value, SIDES), changes_ids=False)
    truncation_side = Setting(
        lambda _, value: one_of("truncation_side", value, SIDES), changes_ids=False
    )
    clean_up_tokenization_spaces = Setting(
        lambda _, value: truth("clean_up_tokenization_spaces", value), changes_ids=False
    )
    split_special_tokens = Setting(
        lambda _, value: truth("split_special_tokens", value), changes_ids=False
    )

    lang2id: PartAttribute[dict[str, int] | None] = PartAttribute("_languages")
    id2lang: PartAttribute[dict[int, str] | None] = PartAttribute("_languages")

    @property
    def init_kwargs(self) -> dict[str, Any]:
        """The arguments that make such a tokenizer of the same files, as they are now."""
        made = {"vocab_file", "merges_file", "added_tokens_decoder"}
        names = (name for name in _arguments_of(XLMTokenizer) if name not in made)
        found = {name: getattr(self, name) for name in names}
        return {**found, "added_tokens_decoder": self.added_tokens_decoder}

    @property
    def init_inputs(self) -> tuple[()]:
        """The positional arguments beside `init_kwargs`: none."""
        return ()

    @property
    def do_lower_case(self) -> bool:
        """`do_lowercase_and_remove_accent`, under the name that transformers knows it by."""
        return self.do_lowercase_and_remove_accent

    @property
    def model_input_names(self) -> list[str]:
        """What a call returns, unless it is asked for more or less."""
        if self._model_input_names is not None:
            return self._model_input_names
        # transformers 4 returns token types, and its models look them up among the words; the
        # original has none.
        if self.mode == "v4":
            return ["input_ids", "token_type_ids", "attention_mask"]
        return ["input_ids", "attention_mask"]

    @model_input_names.setter
    def model_input_names(self, names: Sequence[str]) -> None:
        names = list_of_names("model_input_names", names)
        if not names:
            raise TokenizerError("model_input_names is empty; expected at least 'input_ids'.")
        self._model_input_names = names

    @property
    def max_len_single_sentence(self) -> int:
        """The longest sequence that fits in a row of `model_max_length`."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """The longest pair, both lengths together, that fits in a row of `model_max_length`."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    @property
    def text_encoder(self) -> TextEncoder:
        """The part that turns texts into words, subwords and ids: another one after any change."""
        return self._text_encoder

    def clear_cache(self) -> None:
        """Forget the words that were seen; they are split anew."""
        self._text_encoder.memory.clear()

    # -- texts to encodings -------------------------------------------------------------------

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
                lang_target: That of the targets; default `lang`.
                return_langs: `langs`, the number of the language at each position: of a pair the
                    second one for its second sequence, the `</s>` after it and padding after that.
                bypass_tokenizer: Words, separated by spaces, go straight to BPE.
                split_special_tokens: Special tokens in a text are split like words.
                workers: Number of processes.
                return_windows: As many rows a text as cover it, each of at most `max_length`,
                    neighbours sharing `stride` tokens, and `overflow_to_sample_mapping`, the
                    sample of each row. As fast tokenizers do for return_overflowing_tokens.
                framing: Special tokens other than the mode's: "sentence", `</s> A </s>`, as the
                    models were pretrained, and as translation takes its sources; "prompt",
                    `</s> A`, which a causal model continues.

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
        return self._batching.call(text, text_pair, text_target, text_pair_target, arguments)

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
        return self._batching.one(text, text_pair, arguments)

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
        return self._batching.many(batch_text_or_text_pairs, None, arguments)

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
        return self._batching.prepare(ids, pair_ids, arguments, batch_axis=prepend_batch_axis)

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
        return self._batching.truncate(
            ids, pair_ids, num_tokens_to_remove, truncation_strategy, stride
        )

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
        return self._batching.pad(
            encoded_inputs,
            padding=padding,
            max_length=max_length,
            multiple=pad_to_multiple_of,
            side=padding_side,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
            verbose=verbose,
        )

    # -- texts to words and subwords ----------------------------------------------------------

    def tokenize(
        self,
        text: str,
        pair: str | None = None,
        add_special_tokens: bool = False,
        *,
        lang: str | None = None,
        bypass_tokenizer: bool = False,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """Subwords of a text; the last of each word ends in `</w>`.

        Args:
            text: The text.
            pair: A second text, whose subwords follow.
            add_special_tokens: Frame them, as a call does. transformers documents this and `pair`,
                and ignores both for XLM.
            lang: Their language; default, the tokenizer's `lang`.
            bypass_tokenizer: The text is split into words already, with blanks between them, and
                goes straight to BPE.
            split_special_tokens: Split special tokens in the text like words.

        Raises:
            InputError: The text is not a string.
            UnknownLanguageError: The tokenizer does not know `lang`.
        """
        options = self._text_options(split_special_tokens, bypass=bypass_tokenizer)
        tokens = self._text_encoder.subwords(text, lang, options)
        second = [] if pair is None else self._text_encoder.subwords(pair, lang, options)
        if not add_special_tokens:
            return [*tokens, *second]
        opening, closing = map(self._vocabulary.token_of, self._framing.special_ids())
        return [opening, *tokens, closing, *(() if pair is None else (*second, closing))]

    def words(
        self, text: str, *, lang: str | None = None, split_special_tokens: bool | None = None
    ) -> list[str]:
        """The words of a text, as BPE gets them; added tokens are words.

        Args:
            text: The text.
            lang: Its language; default, the tokenizer's `lang`.
            split_special_tokens: Split special tokens in the text like words.

        Raises:
            InputError: The text is not a string.
            UnknownLanguageError: The tokenizer does not know `lang`.
        """
        return self._text_encoder.words(text, lang, self._text_options(split_special_tokens))

    def _text_options(self, split_special: bool | None, *, bypass: bool = False) -> TextOptions:
        split = self.split_special_tokens if split_special is None else split_special
        return TextOptions(bypass=bypass, split_special_tokens=split)

    def _ids_of_texts(
        self,
        texts: Sequence[Any],
        langs: Sequence[str | None],
        options: TextOptions,
        *,
        workers: int = 1,
    ) -> list[list[int]]:
        """Ids of each text, without special tokens around them."""
        if workers > 1:
            from xlm_core.tokenization.workers.pool import ids_in_processes

            return ids_in_processes(self, texts, langs, options, workers)
        return self._text_encoder.ids(texts, langs, options)

    def _align_text(self, text: Any, lang: str | None, options: TextOptions) -> list[Origin]:
        """Where each id of a text comes from."""
        return self._text_encoder.align(text, lang, options)

    # -- special tokens around sequences ------------------------------------------------------

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Frame one sequence or two.

        Args:
            token_ids_0, token_ids_1: Their ids.

        Returns:
            A new list of ids.
        """
        pair = None if token_ids_1 is None else [token_ids_1]
        return self._framing.frame([token_ids_0], pair)[0]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """The token types of one sequence or two, framed.

        Args:
            token_ids_0, token_ids_1: Their ids, without special tokens.

        Returns:
            0 for the first sequence with its two special tokens, 1 for the second with its one.
        """
        pair = None if token_ids_1 is None else len(token_ids_1)
        return self._framing.token_types(len(token_ids_0), pair)

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Where the special tokens of framed sequences are.

        Args:
            token_ids_0, token_ids_1: Ids without special tokens.
            already_has_special_tokens: `token_ids_0` is a whole row; what is special is seen by
                its id.

        Returns:
            1 for a special token, else 0.

        Raises:
            InputError: For a second sequence beside a whole row.
        """
        if not already_has_special_tokens:
            pair = None if token_ids_1 is None else len(token_ids_1)
            return self._framing.special_tokens_mask(len(token_ids_0), pair)
        if token_ids_1 is not None:
            raise InputError(
                "get_special_tokens_mask got token_ids_1 with already_has_special_tokens=True, "
                "which takes one whole row: give it all as token_ids_0."
            )
        special = set(self.all_special_ids)
        # A tensor's entries are equal to numbers, but no set finds them.
        return [int(int(token) in special) for token in token_ids_0]

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """How many special tokens frame one sequence (2), or a pair (3)."""
        return self._framing.count(pair)

    # -- ids to text --------------------------------------------------------------------------

    def decode(
        self,
        token_ids: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        *,
        spaces_between_special_tokens: bool = True,
        **unknown: Any,
    ) -> str:
        """Text of ids.

        Each mode spaces added tokens as its peer does: "v4" puts blanks around those that are not
        special, "v5" around none, "original" around all, as they stand in the original's files.

        Args:
            token_ids: One id or several; also an array or tensor.
            skip_special_tokens: Leave special tokens out.
            clean_up_tokenization_spaces: Take away blanks before punctuation; default, the
                tokenizer's setting.
            spaces_between_special_tokens: In "v4", whether there are these blanks.
        """
        refuse_unknown_arguments(
            "decode",
            unknown.keys() - {"use_source_tokenizer"},
            (
                "token_ids",
                "skip_special_tokens",
                "clean_up_tokenization_spaces",
                "spaces_between_special_tokens",
            ),
        )
        ids = token_ids.tolist() if hasattr(token_ids, "tolist") else token_ids
        text = self._decoder.join(
            self.convert_ids_to_tokens([ids] if isinstance(ids, int) else ids, skip_special_tokens),
            self.convert_tokens_to_string,
            skip_special_tokens=skip_special_tokens,
            blanks=spaces_between_special_tokens,
        )
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    def batch_decode(
        self,
        sequences: Any,
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool | None = None,
        **more: Any,
    ) -> list[str]:
        """`decode` of each of several rows of ids; also an array or tensor `(batch, sequence)`."""
        return [
            self.decode(row, skip_special_tokens, clean_up_tokenization_spaces, **more)
            for row in sequences
        ]

    def detokenize(self, text: str | Sequence[str], *, lang: str | None = None) -> str:
        """Running text of words, as `decode` gives them: "Hello , world !" is "Hello, world!".

        Case and accents stay as they are: a model of lowercased text gives lowercased text.

        Args:
            text: Words with blanks between them, or a list of words.
            lang: Their language; default, the tokenizer's `lang`. Chinese, Japanese, Thai and
                others that write no blanks between words are joined without.

        Raises:
            InputError: The text is neither.
            UnknownLanguageError: The tokenizer does not know `lang`.
        """
        words = text.split(" ") if isinstance(text, str) else text
        if not isinstance(words, (list, tuple)) or not all(isinstance(w, str) for w in words):
            raise InputError(
                f"detokenize takes a text or a list of words; got {text!r:.80}. For ids, call "
                "decode first."
            )
        language = self.lang if lang is None else self._languages.check(lang)
        return detokenizer_of(language).join(words)

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Subwords joined, with a blank where a word ends."""
        return join_subwords(tokens)

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Without the blanks that English tokenizers put before punctuation and contractions."""
        return join_punctuation(text)

    # -- tokens and ids -----------------------------------------------------------------------

    encoder: PartAttribute[dict[str, int]] = PartAttribute("_vocabulary")
    decoder: PartAttribute[dict[int, str]] = PartAttribute("_vocabulary")

    @property
    def vocab_size(self) -> int:
        """Size of the vocabulary, without added tokens."""
        return len(self.encoder)

    def __len__(self) -> int:
        """Size of the vocabulary, with added tokens."""
        return len(self._vocabulary)

    def get_vocab(self) -> dict[str, int]:
        """Id of every subword and added token."""
        return self._vocabulary.ids()

    def convert_tokens_to_ids(self, tokens: Any) -> Any:
        """Id of a token, or of each of several; that of `unk_token` for what is not known."""
        if tokens is None:
            return None
        if isinstance(tokens, str):
            return self._vocabulary.id_of(tokens)
        wrong = [token for token in tokens if not isinstance(token, str)]
        if wrong:
            raise InputError(f"Tokens are strings; among them is {wrong[0]!r}.")
        return list(map(self._vocabulary.id_of, tokens))

    def convert_ids_to_tokens(self, ids: Any, skip_special_tokens: bool = False) -> Any:
        """Token of an id, or of each of several; `unk_token` for an id that there is not.

        Args:
            ids: A number or several, also an array or tensor of them.
            skip_special_tokens: Leave the special tokens out.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if isinstance(ids, int):
            return self._vocabulary.token_of(ids)
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
        return [self._vocabulary.token_of(int(i)) for i in ids if int(i) not in skipped]

    # The names by which transformers' collators for whole words and older scripts ask for one.

    def _convert_token_to_id(self, token: str) -> int:
        return self._vocabulary.id_of(token)

    def _convert_id_to_token(self, index: int) -> str:
        return self._vocabulary.token_of(index)

    # -- special tokens -----------------------------------------------------------------------

    bos_token, bos_token_id = Role(), RoleId()
    eos_token, eos_token_id = Role(), RoleId()
    unk_token, unk_token_id = Role(), RoleId()
    sep_token, sep_token_id = Role(), RoleId()
    pad_token, pad_token_id = Role(), RoleId()
    cls_token, cls_token_id = Role(), RoleId()
    mask_token, mask_token_id = Role(), RoleId()

    @property
    def additional_special_tokens(self) -> list[str] | None:
        """Special tokens without a role of their own; None where that was set."""
        tokens = self._vocabulary.additional
        return None if tokens is None else list(tokens)

    @additional_special_tokens.setter
    def additional_special_tokens(self, tokens: Iterable[Any] | None) -> None:
        self._vocabulary.additional = (
            None
            if tokens is None
            else [AddedToken.of(token).content for token in list_of_tokens(tokens)]
        )
        self._make_parts()

    @property
    def additional_special_tokens_ids(self) -> list[int]:
        """Ids of the special tokens without a role."""
        return list(map(self._vocabulary.id_of, self._vocabulary.additional or ()))

    @additional_special_tokens_ids.setter
    def additional_special_tokens_ids(self, ids: Iterable[int]) -> None:
        self.additional_special_tokens = list(map(self._vocabulary.token_of, ids))

    @property
    def all_special_tokens(self) -> list[str]:
        """Every special token once: those with a role in the order of roles, then the others."""
        return self._vocabulary.special_tokens()

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of `all_special_tokens`."""
        return list(map(self._vocabulary.id_of, self.all_special_tokens))

    @property
    def all_special_tokens_extended(self) -> list[AddedToken]:
        """`all_special_tokens`, each with how it is found in a text."""
        return list(map(self._vocabulary.token, self.all_special_tokens))

    @property
    def special_tokens_map_extended(self) -> dict[str, AddedToken | list[AddedToken]]:
        """`special_tokens_map`, each token with how it is found in a text."""
        token = self._vocabulary.token
        return {
            role: token(found) if isinstance(found, str) else list(map(token, found))
            for role, found in self.special_tokens_map.items()
        }

    @property
    def special_tokens_map(self) -> dict[str, str | list[str]]:
        """The token of each role that has one."""
        return self._vocabulary.special_tokens_map()

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
            How many new ids there are; call `model.resize_token_embeddings(len(tokenizer))`.
        """
        count = self._vocabulary.add_special_tokens(
            special_tokens_dict,
            replace_additional=replace_additional_special_tokens,
            lowercase=self.do_lowercase_and_remove_accent,
        )
        self._make_parts()
        return count

    # -- added tokens -------------------------------------------------------------------------

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
        count = self._vocabulary.add_tokens(
            new_tokens, special=special_tokens, lowercase=self.do_lowercase_and_remove_accent
        )
        self._make_parts()
        return count

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """Every token that is found in a text as it is, by id."""
        return dict(sorted(self._vocabulary.added.items()))

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """Id of every token that is found in a text as it is, by content."""
        return {token.content: i for i, token in self.added_tokens_decoder.items()}

    def get_added_vocab(self) -> dict[str, int]:
        """Ids of the added tokens, special ones included."""
        return dict(self._vocabulary.added_ids)

    # -- files --------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        force_download: bool = False,
        subfolder: str = "",
        **overrides: Any,
    ) -> Self:
        """Open a folder: one that transformers 4 or 5 or this library wrote, or the original's.

        Without a mode of its own, a folder gives the ids of its writer: "v5" where transformers 5
        wrote it, "original" where it holds the original's codes and vocabulary (`codes*` and
        `vocab*`), else "v4".

        Args:
            path: The folder, or the name of a published checkpoint, such as "xlm-mlm-en-2048".
            revision: Branch, tag or commit of a published checkpoint.
            local_files_only: Of a published checkpoint, take only what was downloaded before.
            cache_dir: Where downloads are kept; default, huggingface_hub's cache.
            token: Access token for the hub; True: the stored one.
            force_download: Download again what is there already.
            subfolder: The folder within `path` that holds the files.
            **overrides: Arguments of `XLMTokenizer`, in place of what the folder says. `path` may
                be given as `pretrained_model_name_or_path`; arguments of transformers that change
                nothing here, such as `trust_remote_code`, are accepted.

        Raises:
            TokenizerError: There is no such folder, its files cannot be used, or it is another
                class of tokenizer's.
            UnknownArgumentError: An argument is not one of these.
        """
        function = f"{cls.__name__}.from_pretrained"
        path = needed_path(function, given_path(function, path, overrides))
        settle_loading(function, overrides)
        settle_opening(overrides)
        files = FileArguments(
            revision=revision,
            local_files_only=local_files_only,
            cache_dir=cache_dir,
            token=settle_token(function, token, overrides),
            force_download=force_download,
            subfolder=subfolder,
        )
        folder = TokenizerFolder.find(path, files, class_name=cls.__name__)
        arguments = folder.arguments({"name_or_path": str(path), **overrides})
        if folder.has_subwords:
            folder.check_presence()
            tokenizer = cls(folder.vocabulary, folder.merges, **arguments)
        else:
            codes, vocabulary = folder.original_files()
            tokenizer = cls.from_facebook(codes, vocabulary, **arguments)
        tokenizer._unknown_settings = folder.unknown_settings()
        return tokenizer

    @classmethod
    def from_facebook(
        cls,
        codes: str | os.PathLike[str],
        vocabulary: str | os.PathLike[str] | Mapping[int, str],
        *,
        max_vocab: int | None = None,
        **arguments: Any,
    ) -> Self:
        """From the original's files.

        Args:
            codes: The merges, as fastBPE wrote them.
            vocabulary: The vocabulary file, or the word of each id (a checkpoint's `dico_id2word`).
            max_vocab: The `--max_vocab` that the model was trained with: 95000 for XNLI-15.
            **arguments: Of `XLMTokenizer`; unless given, `mode` is "original", and text keeps its
                case and accents if the vocabulary has capitals (`are_cased`).

        Raises:
            TokenizerError: The files cannot be used.
        """
        encoder = original_vocabulary(vocabulary, max_vocab)
        merges = read_merges(Path(codes), original=True)
        own = {"mode": "original", "do_lowercase_and_remove_accent": not are_cased(encoder)}
        return cls(encoder, merges, **{**own, **arguments})

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        filename_prefix: str | None = None,
        **more: Any,
    ) -> tuple[str, ...]:
        """Write a folder that transformers 4 and 5 and this library open.

        Args:
            save_directory: The folder; made if it does not exist.
            filename_prefix: Comes before all names, and a "-".
            **more: Arguments of transformers that change nothing here: `push_to_hub=False`,
                `legacy_format=True`, those of an upload.

        Returns:
            The paths of the files.

        Raises:
            TokenizerError: `save_directory` is a file.
            UnknownArgumentError: An argument is not one of these, or asks for an upload or another
                form.
        """
        function = f"{type(self).__name__}.save_pretrained"
        settle_saving(more)
        upload = more.pop("push_to_hub", False)
        known = ("save_directory", "filename_prefix")
        loading_arguments.settle_saving(function, push_to_hub=upload, others=more, known=known)
        folder = Path(save_directory)
        if folder.is_file():
            raise TokenizerError(f"{folder} is a file; expected a folder to write into.")
        folder.mkdir(parents=True, exist_ok=True)
        writer = FolderWriter(folder, filename_prefix)
        settings = {name: getattr(self, name) for name in SETTINGS}
        settings["model_input_names"] = self._model_input_names
        config = config_of(settings, self._vocabulary, self._unknown_settings)
        written = [
            writer.write_json(CONFIG_FILE, config),
            writer.write_json(SPECIAL_TOKENS_FILE, self.special_tokens_map),
            *self.save_vocabulary(folder, filename_prefix),
        ]
        added = self._vocabulary.added_ids
        beyond = {token: i for token, i in added.items() if token not in self.encoder}
        if beyond:
            written.append(writer.write_json(ADDED_TOKENS_FILE, beyond))
        return tuple(written)

    def save_vocabulary(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, str]:
        """Write vocab.json and merges.txt.

        Args:
            save_directory: An existing folder.
            filename_prefix: Comes before both names, and a "-".

        Returns:
            The paths of both files.

        Raises:
            TokenizerError: There is no such folder.
        """
        folder = Path(save_directory)
        if not folder.is_dir():
            raise TokenizerError(f"{folder} is not a folder.")
        writer = FolderWriter(folder, filename_prefix)
        vocabulary = writer.write_json(VOCAB_FILE, self.encoder)
        return vocabulary, writer.write_text(MERGES_FILE, self._merges.text())

    # -- copies -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        made = ("_text_encoder", "_framing", "_batching", "_decoder")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # What `copy.copy` is given for a state is the very parts of the tokenizer copied.
        for name in ("_languages", "_vocabulary", "_model_input_names", "_unknown_settings"):
            self.__dict__[name] = copy.copy(self.__dict__[name])
        self._make_parts()

    def __repr__(self) -> str:
        languages = "" if self.lang2id is None else f", languages={len(self.lang2id)}"
        return (
            f"XLMTokenizer(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"mode={self.mode!r}, lowercase={self.do_lowercase_and_remove_accent}{languages}, "
            f"model_max_length={self.model_max_length}, special_tokens={self.special_tokens_map})"
        )


def _arguments_of(tokenizer: type[XLMTokenizer]) -> list[str]:
    """Names of the arguments of its constructor: its own, and those of `XLMTokenizer`."""
    codes = (made.__init__.__code__ for made in (tokenizer, XLMTokenizer))
    names = (code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount] for code in codes)
    return list(dict.fromkeys(chain.from_iterable(names)))
