"""XLM's tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from xlm_core.errors import (
    InputError,
    refuse_unknown_arguments,
)
from xlm_core.tokenization.calls.batching import BatchingMixin
from xlm_core.tokenization.decoding import DecodingMixin
from xlm_core.tokenization.files.folder import FilesMixin
from xlm_core.tokenization.files.vocabulary_files import (
    Merges,
    check_vocabulary,
    read_merges,
    read_vocabulary,
)
from xlm_core.tokenization.settings import (
    Setting,
    added_tokens,
    language_tables,
    one_of,
    truth,
    whole_number,
)
from xlm_core.tokenization.text.aligned_text import AlignedText, hull
from xlm_core.tokenization.text.languages import KNOWN_LANGUAGES, check_language
from xlm_core.tokenization.text.pipeline import MODES, Pipeline
from xlm_core.tokenization.text.segmenters import DEFAULT_KYTEA_MODEL, Japanese
from xlm_core.tokenization.words.added_tokens import AddedToken, AddedTokens, list_of_tokens
from xlm_core.tokenization.words.bpe import BPE
from xlm_core.tokenization.words.chunks import FastPath, fill_holes
from xlm_core.tokenization.words.vocabulary import (
    DEFAULT_ADDITIONAL_SPECIAL_TOKENS,
    SpecialTokensMixin,
)
from xlm_core.tokenization.words.word_encoder import (
    DEFAULT_CACHE_SIZE,
    Aligned,
    Memory,
    WordEncoder,
)

VERY_LARGE = int(1e30)


class XLMTokenizer(FilesMixin, DecodingMixin, SpecialTokensMixin, BatchingMixin):
    """Texts to ids and back, exactly as one of three peers does it.

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
            `xlm_core.tokenization.words.word_encoder.Memory`.
        added_tokens_decoder: Tokens found in a text as they are, by id.
        name_or_path: Where it came from.

    Raises:
        TokenizerError: The files or tables cannot be used.
        UnknownArgumentError: An argument is not one of these.
    """

    is_fast = False
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
        **unknown: Any,
    ) -> None:
        if unknown:
            names = type(self).__init__.__code__.co_varnames
            count = type(self).__init__.__code__.co_argcount
            more = type(self).__init__.__code__.co_kwonlyargcount
            refuse_unknown_arguments("XLMTokenizer", unknown, names[1 : count + more])
        if isinstance(vocab_file, Mapping):
            self.encoder = dict(vocab_file)
            check_vocabulary(self.encoder, "The vocabulary")
        else:
            self.encoder = read_vocabulary(vocab_file)
        self.decoder = {i: token for token, i in self.encoder.items()}
        self._merges = merges_file if isinstance(merges_file, Merges) else read_merges(merges_file)
        self._bpe = BPE(self._merges.ranks())
        self.lang2id, self.id2lang = language_tables(lang2id, id2lang)
        self.mode = mode
        self.do_lowercase_and_remove_accent = do_lowercase_and_remove_accent
        self.lang = lang
        self.kytea_model = kytea_model
        self.cache_size = cache_size
        if model_max_length is None:
            model_max_length = VERY_LARGE
        self.model_max_length = whole_number("model_max_length", model_max_length)
        self.padding_side = one_of("padding_side", padding_side, ("right", "left"))
        self.truncation_side = one_of("truncation_side", truncation_side, ("right", "left"))
        self.clean_up_tokenization_spaces = truth(
            "clean_up_tokenization_spaces", clean_up_tokenization_spaces
        )
        self.split_special_tokens = truth("split_special_tokens", split_special_tokens)
        self._model_input_names = list_of_tokens(model_input_names) if model_input_names else None
        self.name_or_path = str(name_or_path)
        self._kept_settings: dict[str, Any] = {}
        self._set_up_special_tokens(
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
            added_tokens(added_tokens_decoder),
        )

    # -- settings ---------------------------------------------------------------------------

    mode = Setting(lambda _, value: one_of("mode", value, MODES))
    lang = Setting(
        lambda self, value: check_language(value, KNOWN_LANGUAGES | set(self.lang2id or ()))
    )
    do_lowercase_and_remove_accent = Setting(
        lambda _, value: truth("do_lowercase_and_remove_accent", value)
    )
    kytea_model = Setting(lambda _, value: str(value))
    cache_size = Setting(lambda _, value: whole_number("cache_size", value))

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
        self._model_input_names = list(names)

    def clear_cache(self) -> None:
        """Forget the words that were seen; they are split anew."""
        self._memory.clear()

    # -- texts to tokens --------------------------------------------------------------------

    def tokenize(
        self,
        text: str,
        *,
        lang: str | None = None,
        bypass_tokenizer: bool = False,
        split_special_tokens: bool | None = None,
    ) -> list[str]:
        """Subwords of a text; the last of each word ends in `</w>`.

        Args:
            text: The text.
            lang: Its language; default, the tokenizer's `lang`.
            bypass_tokenizer: It is split into words already, with blanks between them: only BPE.
            split_special_tokens: Special tokens in it are split like words.

        Raises:
            InputError: It is not a string.
            UnknownLanguageError: The tokenizer does not know `lang`.
        """
        text = _text(text)
        path = self._path(lang)
        tokens: list[str] = []
        for part, added in self._sections(text, bypass_tokenizer, split_special_tokens):
            if added is not None:
                tokens.append(added.content)
                continue
            words = part.split() if bypass_tokenizer else path.pipeline.words(part)
            tokens += chain.from_iterable(map(self._encoder.pieces, words))
        return tokens

    def words(
        self, text: str, *, lang: str | None = None, split_special_tokens: bool | None = None
    ) -> list[str]:
        """The words of a text, as BPE gets them; added tokens are words.

        Args:
            text: The text.
            lang: Its language; default, the tokenizer's `lang`.
            split_special_tokens: Special tokens in it are split like words.
        """
        pipeline = self._path(lang).pipeline
        words: list[str] = []
        for part, added in self._sections(_text(text), False, split_special_tokens):
            words += pipeline.words(part) if added is None else [added.content]
        return words

    def _sections(
        self, text: str, bypass: bool, split_special: bool | None
    ) -> Iterator[tuple[str, AddedToken | None]]:
        """`text` as transformers tokenizes it: parts of text, and added tokens between them."""
        if self._lowercases_first(bypass):
            text = self._added_tokens.lowercase(text)
        if split_special is None:
            split_special = self.split_special_tokens
        if split_special or not self._added_tokens.found_in(text):
            yield text, None
            return
        for begin, end, added in self._added_tokens.sections(text):
            yield text[begin:end], added

    def _lowercases_first(self, bypass: bool) -> bool:
        # transformers 4 lowercases before Moses: it takes do_lowercase_and_remove_accent for the
        # do_lower_case of other tokenizers.
        return self.mode == "v4" and self.do_lowercase_and_remove_accent and not bypass

    def _ids_of_text(
        self, text: str, path: FastPath, bypass: bool, split_special: bool
    ) -> list[int]:
        # Most texts hold no added token: `_sections`, without its loop.
        if self._lowercases_first(bypass):
            text = self._added_tokens.lowercase(text)
        found = not split_special and self._added_tokens.found_in(text)
        if not found and not bypass:
            return path.ids(text)
        cuts = self._added_tokens.sections(text) if found else [(0, len(text), None)]
        ids: list[int] = []
        for begin, end, added in cuts:
            if added is not None:
                ids.append(self._added_ids[added.content])
            elif bypass:
                ids += chain.from_iterable(map(self._encoder.ids, text[begin:end].split()))
            else:
                ids += path.ids(text[begin:end])
        return ids

    def _ids_of_texts(
        self,
        texts: list[str] | list[list[str]],
        langs: list[str | None],
        *,
        words: bool,
        bypass: bool,
        split_special_tokens: bool,
        workers: int,
    ) -> list[list[int]]:
        """Ids of each text, without special tokens around them."""
        if workers > 1:
            from xlm_core.tokenization.workers.pool import ids_in_processes

            options = {
                "words": words,
                "bypass": bypass,
                "split_special_tokens": split_special_tokens,
            }
            return ids_in_processes(self, texts, langs, options, workers)
        result: list[list[int]] = []
        for text, lang in zip(texts, langs, strict=True):
            path = self._path(lang, segmented=words)
            if isinstance(text, str):
                result.append(self._ids_of_text(text, path, bypass, split_special_tokens))
            else:
                parts = (self._ids_of_text(p, path, bypass, split_special_tokens) for p in text)
                result.append(list(chain.from_iterable(parts)))
        return result

    def _alignment_of(
        self,
        text: str | list[str],
        lang: str | None,
        *,
        words: bool,
        bypass: bool,
        split_special_tokens: bool,
    ) -> list[tuple[int, int, int | None]]:
        """Where each id comes from: begin and end in the text or word, and the number of its word.

        With words=True every text is a list of words, and each of them is numbered as it stands.
        """
        path = self._path(lang, segmented=words)
        found: list[tuple[int, int, int | None]] = []
        for at, part in enumerate(text if words else [_text(text)]):
            tokens: list[Aligned] = []
            for section in self._aligned_sections(part, path, bypass, split_special_tokens):
                first = tokens[-1][2] + 1 if tokens else 0
                tokens += [(begin, end, first + number) for begin, end, number in section]
            fill_holes(tokens)
            found += [(begin, end, at) for begin, end, _ in tokens] if words else tokens
        return found

    def _aligned_sections(
        self, text: str, path: FastPath, bypass: bool, split_special: bool
    ) -> Iterator[list[Aligned]]:
        """The subwords of each part of `text`, words numbered from 0 within each."""
        aligned = AlignedText.of(text)
        if self._lowercases_first(bypass):
            aligned = self._added_tokens.lowercase_aligned(aligned)
        cuts: list[tuple[int, int, AddedToken | None]] = [(0, len(aligned), None)]
        if not split_special and self._added_tokens.found_in(aligned.text):
            cuts = self._added_tokens.sections(aligned.text)
        for begin, end, added in cuts:
            part = aligned[begin:end]
            if added is not None:
                yield [(*hull(part.spans), 0)]
            elif bypass:
                yield self._encoder.align(part.split())
            elif part.text:
                yield path.align(part)

    # -- parts ------------------------------------------------------------------------------

    def _check_lang(self, lang: str) -> str:
        return check_language(lang, KNOWN_LANGUAGES if self.lang2id is None else self.lang2id)

    def _path(self, lang: str | None, *, segmented: bool = False) -> FastPath:
        """The way from text to ids of a language."""
        key = (lang, segmented)
        path = self._paths.get(key)
        if path is None:
            language = self.lang if lang is None else self._check_lang(lang)
            pipeline = Pipeline(
                self.mode,
                language,
                lowercase=self.do_lowercase_and_remove_accent,
                segmented=segmented,
                japanese=self._japanese,
            )
            path = FastPath(pipeline, self._encoder, self._memory)
            self._paths[key] = path
        return path

    def _forget(self) -> None:
        if "_added" not in self.__dict__:
            return  # still being made
        # What batches that were made before can tell by that something has changed.
        self._state = object()
        self._memory = Memory(self.cache_size)
        self._paths: dict[tuple[str | None, bool], FastPath] = {}
        self._japanese = Japanese(self.kytea_model)
        kept = [t.content for t in self._added.values() if not t.special and t.normalized]
        self._added_tokens = AddedTokens(self._added.values(), [*self.all_special_tokens, *kept])
        self._encoder = WordEncoder(
            self._bpe,
            self.get_vocab(),
            self._unknown_id,
            self._memory,
            perl=self.mode == "original",
        )

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        for name in ("_state", "_memory", "_paths", "_japanese", "_added_tokens", "_encoder"):
            state.pop(name, None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        languages = "" if self.lang2id is None else f", languages={len(self.lang2id)}"
        return (
            f"XLMTokenizer(name_or_path={self.name_or_path!r}, vocab_size={self.vocab_size}, "
            f"mode={self.mode!r}, lowercase={self.do_lowercase_and_remove_accent}{languages}, "
            f"model_max_length={self.model_max_length}, special_tokens={self.special_tokens_map})"
        )


def _text(text: Any) -> str:
    if not isinstance(text, str):
        what = (
            "bytes: decode them first, as text.decode('utf-8')"
            if isinstance(text, bytes)
            else (f"{type(text).__name__}")
        )
        raise InputError(f"A text is a str; got {what}.")
    return text
