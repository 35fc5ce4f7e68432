"""Where transformers' common tests come from: its source distributions, kept outside the project.

Only the test files that the suites import are unpacked. Two files that they import are not part of
a source distribution; what is written in their place says nothing about XLM.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

# Read as the package `peer_tests`, because `tests` is the name of ours.
PACKAGE = "peer_tests"

_FILES = (
    "test_modeling_common.py",
    "test_modeling_tf_common.py",
    "test_tokenization_common.py",
    "test_configuration_common.py",
)

_STAND_INS = {
    # Generation has tests of its own, which are not distributed.
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    # Arguments of `PretrainedConfig`, each with a value that is not its default; that of
    # the dtype is named as in the version.
    "utils/test_configuration_utils.py": (
        "config_common_kwargs = {{\n"
        "    'return_dict': False,\n"
        "    'output_hidden_states': True,\n"
        "    'output_attentions': True,\n"
        "    'torchscript': True,\n"
        "    '{dtype}': 'float16',\n"
        "    'tie_word_embeddings': False,\n"
        "    'chunk_size_feed_forward': 5,\n"
        "    'architectures': ['BertModel'],\n"
        "    'finetuning_task': 'translation',\n"
        "    'id2label': {{0: 'label'}},\n"
        "    'label2id': {{'label': '0'}},\n"
        "    'prefix': 'PREFIX',\n"
        "    'bos_token_id': 6,\n"
        "    'pad_token_id': 7,\n"
        "    'eos_token_id': 8,\n"
        "    'problem_type': 'regression',\n"
        "}}\n"
    ),
}


def cache() -> Path:
    """The folder of what is downloaded: XLM_PEER_CACHE, or one in the user's cache."""
    if "XLM_PEER_CACHE" in os.environ:
        return Path(os.environ["XLM_PEER_CACHE"])
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "xlm-parity" / "peer-tests"


def common_tests(version: str) -> Path:
    """A folder that holds the package `peer_tests` of this version of transformers."""
    folder = cache() / f"transformers-{version}"
    if not (folder / "complete").exists():
        _unpack(_source_distribution(version), folder)
        (folder / "complete").touch()
    for name, text in _STAND_INS.items():
        path = folder / PACKAGE / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        dtype = "dtype" if version >= "4.56" else "torch_dtype"
        path.write_text(text.format(dtype=dtype), encoding="utf-8")
    return folder


def packages() -> Path:
    """A folder of packages that only these tests import, for the end of `sys.path`."""
    folder = cache() / "packages"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _pip("install", "--target", str(folder), "parameterized", "datasets<4", "huggingface_hub<1")
        (folder / "complete").touch()
    return folder


def _source_distribution(version: str) -> Path:
    folder = cache()
    archive = folder / f"transformers-{version}.tar.gz"
    if not archive.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wanted = ("--no-deps", "--no-binary", ":all:", "--dest", str(folder))
        _pip("download", *wanted, f"transformers=={version}")
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    package = folder / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            parts = Path(member.name).parts
            if member.isfile() and parts[1:] in {("tests", name) for name in _FILES}:
                file = tar.extractfile(member)
                if file is not None:
                    (package / parts[-1]).write_bytes(file.read())


def _pip(*arguments: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", arguments[0], "--quiet", *arguments[1:]], check=True
    )
