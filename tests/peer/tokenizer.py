"""transformers' common tests of a tokenizer, for XLM's: letters and a few merges."""

from __future__ import annotations

import json
import shutil
import tempfile
import unittest
from pathlib import Path
from typing import Any

from peer_tests import test_tokenization_common
from peer_tests.test_tokenization_common import TokenizerTesterMixin

from tests.peer.subject import subject

if subject() == "theirs":
    from transformers.models.xlm.tokenization_xlm import XLMTokenizer
elif subject() == "kind":
    from xlm_torch.for_transformers import XLMTokenizer, register  # type: ignore[assignment]

    register()
else:
    from xlm_core import XLMConfig, XLMTokenizer  # type: ignore[assignment]
    from xlm_torch import XLMModel

    # The common tests ask transformers' tables for the tokenizer's model.
    test_tokenization_common.merge_model_tokenizer_mappings = lambda *_: {
        XLMTokenizer: (XLMConfig, XLMModel)
    }

SPECIAL = ("<s>", "</s>", "<pad>", "<unk>", *(f"<special{i}>" for i in range(10)))
MERGES = (("l", "o"), ("lo", "w"), ("e", "r</w>"), ("n", "e"), ("ne", "w"), ("lo", "w</w>"))
TEXT = "The lower the tower, the newer the view.\nA low wall is new; it was never there before.\n"


class XLMTokenizerTest(TokenizerTesterMixin, unittest.TestCase):  # type: ignore[misc]
    """XLM has no tokenizer in Rust, and its texts come back lowercased."""

    tokenizer_class = XLMTokenizer
    test_rust_tokenizer = False
    from_pretrained_id = "xlm-mlm-en-2048"

    @classmethod
    def setUpClass(cls) -> None:
        # The mixin's own reads a text that the source distribution does not hold.
        cls.tokenizers_list: list[Any] = []
        cls._data = TEXT
        cls.tmpdirname = tempfile.mkdtemp()
        letters = [
            letter + end for letter in "abcdefghijklmnopqrstuvwxyz.,;" for end in ("", "</w>")
        ]
        tokens = [*SPECIAL, *letters, *map("".join, MERGES)]
        folder = Path(cls.tmpdirname)
        (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        (folder / "merges.txt").write_text("".join(f"{a} {b} 9\n" for a, b in MERGES))

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.tmpdirname, ignore_errors=True)

    def test_full_tokenizer(self) -> None:
        # By the names of the files alone, as transformers' file for XLM tests it.
        folder = Path(self.tmpdirname)
        tokenizer = XLMTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
        tokens = tokenizer.tokenize("lower")
        assert tokens == ["low", "er</w>"]
        vocabulary = tokenizer.get_vocab()
        expected = [vocabulary[token] for token in (*tokens, "<unk>")]
        assert tokenizer.convert_tokens_to_ids([*tokens, "<unk>"]) == expected

    def get_input_output_texts(self, tokenizer: Any) -> tuple[str, str]:
        return "lower newer", "lower newer"


# XLM has no chats, and no template for them.
for _name in dir(TokenizerTesterMixin):
    if any(word in _name for word in ("chat_template", "jinja", "final_message")):
        setattr(XLMTokenizerTest, _name, None)
