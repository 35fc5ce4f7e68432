"""Ids back to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xlm_core.errors import refuse_unknown_arguments
from xlm_core.tokenization.words.bpe import END_OF_WORD
from xlm_core.tokenization.words.vocabulary import SpecialTokensMixin

# What English tokenizers put a blank before, joined again if asked.
_JOINED = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")


class DecodingMixin(SpecialTokensMixin):
    """What `XLMTokenizer` makes of ids and tokens."""

    clean_up_tokenization_spaces: bool

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Subwords joined, with a blank where a word ends."""
        return "".join(tokens).replace(END_OF_WORD, " ").strip()

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
        tokens = self.convert_ids_to_tokens(
            [ids] if isinstance(ids, int) else ids, skip_special_tokens
        )
        if self.mode == "v5":
            text = self.convert_tokens_to_string(tokens)
        else:
            if skip_special_tokens:
                # An id that there is not is the unknown token, and special.
                special = set(self.all_special_tokens)
                tokens = [token for token in tokens if token not in special]
            text = self._join_around_added(tokens, spaces_between_special_tokens)
        if clean_up_tokenization_spaces is None:
            clean_up_tokenization_spaces = self.clean_up_tokenization_spaces
        return self.clean_up_tokenization(text) if clean_up_tokenization_spaces else text

    def _join_around_added(self, tokens: Sequence[str], blanks: bool) -> str:
        special = set(self.all_special_tokens)
        if self.mode == "original":
            apart = special | self._added_ids.keys()
        else:
            apart = self._added_ids.keys() - special
            apart |= {t for t in self._additional if self._id_of_token(t) >= self.vocab_size}
        parts: list[str] = []
        run: list[str] = []
        for token in (*tokens, None):
            if token is not None and token not in apart:
                run.append(token)
                continue
            if run:
                joined = self.convert_tokens_to_string(run)
                # transformers keeps an empty run at the end, and so the blank before it.
                if joined or token is None:
                    parts.append(joined)
                run = []
            if token is not None:
                parts.append(token)
        return (" " if blanks else "").join(parts)

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

    @staticmethod
    def clean_up_tokenization(text: str) -> str:
        """Without the blanks that English tokenizers put before punctuation and contractions."""
        for pattern in _JOINED[:4]:
            text = text.replace(pattern, pattern[1:])
        text = text.replace(" ' ", "'")
        for pattern in _JOINED[4:]:
            text = text.replace(pattern, pattern[1:])
        return text
