"""Runs tests with tools whose versions do not go together with those of `make test`.

    python -m tests.tools [--only 'transformers*'] [pytest's arguments]

Each environment is made once, in a cache outside the project (XLM_TOOLS_CACHE), from the package
index, with PyTorch as in constraints.txt, and made again when it is to hold something else.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Environment:
    """Packages that go together, and what is tested with them.

    Attributes:
        name: Of its folder.
        packages: What pip installs beside the library, its dependencies and pytest.
        tests: Files and folders, from the root of the project; those that are absent are left out.
    """

    name: str
    packages: tuple[str, ...]
    tests: tuple[str, ...]


ENVIRONMENTS = (
    Environment(
        "transformers-5",
        ("transformers>=5,<6", "peft", "accelerate", "safetensors"),
        ("tests/torch/for_transformers", "tests/torch/test_torch_seq2seq_trainer.py"),
    ),
    Environment(
        "sentence-transformers",
        ("sentence-transformers>=5", "safetensors"),
        ("tests/tools/test_sentence_transformers.py",),
    ),
    Environment(
        "exports",
        ("onnx", "onnxscript", "onnxruntime", "captum", "safetensors"),
        ("tests/tools/test_onnx.py", "tests/tools/test_captum.py"),
    ),
)
_TESTING = ("pytest>=8.3", "hypothesis>=6.100")


def cache() -> Path:
    """The folder of the environments."""
    default = Path.home() / ".cache" / "xlm-parity" / "tools"
    return Path(os.environ.get("XLM_TOOLS_CACHE", default))


def python_of(environment: Environment) -> Path:
    """The environment's interpreter; made, if it is not there with these packages."""
    folder = cache() / environment.name
    torch = next(
        line
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    )
    wanted = "\n".join((torch, *environment.packages, *_TESTING))
    made = folder / "packages.txt"
    if not made.is_file() or made.read_text(encoding="utf-8") != wanted:
        print(f"making {folder}", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, torch], check=True)
        library = ["-e", f"{ROOT}[torch]"]
        subprocess.run([*pip, *environment.packages, *_TESTING, *library], check=True, cwd=ROOT)
        made.write_text(wanted, encoding="utf-8")
    return folder / "bin" / "python"


def main(arguments: list[str] | None = None) -> int:
    """Runs the tests of each environment; 1 if any fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.tools",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--only", default="*", help="a pattern of environments' names")
    options, more = parser.parse_known_args(arguments)
    bad = []
    for environment in ENVIRONMENTS:
        tests = [test for test in environment.tests if (ROOT / test).exists()]
        if not tests or not fnmatch.fnmatch(environment.name, options.only):
            continue
        python = python_of(environment)
        print(f"{environment.name}: {', '.join(tests)}", flush=True)
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, *tests]
        # One environment's warnings about itself are not another's: see tests/tools/pytest.ini.
        command += ["-c", str(ROOT / "tests" / "tools" / "pytest.ini"), "--rootdir", str(ROOT)]
        found = os.environ | {"PYTHONPATH": str(ROOT)}
        if subprocess.run(command, cwd=ROOT, env=found, check=False).returncode:
            bad.append(environment.name)
    if bad:
        print(f"failed: {', '.join(bad)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
