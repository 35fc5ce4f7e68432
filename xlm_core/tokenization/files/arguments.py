"""Arguments with which tokenizers of transformers are opened and saved, and what they do here.

What means something here is an argument of `XLMTokenizer`'s methods. The rest is here: what changes
nothing is accepted, what would change something and cannot be done is refused, saying what to do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from xlm_core.errors import UnknownArgumentError, warn

# Whatever their value: there is one class of tokenizer, no code of a repository is ever run, and
# a broken download is always resumed.
_OPENING_CHANGES_NOTHING = (
    "config",
    "from_slow",
    "mirror",
    "resume_download",
    "tokenizer_type",
    "trust_remote_code",
    "use_fast",
    "_commit_hash",
    "_from_auto",
)
_OPENING_REFUSED = {
    "gguf_file": "a tokenizer in a GGUF file is none of XLM's",
    "proxies": "set the variables HTTPS_PROXY and HTTP_PROXY, which huggingface_hub follows",
}
# Of the constructor; transformers keeps them beside the tokenizer without looking at them.
_MAKING_CHANGES_NOTHING = (
    "processor_class",
    "special_tokens_map_file",
    "tokenizer_class",
    "tokenizer_file",
    "verbose",
)
# Of the upload that `push_to_hub=True` would ask for.
_SAVING_CHANGES_NOTHING = (
    "commit_description",
    "commit_message",
    "create_pr",
    "max_shard_size",
    "private",
    "repo_id",
    "repo_url",
    "revision",
    "safe_serialization",
    "save_jinja_files",
    "tags",
    "token",
    "use_auth_token",
)
_SAVING_REFUSED = {
    "push_to_hub": "upload the folder afterwards, with `hf upload` of huggingface_hub for instance",
}


def one_path(
    function: str, path: str | os.PathLike[str] | None, published: str | os.PathLike[str] | None
) -> str | os.PathLike[str]:
    """The one of two names of the same argument that was given.

    Raises:
        UnknownArgumentError: Neither was given, or both were.
    """
    found = path if published is None else published
    if found is None or (path is not None and published is not None):
        raise UnknownArgumentError(
            f"{function} got {'no path' if found is None else 'two paths'}: expected one, as its "
            "first argument (or as pretrained_model_name_or_path)."
        )
    return found


def for_opening(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `from_pretrained` that are settings of the tokenizer.

    Raises:
        UnknownArgumentError: One cannot be followed.
    """
    return _without(arguments, "from_pretrained", _OPENING_CHANGES_NOTHING, _OPENING_REFUSED)


def for_saving(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `save_pretrained` that are none that it knows.

    Raises:
        UnknownArgumentError: One cannot be followed.
    """
    found = _without(arguments, "save_pretrained", _SAVING_CHANGES_NOTHING, _SAVING_REFUSED)
    if found.get("legacy_format", True) is False:
        raise UnknownArgumentError(
            "save_pretrained got legacy_format=False, which asks for a tokenizer.json: XLM's rules "
            "do not fit into one. Leave it out: vocab.json and merges.txt are written."
        )
    found.pop("legacy_format", None)
    return found


def for_making(arguments: Mapping[str, Any], *, lowercase: bool) -> dict[str, Any]:
    """Those of the constructor that are none that it knows.

    Args:
        arguments: What it was given beside its own.
        lowercase: Whether the tokenizer lowercases.
    """
    found = _without(arguments, "XLMTokenizer", _MAKING_CHANGES_NOTHING, {})
    wanted = found.pop("do_lower_case", lowercase)
    if bool(wanted) != bool(lowercase):
        warn(
            f"do_lower_case={wanted!r} changes nothing, as in transformers: XLM's argument is "
            f"do_lowercase_and_remove_accent, which is {lowercase!r}."
        )
    return found


def _without(
    arguments: Mapping[str, Any],
    function: str,
    nothing: tuple[str, ...],
    refused: Mapping[str, str],
) -> dict[str, Any]:
    for name, advice in refused.items():
        if arguments.get(name):
            raise UnknownArgumentError(
                f"{function} got {name}={arguments[name]!r:.80}, which it cannot follow: {advice}."
            )
    return {
        name: value
        for name, value in arguments.items()
        if name not in nothing and name not in refused
    }
