"""`XLMTokenizer`, which transformers takes for one of its own."""

from __future__ import annotations

from typing import Any, Self

from transformers import PreTrainedTokenizerBase

from xlm_core.tokenization.tokenizer import XLMTokenizer as Tokenizer
from xlm_torch.for_transformers.configuration import without_notes


class XLMTokenizer(Tokenizer, PreTrainedTokenizerBase):
    """`xlm_core.XLMTokenizer` that is also a `transformers.PreTrainedTokenizerBase`.

    All that is done with text, ids and files is the library's. transformers' collators, Trainer and
    pipelines pad with it and save it.
    """

    vocab_files_names = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}  # noqa: RUF012
    slow_tokenizer_class = None
    chat_template = None
    verbose = False
    _processor_class = None
    _in_target_context_manager = False
    _pad_token_type_id = 0
    init_inputs = ()

    @classmethod
    def from_pretrained(cls, path: Any = None, *_: Any, **settings: Any) -> Self:
        """Open a folder, as `xlm_core.XLMTokenizer` does.

        Args:
            path: As there.
            settings: As there. Notes that transformers' Auto classes and pipelines pass along,
                with names in `_`, change nothing.
        """
        known = without_notes(settings)
        return (
            super().from_pretrained(**known)
            if path is None
            else super().from_pretrained(path, **known)
        )

    def _build_translation_inputs(
        self, texts: Any, *, src_lang: Any = None, tgt_lang: Any = None, **options: Any
    ) -> dict[str, Any]:
        """What the pipeline "translation" gives to `generate`: sources `</s> words </s>`."""
        languages = {"src_lang": src_lang, "tgt_lang": tgt_lang}
        encoded = self(
            [texts] if isinstance(texts, str) else texts,
            **({} if src_lang is None else {"lang": src_lang}),
            framing="sentence",
            padding=True,
            return_token_type_ids=False,
            **options,
        )
        return {**encoded, **{name: lang for name, lang in languages.items() if lang is not None}}

    # transformers 4 keeps special tokens in a table by hooks of attributes; here they are
    # attributes of a vocabulary.
    __setattr__ = object.__setattr__

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __repr__(self) -> str:
        return object.__repr__(self)
