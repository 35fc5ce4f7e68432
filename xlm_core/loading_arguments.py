"""What `from_pretrained` and `save_pretrained` are called with: models, configurations, tokenizers.

Code written for transformers passes more than this library needs. An argument that means something
here is a parameter of the function; what is left over goes through the functions of this module:
it is accepted where it changes nothing, and refused by name, with what to do instead, elsewhere.

Source: `from_pretrained` and `save_pretrained` of transformers 4.57 (PreTrainedModel,
TFPreTrainedModel, PretrainedConfig, PreTrainedTokenizerBase).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlm_core.errors import ConfigError, UnknownArgumentError, refuse_unknown_arguments

PUBLISHED_PATH = "pretrained_model_name_or_path"
PUBLISHED_FOLDER = "save_directory"


@dataclass(frozen=True, kw_only=True)
class FileArguments:
    """Where the files of a checkpoint or a tokenizer are, beside the path or the name of it.

    Attributes:
        revision: Branch, tag or commit of a published checkpoint; None is "main".
        local_files_only: Of a published checkpoint, take only what was downloaded before.
        cache_dir: Folder of the downloads, in place of huggingface_hub's.
        token: Access token for the hub. True: the stored one; None: HF_TOKEN or the stored one,
            if there is any; False: none.
        force_download: Download again what is there already.
        subfolder: Folder inside the repository, or inside the folder at the path.
    """

    revision: str | None = None
    local_files_only: bool = False
    cache_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None
    force_download: bool = False
    subfolder: str = ""

    def within(self, path: Path) -> Path:
        """The place that a path on the disk means: its `subfolder`, if there is one."""
        return path / self.subfolder if self.subfolder else path


# Names of `FileArguments`: never fields of a configuration, nor settings of a tokenizer.
FILE_ARGUMENTS = tuple(FileArguments.__dataclass_fields__)
# All that says how to load, of which nothing may end up in a config.json.
LOADING_ARGUMENTS = frozenset(
    (
        *FILE_ARGUMENTS,
        PUBLISHED_PATH,
        "use_auth_token",
        "proxies",
        "resume_download",
        "return_unused_kwargs",
        "ignore_mismatched_sizes",
        "output_loading_info",
        "use_safetensors",
        "variant",
        "state_dict",
        "device_map",
        "low_cpu_mem_usage",
        "tied",
        "local_dir",
    )
)

# Accepted with any value: how transformers loads, which this library decides by itself.
_NEEDLESS = frozenset(
    (
        "resume_download",
        "mirror",
        "trust_remote_code",  # no code from a repository is ever run
        "code_revision",
        "weights_only",  # nothing in a file is ever executed
        "low_cpu_mem_usage",  # memory is always low
        "offload_state_dict",
        "offload_buffers",
        "adapter_name",
        "generation_config",
        "_fast_init",
        "_from_auto",
        "_from_pipeline",
        "_commit_hash",
        "_configuration_file",
    )
)
# Accepted where they say nothing (None, False, empty): argument -> what to do instead.
_INSTEAD = {
    "proxies": "set the variables HTTPS_PROXY and HTTP_PROXY",
    "from_flax": "convert Flax weights to PyTorch with transformers first",
    "gguf_file": "GGUF files hold no XLM model: give a layout that docs/layouts.md lists",
    "load_in_8bit": "open the model, then call quantize(model)",
    "load_in_4bit": "open the model, then call quantize(model), which gives int8",
    "quantization_config": "open the model, then call quantize(model)",
    "adapter_kwargs": "open the model, then PeftModel.from_pretrained(model, ...)",
    "key_mapping": "rename the tensors and give them as state_dict=",
    "max_memory": "open the model, then use accelerate.dispatch_model",
    "offload_folder": "open the model, then use accelerate.dispatch_model",
    "tp_plan": "tensor parallelism is not here",
    "tp_size": "tensor parallelism is not here",
    "device_mesh": "tensor parallelism is not here",
    "distributed_config": "distribute the model after it is opened",
    "use_kernels": "kernels are chosen here without being asked (docs/speed.md)",
    "load_weight_prefix": "a prefix before all names is found without being told",
    "tf_to_pt_weight_rename": "names are known here: convert with `xlm convert`",
}
# Of attention, what transformers calls the plain one, and the fused one that is chosen here.
_ATTENTIONS = (None, "eager", "sdpa")

# Of saving, accepted where nothing is uploaded.
_OF_UPLOADS = frozenset(
    (
        "token",
        "use_auth_token",
        "repo_id",
        "repo_url",
        "organization",
        "commit_message",
        "commit_description",
        "private",
        "create_pr",
        "revision",
        "tags",
        "use_temp_dir",
        "ignore_metadata_errors",
    )
)
_OF_SAVED_MODELS = ("saved_model", "signatures")
_SAVED_ALIKE = frozenset(
    ("save_peft_format", "save_original_format", "save_config", *_OF_SAVED_MODELS)
)


def given_path(
    function: str, path: Any, others: dict[str, Any], published: str = PUBLISHED_PATH
) -> Any:
    """The path that a function was given, as its first argument or under the published name.

    Args:
        function: What messages call the function.
        path: Its first argument, None where it was left out.
        others: Keyword arguments; the published name is taken out of them.
        published: "pretrained_model_name_or_path", or "save_directory".

    Raises:
        UnknownArgumentError: If it was given twice.
    """
    if published not in others:
        return path
    other = others.pop(published)
    if path is not None and other is not None:
        raise UnknownArgumentError(
            f"{function} got a path twice: {os.fspath(path)!r} and {published}={other!r}. Give one."
        )
    return other if path is None else path


def needed_path(function: str, path: Any) -> str | os.PathLike[str]:
    """`path`, if it is one.

    Raises:
        UnknownArgumentError: If there is none, or it is something else.
    """
    if not isinstance(path, (str, os.PathLike)):
        what = "no path" if path is None else f"a {type(path).__name__} as its path"
        raise UnknownArgumentError(
            f"{function} got {what}: expected a folder, a file, or a published name as its first "
            f"argument (or as {PUBLISHED_PATH}=)."
        )
    return path


def refuse_path_beside_parts(path: object, others: Mapping[str, Any]) -> None:
    """Refuse what names a model where the checkpoints of its encoder and decoder are given.

    Raises:
        UnknownArgumentError: Naming it.
    """
    given = {"path": path} | {n: others.get(n) for n in (PUBLISHED_PATH, "config", "state_dict")}
    twice = [name for name, value in given.items() if value is not None]
    if twice:
        raise UnknownArgumentError(
            f"from_pretrained got {' and '.join(twice)} beside encoder or decoder: give the path "
            "of an encoder-decoder, or the checkpoints of its two parts."
        )


def settle_loading(function: str, others: dict[str, Any]) -> None:
    """Take out of `others` what transformers' users pass to load and what changes nothing here.

    What remains in `others` is for the caller: fields, or names to refuse.

    Args:
        function: What messages call the function.
        others: The keyword arguments that are no parameters of the function.

    Raises:
        UnknownArgumentError: For an argument that asks for what is not here, with what to do
            instead.
    """
    for name in [*others]:
        value = others[name]
        if name in _INSTEAD and not _says_nothing(value):
            raise UnknownArgumentError(
                f"{function} does not take {name}={_shown(name, value)}: {_INSTEAD[name]}."
            )
        if name == "attn_implementation" and value not in _ATTENTIONS:
            raise UnknownArgumentError(
                f"{function} does not take attn_implementation={value!r}: expected 'eager' or "
                "'sdpa'. Attention is fused wherever that gives the same numbers (docs/speed.md)."
            )
        if name in _NEEDLESS or name in _INSTEAD or name == "attn_implementation":
            del others[name]


def settle_token(function: str, token: str | bool | None, others: dict[str, Any]) -> Any:
    """The access token, which older code calls `use_auth_token`.

    Raises:
        UnknownArgumentError: If it was given under both names.
    """
    older = others.pop("use_auth_token", None)
    if older is not None and token is not None:
        raise UnknownArgumentError(f"{function} got token and use_auth_token: give token only.")
    return older if token is None else token


def file_arguments(function: str, others: dict[str, Any]) -> FileArguments:
    """Take the arguments of `FileArguments` out of keyword arguments, with what changes nothing.

    For a function that takes them as **keywords; `settle_loading` is included.

    Raises:
        UnknownArgumentError: As `settle_loading`, and for a token given twice.
    """
    settle_loading(function, others)
    token = settle_token(function, others.pop("token", None), others)
    given = {name: others.pop(name) for name in FILE_ARGUMENTS if name in others}
    given["subfolder"] = given.get("subfolder") or ""
    return FileArguments(token=token, **{k: v for k, v in given.items() if k != "token"})


def settle_saving(
    function: str, *, push_to_hub: bool, others: dict[str, Any], known: Iterable[str] = ()
) -> None:
    """Take out of `others` what transformers' users pass to save and what changes nothing here.

    Args:
        function: What messages call the function.
        push_to_hub: Whether the caller asks for an upload, which is not here.
        others: The keyword arguments that are no parameters of the function.
        known: The parameters of the function, for the message.

    Raises:
        UnknownArgumentError: For an upload or a SavedModel, with what to do instead; for an unknown
            name.
    """
    if push_to_hub:
        raise UnknownArgumentError(
            f"{function} does not take push_to_hub={push_to_hub!r}: this library uploads nothing. "
            "Save the folder, then huggingface_hub.upload_folder(folder_path=..., repo_id=...)."
        )
    for name in _OF_SAVED_MODELS:
        if others.get(name):
            raise UnknownArgumentError(
                f"{function} does not take {name}={others[name]!r:.60}: a SavedModel is written by "
                "export(folder) of a model of xlm_tf, with the signatures of its own or of "
                "input_signature."
            )
    harmless = _OF_UPLOADS | _SAVED_ALIKE
    refuse_unknown_arguments(function, others.keys() - harmless, [*known, "push_to_hub"])
    others.clear()


def chosen_device(device_map: Any, accelerators: Iterable[str]) -> str | None:
    """The one device that a `device_map` names, or None where the caller does not say.

    Args:
        device_map: None; a device or its name; a number of an accelerator; "auto" and its kin,
            for which a model of this size goes to one device; or {"": device}.
        accelerators: Names of the accelerators that are there, the first to be preferred.

    Raises:
        ConfigError: For a map that puts parts of a model on several devices.
    """
    accelerators = [*accelerators]
    if isinstance(device_map, Mapping):
        places = {str(place) for place in device_map.values()}
        if len(places) != 1:
            raise ConfigError(
                f"device_map names several devices ({', '.join(sorted(places))}): open the model "
                "on one, then use accelerate.dispatch_model(model, device_map)."
            )
        device_map = next(iter(device_map.values()))
    if device_map is None:
        return None
    if device_map in ("auto", "balanced", "balanced_low_0", "sequential"):
        return accelerators[0] if accelerators else "cpu"
    if isinstance(device_map, int) and not isinstance(device_map, bool):
        if not accelerators:
            raise ConfigError(f"device_map is {device_map}: there is no accelerator here.")
        return f"{accelerators[0].partition(':')[0]}:{device_map}"
    return str(device_map)


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, (dict, str)) and not value)


def _shown(name: str, value: Any) -> str:
    # A proxy's address may hold a password.
    return "..." if name == "proxies" else f"{value!r:.60}"
