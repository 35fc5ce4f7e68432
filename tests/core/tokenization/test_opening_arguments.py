"""What `from_pretrained`, `save_pretrained` and the constructor take, as transformers' do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.core.tokenization.conftest import new_ours, new_peer
from tests.support.small_tokenizer import small_tokenizer, write_folder, write_original
from xlm_core import TokenizerError, UnknownArgumentError, XLMTokenizer, XLMWarning


def test_arguments_that_change_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path)
    plain = XLMTokenizer.from_pretrained(tmp_path)
    tokenizer = XLMTokenizer.from_pretrained(
        pretrained_model_name_or_path=str(tmp_path),
        cache_dir=tmp_path / "cache",
        force_download=True,
        local_files_only=True,
        token="secret",
        revision="main",
        subfolder="",
        trust_remote_code=True,
        use_fast=False,
        resume_download=None,
        proxies=None,
        gguf_file=None,
        config=None,
        verbose=False,
        tokenizer_file=None,
        do_lower_case=True,
    )
    assert tokenizer.get_vocab() == plain.get_vocab()
    assert tokenizer("ABC de").input_ids == plain("ABC de").input_ids
    assert "secret" not in repr(vars(tokenizer))
    written = tokenizer.save_pretrained(
        tmp_path / "out", legacy_format=True, push_to_hub=False, token="secret", repo_id="a/b"
    )
    assert not any("secret" in Path(file).read_text("utf-8") for file in written)


def test_subfolder(tmp_path: Path) -> None:
    write_folder(tmp_path / "tokenizer", lang="de")
    assert XLMTokenizer.from_pretrained(tmp_path, subfolder="tokenizer").lang == "de"
    with pytest.raises(OSError, match=r"There is no folder .*nowhere"):
        XLMTokenizer.from_pretrained(tmp_path, subfolder="nowhere")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nonsense": 1}, "unexpected keyword argument: 'nonsense'"),
        ({"padding": True}, "'padding'"),
        ({"add_special_tokens": False}, "one of its methods"),
        ({"proxies": {"https": "x"}}, "proxies=...: .*HTTPS_PROXY"),
        ({"padding_sid": "left"}, "Did you mean 'padding_side'"),
        ({"gguf_file": "a.gguf"}, "GGUF"),
        ({"pretrained_model_name_or_path": "b"}, "a path twice"),
    ],
)
def test_arguments_of_opening_that_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownArgumentError, match=message):
        XLMTokenizer.from_pretrained(write_folder(tmp_path), **options)


def test_no_path() -> None:
    with pytest.raises(UnknownArgumentError, match="no path"):
        XLMTokenizer.from_pretrained()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"push_to_hub": True}, "push_to_hub=True.*upload_folder"),
        ({"legacy_format": False}, "tokenizer.json"),
        ({"nonsense": 1}, "'nonsense'"),
    ],
)
def test_arguments_of_saving_that_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnknownArgumentError, match=message):
        small_tokenizer(tmp_path).save_pretrained(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_folder_to_write_into(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TokenizerError, match="file is a file; expected a folder"):
        small_tokenizer(tmp_path).save_pretrained(tmp_path / "file")


def test_the_length_by_its_old_name(tmp_path: Path) -> None:
    assert new_ours(max_len=12).model_max_length == 12
    assert new_ours(max_len=12, model_max_length=7).model_max_length == 7
    tokenizer = XLMTokenizer.from_pretrained(write_folder(tmp_path, max_len=9))
    assert tokenizer.model_max_length == 9
    tokenizer.save_pretrained(tmp_path)
    assert "max_len" not in json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_lowercasing_by_the_name_of_other_tokenizers() -> None:
    """It has no effect, as in transformers; that is said where another was meant."""
    text = "The Cat"
    with pytest.warns(XLMWarning, match="do_lower_case=False changes nothing.*remove_accent"):
        ours = new_ours(do_lower_case=False)
    assert ours(text).input_ids == new_peer(do_lower_case=False)(text).input_ids
    cased = new_ours(do_lower_case=False, do_lowercase_and_remove_accent=False)
    assert cased.tokenize(text)[0][0] == "T"


def test_special_tokens_by_their_name_of_transformers_5() -> None:
    assert new_ours(extra_special_tokens=["<special3>"]).additional_special_tokens == ["<special3>"]
    assert len(new_ours(extra_special_tokens={}).additional_special_tokens or ()) == 10
    with pytest.raises(TokenizerError, match="no list of tokens"):
        new_ours(extra_special_tokens={"image_token": "<i>"})


class WithMore(XLMTokenizer):
    """A class that has an argument of its own."""

    def __init__(self, *args: Any, mine: int = 0, **more: Any) -> None:
        super().__init__(*args, **more)
        self.mine = mine


def test_unknown_arguments_of_a_subclass(tmp_path: Path) -> None:
    """The message lists its own arguments, and those that it passes on."""
    assert WithMore.from_pretrained(write_folder(tmp_path), mine=3).mine == 3
    with pytest.raises(
        UnknownArgumentError, match=r"^WithMore got .*'mien'.* mine, vocab_file,.*mode"
    ):
        WithMore.from_pretrained(tmp_path, mien=3)


def test_init_kwargs_make_another_one(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path, mode="v5", lang="de", model_max_length=7)
    tokenizer.add_tokens(["gh"])
    kwargs = tokenizer.init_kwargs
    again = XLMTokenizer(tmp_path / "vocab.json", tmp_path / "merges.txt", **kwargs)
    assert repr(again) == repr(tokenizer)
    assert again("abc gh").input_ids == tokenizer("abc gh").input_ids
    assert again.init_kwargs == kwargs
    assert tokenizer.init_inputs == ()


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_a_checkpoint_beside_the_codes(tmp_path: Path, suffix: str) -> None:
    """Where the words are in the checkpoint, the error names the way to a tokenizer."""
    write_original(tmp_path)
    (tmp_path / "vocab").unlink()
    model = tmp_path / f"mlm_17_1280{suffix}"
    model.write_bytes(b"\x80")
    for path in (tmp_path, model):
        with pytest.raises(TokenizerError, match=r"`xlm convert .*mlm_17_1280.* --to safetensors"):
            XLMTokenizer.from_pretrained(path)
