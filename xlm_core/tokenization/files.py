"""A tokenizer's folder, read and written."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from xlm_core.errors import CheckpointError, TokenizerError
from xlm_core.hub import WantedFiles, fetch, is_hub_name
from xlm_core.tokenization.added_tokens import AddedToken
from xlm_core.tokenization.segmenters import DEFAULT_KYTEA_MODEL
from xlm_core.tokenization.settings import added_tokens, whole_number
from xlm_core.tokenization.special_tokens import NAMED_SPECIAL_TOKENS, SpecialTokensMixin
from xlm_core.tokenization.vocabulary import (
    Merges,
    read_json,
    read_merges,
    read_original_vocabulary,
    vocabulary_of_words,
)
from xlm_core.whole_files import written_whole

VOCAB_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"
FOLDER_FILES = (VOCAB_FILE, MERGES_FILE, CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE)
# Of a repository: the vocabulary and the merges, and the smaller files beside them.
PUBLISHED_FILES = WantedFiles(
    "tokenizer",
    needed=(MERGES_FILE, VOCAB_FILE),
    optional=("config.json", CONFIG_FILE, SPECIAL_TOKENS_FILE, ADDED_TOKENS_FILE),
)

# Settings of tokenizer_config.json that are arguments of XLMTokenizer.
_SETTINGS = (
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
# Written by transformers about itself, or by us anew.
_NOT_KEPT = (
    "tokenizer_class",
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


class FilesMixin(SpecialTokensMixin):
    """How `XLMTokenizer` is read and written."""

    lang2id: dict[str, int] | None
    id2lang: dict[int, str] | None
    lang: str
    model_max_length: int
    padding_side: str
    truncation_side: str
    clean_up_tokenization_spaces: bool
    split_special_tokens: bool
    kytea_model: str
    _merges: Merges
    _model_input_names: list[str] | None
    _kept_settings: dict[str, Any]

    @classmethod
    def from_pretrained(
        cls,
        path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        local_files_only: bool = False,
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
            **overrides: Arguments of `XLMTokenizer`, in place of what the folder says.

        Raises:
            TokenizerError: There is no such folder, or its files cannot be used.
        """
        folder = Path(path)
        if not folder.exists() and isinstance(path, str):
            folder = _published(path, revision, local_files_only) or folder
        if not folder.is_dir():
            raise TokenizerError(
                f"There is no folder {folder}. Give one that holds {VOCAB_FILE} and {MERGES_FILE}, "
                "or the original's codes and vocabulary."
            )
        overrides.setdefault("name_or_path", str(path))
        settings = _read_object(folder / CONFIG_FILE)
        arguments = _arguments(settings, folder)
        if arguments.get("lang2id") is None and "id2lang" not in arguments:
            # The model's own table, where the tokenizer's file has none.
            config = _read_object(folder / "config.json")
            if config.get("lang2id"):
                arguments["lang2id"] = config["lang2id"]
        if "lang2id" in overrides or "id2lang" in overrides:
            # One table given replaces both of the folder.
            arguments = {k: v for k, v in arguments.items() if k not in ("lang2id", "id2lang")}
        arguments.update(overrides)
        if (folder / VOCAB_FILE).is_file() or (folder / MERGES_FILE).is_file():
            tokenizer = cls(folder / VOCAB_FILE, folder / MERGES_FILE, **arguments)  # type: ignore[call-arg]
        else:
            codes, vocabulary = _original_files(folder)
            tokenizer = cls.from_facebook(codes, vocabulary, **arguments)
        tokenizer._kept_settings = {
            name: value
            for name, value in settings.items()
            if name not in (*_SETTINGS, *_NOT_KEPT, *NAMED_SPECIAL_TOKENS)
        }
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
            **arguments: Of `XLMTokenizer`; `mode` is "original" unless given.

        Raises:
            TokenizerError: The files cannot be used.
        """
        if isinstance(vocabulary, Mapping):
            missing = set(range(len(vocabulary))) - vocabulary.keys()
            if missing:
                raise TokenizerError(f"The dictionary has no word for id {min(missing)}.")
            words = [vocabulary[i] for i in range(len(vocabulary))]
        else:
            words = read_original_vocabulary(Path(vocabulary))
        arguments.setdefault("mode", "original")
        return cls(  # type: ignore[call-arg]
            vocabulary_of_words(words, max_vocab),
            read_merges(Path(codes), original=True),
            **arguments,
        )

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
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        vocabulary, merges = folder / f"{prefix}{VOCAB_FILE}", folder / f"{prefix}{MERGES_FILE}"
        _write_json(vocabulary, self.encoder)
        _write(merges, self._merges.text())
        return str(vocabulary), str(merges)

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write a folder that transformers 4 and 5 and this library open.

        Args:
            save_directory: The folder; made if it does not exist.
            filename_prefix: Comes before all names, and a "-".

        Returns:
            The paths of the files.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        config, special = (
            folder / f"{prefix}{CONFIG_FILE}",
            folder / f"{prefix}{SPECIAL_TOKENS_FILE}",
        )
        _write_json(config, self._settings())
        _write_json(special, self.special_tokens_map)
        written = [str(config), str(special), *self.save_vocabulary(folder, filename_prefix)]
        beyond = {t: i for t, i in self._added_ids.items() if t not in self.encoder}
        if beyond:
            added = folder / f"{prefix}{ADDED_TOKENS_FILE}"
            _write_json(added, beyond)
            written.append(str(added))
        return tuple(written)

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            **self._kept_settings,
            **self._named,
            "additional_special_tokens": self.additional_special_tokens,
            "extra_special_tokens": {},
            "added_tokens_decoder": {
                str(i): token.to_dict() for i, token in self.added_tokens_decoder.items()
            },
            "clean_up_tokenization_spaces": self.clean_up_tokenization_spaces,
            "do_lowercase_and_remove_accent": self.do_lowercase_and_remove_accent,
            "mode": self.mode,
            "lang": self.lang,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
            "truncation_side": self.truncation_side,
            "tokenizer_class": "XLMTokenizer",
        }
        if self._named["eos_token"] is None:
            del settings["eos_token"]
        if self.lang2id is not None and self.id2lang is not None:
            settings["lang2id"] = self.lang2id
            settings["id2lang"] = {str(i): lang for i, lang in self.id2lang.items()}
        if self.split_special_tokens:
            settings["split_special_tokens"] = True
        if self._model_input_names is not None:
            settings["model_input_names"] = self._model_input_names
        if self.kytea_model != DEFAULT_KYTEA_MODEL:
            settings["kytea_model"] = self.kytea_model
        return settings


def _published(name: str, revision: str | None, local_files_only: bool) -> Path | None:
    """The folder of a published checkpoint's tokenizer; None if `name` is no such name."""
    if not is_hub_name(name):
        return None
    options: dict[str, Any] = {"revision": revision, "local_files_only": local_files_only}
    try:
        return fetch(name, PUBLISHED_FILES, **options)
    except CheckpointError as error:
        raise TokenizerError(str(error)) from error


def _arguments(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The arguments of `XLMTokenizer` that a folder's files amount to."""
    arguments = {name: settings[name] for name in _SETTINGS if settings.get(name) is not None}
    if "mode" not in arguments and "backend" in settings:
        arguments["mode"] = "v5"
    roles = {name: settings[name] for name in NAMED_SPECIAL_TOKENS if name in settings}
    extra = settings.get("extra_special_tokens")
    additional = settings.get("additional_special_tokens") or (
        extra if isinstance(extra, list) else None
    )
    added = added_tokens(settings.get("added_tokens_decoder"))
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


def _original_files(folder: Path) -> tuple[Path, Path]:
    codes = sorted(folder.glob("codes*"))
    vocabularies = [path for path in sorted(folder.glob("vocab*")) if path.suffix != ".json"]
    if len(codes) != 1 or len(vocabularies) != 1:
        names = [path.name for path in (*codes, *vocabularies)]
        raise TokenizerError(
            f"{folder} holds neither {VOCAB_FILE} and {MERGES_FILE} nor one file codes* and one "
            f"file vocab* of the original (found: {', '.join(names) or 'none of these'})."
        )
    return codes[0], vocabularies[0]


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one if there is no file."""
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise TokenizerError(f"{path} holds a JSON {type(value).__name__}; expected an object.")
    return value


def _write_json(path: Path, value: Any) -> None:
    _write(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    with written_whole(path) as file:
        file.write_bytes(text.encode("utf-8"))
