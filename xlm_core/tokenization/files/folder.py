"""Reading and writing a tokenizer's folder."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

from xlm_core.errors import (
    CheckpointError,
    CheckpointFileError,
    TokenizerError,
    TokenizerFileError,
    warn,
)
from xlm_core.hub import WantedFiles, fetch, is_hub_name
from xlm_core.loading_arguments import FILE_ARGUMENTS, LOADING_ARGUMENTS, FileArguments
from xlm_core.tokenization.files.vocabulary_files import read_json
from xlm_core.tokenization.settings import whole_number
from xlm_core.tokenization.text.segmenters import DEFAULT_KYTEA_MODEL
from xlm_core.tokenization.words.added_tokens import AddedToken, added_tokens_of
from xlm_core.tokenization.words.vocabulary import NAMED_SPECIAL_TOKENS, Vocabulary
from xlm_core.whole_files import written_whole

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
FOLDER_FILES = (VOCAB_FILE, MERGES_FILE, CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE)
# In a repository on the hub: the vocabulary and the merges, and the smaller files beside them.
PUBLISHED_FILES = WantedFiles(
    "tokenizer",
    needed=(MERGES_FILE, VOCAB_FILE),
    optional=("config.json", CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE),
)

# What tokenizer_config.json calls the class of these tokenizers.
_CLASS = "XLMTokenizer"
# Settings that other classes of transformers write: what counts where no class is named.
_SETTINGS_OF_OTHERS = {
    "do_lowercase": "FlaubertTokenizer",
    "do_basic_tokenize": "BertTokenizer",
    "never_split": "BertTokenizer",
    "tokenize_chinese_chars": "BertTokenizer",
    "wordpieces_prefix": "BertTokenizer",
    "add_prefix_space": "tokenizers of byte-level BPE",
    "trim_offsets": "tokenizers of byte-level BPE",
    "sp_model_kwargs": "tokenizers of SentencePiece",
    "spiece_model_file": "tokenizers of SentencePiece",
    "src_lang": "tokenizers of translation models",
}
# Files that other classes of tokenizer have: named where those of this one are absent.
_FILES_OF_OTHERS = ("tokenizer.json", "vocab.txt", "*.model", "*.spm", "bpe.codes", "dict.txt")

# Settings of tokenizer_config.json that are arguments of XLMTokenizer, and attributes.
SETTINGS = (
    "lang2id",
    "id2lang",
    "do_lowercase_and_remove_accent",
    "mode",
    "lang",
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "split_special_tokens",
    "model_input_names",
    "kytea_model",
)
# Written by transformers about itself, or written anew.
_WRITTEN_ANEW = (
    "tokenizer_class",
    "max_len",
    "backend",
    "is_local",
    "local_files_only",
    "name_or_path",
    "special_tokens_map_file",
    "tokenizer_file",
    "extra_special_tokens",
    "added_tokens_decoder",
    "additional_special_tokens",
)
# Settings that are not written where they have this value.
_LEFT_OUT = {
    "split_special_tokens": False,
    "model_input_names": None,
    "kytea_model": DEFAULT_KYTEA_MODEL,
}


@dataclass(frozen=True)
class TokenizerFolder:
    """A folder that transformers 4 or 5 or this library wrote, or one of the original's files.

    Attributes:
        path: The folder.
        settings: What its tokenizer_config.json holds; empty without one.
    """

    path: Path
    settings: dict[str, Any]

    @classmethod
    def find(cls, path: str | os.PathLike[str], files: FileArguments, *, class_name: str) -> Self:
        """The folder at a path, or that of a published checkpoint.

        Args:
            path: The folder, or the name of a published checkpoint.
            files: Where the files are, beside that.
            class_name: Name of the class whose folder may be opened, beside XLMTokenizer's.

        Raises:
            TokenizerFileError: There is no such folder.
            TokenizerError: It is of another class of tokenizer.
        """
        folder = Path(path)
        if not folder.exists() and isinstance(path, str) and is_hub_name(path):
            folder = _published(path, files)
        else:
            folder = files.within(folder)
        if not folder.is_dir():
            raise TokenizerFileError(
                f"There is no folder {folder}. Give one that holds {VOCAB_FILE} and {MERGES_FILE}, "
                "or the original's codes and vocabulary."
                + (_of_a_checkpoint(folder, folder.parent) if folder.is_file() else "")
            )
        found = cls(folder, _read_object(folder / CONFIG_FILE))
        found._refuse_other_classes(class_name)
        return found

    def _refuse_other_classes(self, class_name: str) -> None:
        """Raise `TokenizerError` if the files say that another class of tokenizer wrote them.

        As in transformers, tokenizer_config.json counts first, then the model's config.json.
        """
        config = _read_object(self.path / "config.json")
        for file, settings in ((CONFIG_FILE, self.settings), ("config.json", config)):
            name = settings.get("tokenizer_class")
            if name is not None:
                if str(name).removesuffix("Fast") not in (_CLASS, class_name):
                    self._refuse(f"{file} says tokenizer_class={name!r}")
                return
        model_type = config.get("model_type")
        if model_type not in (None, "xlm"):
            self._refuse(f"config.json says model_type={model_type!r}")
        # Older files of FlauBERT, a fork of XLM, have no model_type.
        models = config.get("architectures")
        models = [str(each) for each in models] if isinstance(models, list) else []
        if models and not any(each.removeprefix("TF").startswith("XLM") for each in models):
            self._refuse(f"config.json says architectures={models!r:.80}")
        if isinstance(code := self.settings.get("auto_map"), dict) and "AutoTokenizer" in code:
            self._refuse(f"{CONFIG_FILE} names code of its own (auto_map)")
        for name in _SETTINGS_OF_OTHERS.keys() & self.settings.keys():
            self._refuse(f"{CONFIG_FILE} says {name}, a setting of {_SETTINGS_OF_OTHERS[name]}")

    def _refuse(self, what: str) -> NoReturn:
        raise TokenizerError(
            f"{self.path} holds the tokenizer of another class: {what}; expected {_CLASS}, since "
            "another class gives other ids for the same files. Open it with that class of "
            f"transformers. If its ids are {_CLASS}'s after all, write tokenizer_class="
            f"{_CLASS!r} into {CONFIG_FILE}."
        )

    def arguments(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `XLMTokenizer` that the files amount to, `overrides` in their place.

        Raises:
            TokenizerError: The files cannot be used.
        """
        arguments = _arguments(self.settings, self.path)
        if arguments.get("lang2id") is None and "id2lang" not in arguments:
            # The model's own table, where the tokenizer's file has none.
            config = _read_object(self.path / "config.json")
            if config.get("lang2id"):
                arguments["lang2id"] = config["lang2id"]
        if "lang2id" in overrides or "id2lang" in overrides:
            # One table given replaces both of the folder.
            arguments = {k: v for k, v in arguments.items() if k not in ("lang2id", "id2lang")}
        return {**arguments, **overrides}

    def unknown_settings(self) -> dict[str, Any]:
        """Settings that this library does not know, and writes again as they are."""
        known = (*SETTINGS, *_WRITTEN_ANEW, *NAMED_SPECIAL_TOKENS)
        others = {name: value for name, value in self.settings.items() if name not in known}
        if arguments := sorted(others.keys() & LOADING_ARGUMENTS):
            warn(
                f"{self.path / CONFIG_FILE} holds arguments of loading: {', '.join(arguments)}. "
                "They are left out; if a token is among them, take it out of the file as well and "
                "make it invalid."
            )
        return {name: value for name, value in others.items() if name not in LOADING_ARGUMENTS}

    @property
    def has_subwords(self) -> bool:
        """Whether it holds vocab.json or merges.txt, rather than the original's files."""
        return self.vocabulary.is_file() or self.merges.is_file()

    @property
    def vocabulary(self) -> Path:
        """Path of vocab.json."""
        return self.path / VOCAB_FILE

    @property
    def merges(self) -> Path:
        """Path of merges.txt."""
        return self.path / MERGES_FILE

    def original_files(self) -> tuple[Path, Path]:
        """Paths of the original's codes and vocabulary.

        Raises:
            TokenizerError: There is not just one of each.
        """
        codes = sorted(self.path.glob("codes*"))
        found = sorted(self.path.glob("vocab*"))
        vocabularies = [path for path in found if path.suffix != ".json"]
        if len(codes) != 1 or len(vocabularies) != 1:
            names = [path.name for path in (*codes, *vocabularies)]
            raise TokenizerError(
                f"{self.path} holds neither {VOCAB_FILE} and {MERGES_FILE} nor one file codes* and "
                f"one file vocab* of the original (found: {', '.join(names) or 'none of these'})."
                + self._of_others()
                + ("" if vocabularies else _of_a_checkpoint(None, self.path))
            )
        return codes[0], vocabularies[0]

    def check_presence(self) -> None:
        """Raise `TokenizerFileError` if one of vocab.json and merges.txt is there alone."""
        for file in (self.vocabulary, self.merges):
            if not file.is_file():
                raise TokenizerFileError(
                    f"There is no file {file}: a tokenizer of XLM has {VOCAB_FILE} and "
                    f"{MERGES_FILE}.{self._of_others()}"
                )

    def _of_others(self) -> str:
        """What the folder has of another class of tokenizer, for a message; else ""."""
        found = sorted(file.name for each in _FILES_OF_OTHERS for file in self.path.glob(each))
        if not found:
            return ""
        return f" {', '.join(found)}: such files belong to another class of tokenizer."


class FolderWriter:
    """Writes the files of a tokenizer into a folder, each whole or not at all.

    Args:
        folder: The folder, which exists.
        prefix: Comes before all names, and a "-"; None for no prefix.
    """

    def __init__(self, folder: str | os.PathLike[str], prefix: str | None) -> None:
        self._folder = Path(folder)
        self._prefix = f"{prefix}-" if prefix else ""

    def write_json(self, name: str, value: Any) -> str:
        """Write a JSON file and return its path."""
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        return self.write_text(name, text)

    def write_text(self, name: str, text: str) -> str:
        """Write a UTF-8 file and return its path."""
        path = self._folder / f"{self._prefix}{name}"
        with written_whole(path) as file:
            file.write_bytes(text.encode("utf-8"))
        return str(path)


def config_of(
    settings: Mapping[str, Any], vocabulary: Vocabulary, unknown: Mapping[str, Any]
) -> dict[str, Any]:
    """What tokenizer_config.json holds, in the layout of transformers 4.

    Args:
        settings: Value of each of `SETTINGS`.
        vocabulary: Has the special and the added tokens.
        unknown: Settings of the folder that the tokenizer came from and that it does not know.
    """
    config: dict[str, Any] = {
        **unknown,
        **vocabulary.roles,
        "additional_special_tokens": list(vocabulary.additional or ()),
        "extra_special_tokens": {},
        "added_tokens_decoder": {
            str(i): token.to_dict() for i, token in sorted(vocabulary.added.items())
        },
        "tokenizer_class": _CLASS,
        **settings,
    }
    if config["eos_token"] is None:
        del config["eos_token"]
    if config["lang2id"] is None:
        del config["lang2id"], config["id2lang"]
    else:
        # The table that users set decides: files with two that differ open nowhere.
        config["id2lang"] = {str(i): lang for lang, i in config["lang2id"].items()}
    # Of the others, what a reader would assume anyway is left out.
    for name, default in _LEFT_OUT.items():
        if config[name] == default:
            del config[name]
    return config


def _of_a_checkpoint(file: Path | None, folder: Path) -> str:
    """How to a tokenizer where the words are in a checkpoint of the original; else ""."""
    if file is not None and file.suffix == ".keras":
        return (
            f" {file.name} holds a tokenizer if `xlm convert` wrote it: then `xlm convert {file} "
            "NEW_FOLDER --to safetensors` writes a folder with it, which opens."
        )
    found = sorted((*folder.glob("*.pth"), *folder.glob("*.pt"))) if file is None else [file]
    codes = sorted(folder.glob("codes*"))
    if len(found) != 1 or found[0].suffix not in (".pth", ".pt"):
        return ""
    given = "" if file is None and len(codes) == 1 else " --codes CODES"
    return (
        f" {found[0].name} may hold the words: then `xlm convert {found[0]} NEW_FOLDER --to "
        f"safetensors{given}` writes a folder with a tokenizer, which opens."
    )


def _published(name: str, files: FileArguments) -> Path:
    """The folder of a published checkpoint's tokenizer."""
    options: dict[str, Any] = {each: getattr(files, each) for each in FILE_ARGUMENTS}
    try:
        return fetch(name, PUBLISHED_FILES, **options)
    except CheckpointFileError as error:
        raise TokenizerFileError(str(error)) from error
    except CheckpointError as error:
        raise TokenizerError(str(error)) from error


def _arguments(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The arguments of `XLMTokenizer` that a folder's files amount to."""
    arguments = {name: settings[name] for name in SETTINGS if settings.get(name) is not None}
    if settings.get("max_len") is not None:  # before transformers 3
        arguments.setdefault("model_max_length", settings["max_len"])
    if "mode" not in arguments and "backend" in settings:
        arguments["mode"] = "v5"
    roles = {name: settings[name] for name in NAMED_SPECIAL_TOKENS if name in settings}
    extra = settings.get("extra_special_tokens")
    additional = settings.get("additional_special_tokens")
    if not additional and isinstance(extra, list):
        additional = extra
    added = added_tokens_of(settings.get("added_tokens_decoder"))
    if not added:
        # Before transformers 4.34 the tokens were in files of their own.
        special = _read_object(folder / SPECIAL_TOKENS_FILE)
        roles |= {name: special[name] for name in NAMED_SPECIAL_TOKENS if name in special}
        additional = special.get("additional_special_tokens", additional)
        contents = {
            AddedToken.of(token).content
            for token in (*roles.values(), *(additional or ()))
            if token is not None
        }
        added = {
            whole_number(f"the id of {token!r} in {ADDED_TOKENS_FILE}", i): AddedToken(
                token, special=token in contents
            )
            for token, i in _read_object(folder / ADDED_TOKENS_FILE).items()
        }
    if additional is not None:
        arguments["additional_special_tokens"] = additional
    if added:
        arguments["added_tokens_decoder"] = added
    return arguments | roles


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is no file."""
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} holds a JSON {type(value).__name__}; expected an object.")
    return value
