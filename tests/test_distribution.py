"""The distribution's name and version, and what the project's texts tell people to install."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import conversion
import xlm_core
from conversion.cli import main
from conversion.opening.families import FAMILIES
from xlm_core import distribution
from xlm_core.errors import MissingPackageError
from xlm_core.tokenization.text.segmenters import SEGMENTERS

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
# Names that look like this distribution's, and belong to others or to nobody.
NOT_OURS = re.compile(r"\bxlm-(?:models|core|torch|tf|keras)\b")
COMMAND = re.compile(
    r"\b(?:pip3?|pipx|uv|conda|mamba|poetry)(?: pip)? (?:install|add|download)(?=\s)"
)
ARGUMENT = re.compile(r"""[ \t]+(?:'([^']*)'|"([^"]*)"|([^\s'"`()]+))""")
WORD = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[(?P<extras>[^\]]*)\])?(?:[=<>!~].*)?")
# Options of pip that take a word.
WITH_VALUE = {"-c", "-r", "--constraint", "--requirement", "--target", "--python"}
Named = list[tuple[str, tuple[str, ...]]]


def names_of(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", each)[0].lower() for each in requirements}


OURS = {distribution.NAME, "."}
DEPENDENCIES = names_of(
    [
        "pip",
        *PROJECT["build-system"]["requires"],
        *PROJECT["project"]["dependencies"],
        *(each for group in EXTRAS.values() for each in group),
    ]
)


def texts() -> Iterator[tuple[str, str]]:
    """Name and text of every file of the project that is text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = [name for name in listed.stdout.split("\0") if name]
    if listed.returncode:  # an archive, not a checkout
        names = [f.relative_to(ROOT).as_posix() for f in ROOT.rglob("*") if ".venv" not in f.parts]
    for name in sorted(names):
        path = ROOT / name
        if path.is_file() and path != Path(__file__) and path.stat().st_size < 1_000_000:
            data = path.read_bytes()
            if b"\0" not in data[:4096]:
                yield name, data.decode("utf-8", "replace")


def installed_by(text: str) -> Named:
    """Name and extras of everything that a text tells somebody to install."""
    found: Named = []
    text = text.replace("\\", "")
    for command in COMMAND.finditer(text):
        end, is_value = command.end(), False
        while (argument := ARGUMENT.match(text, end)) is not None:
            end = argument.end()
            quoted = argument[3] is None
            word = argument[argument.lastindex or 0]
            if is_value or word.startswith("-"):
                is_value = word in WITH_VALUE
                continue
            bare = word if quoted else word.rstrip(",.:;") or word
            local = re.fullmatch(r"\.(?:\[(.*)\])?", bare)
            named = WORD.fullmatch(bare)
            if local is not None:
                found.append((".", _split(local[1])))
            elif named is not None:
                found.append((named["name"], _split(named["extras"])))
            if (local is None and named is None) or (bare != word):
                break  # computed, a remark, or the sentence goes on
    return found


def _split(extras: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (extras or "").split(",")))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("pip! install a", [("a", ())]),
        ("pip! install 'a[b,c]>=2' d==1 # e", [("a", ("b", "c")), ("d", ())]),
        ("run `pip! install a`, or", [("a", ())]),
        ("pip! install -q -c constraints.txt -e '.[b]'", [(".", ("b",))]),
        (
            "with pip! install 'a[b]' (in a checkout: pip! install '.[b]').",
            [("a", ("b",)), (".", ("b",))],
        ),
        ("uv! add a", [("a", ())]),
        ("uv! pip install a", [("a", ())]),
        ('pip! install "$$(grep x)"', []),
    ],
)
def test_what_a_text_says_to_install(said: str, expected: Named) -> None:
    # The mark keeps these lines from being commands of this very file for other readers.
    assert installed_by(said.replace("!", "")) == expected


def test_every_text_names_this_distribution_or_a_dependency() -> None:
    wrong, seen = [], 0
    for file, text in texts():
        for name, extras in installed_by(text):
            seen += 1
            if name.lower() not in OURS | DEPENDENCIES:
                wrong.append(f"{file} says to install {name}")
            computed = any("{" in extra for extra in extras)
            if name in OURS and not computed and not {*extras} <= EXTRAS.keys():
                wrong.append(f"{file} names extras {extras}")
        wrong += [f"{file} speaks of {match[0]}" for match in NOT_OURS.finditer(text)]
    assert wrong == []
    assert seen > 5


def test_messages_name_extras_that_exist() -> None:
    named: list[str] = []
    for package in ("xlm_core", "xlm_torch", "xlm_tf", "conversion"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called, arguments = ast.unparse(node.func).rpartition(".")[2], node.args
                if called == "install_command":
                    named += [a.value for a in arguments if isinstance(a, ast.Constant)]
                if called == "missing_framework" and isinstance(arguments[2], ast.Constant):
                    named.append(arguments[2].value)
    assert {"hub", "torch", "tf"} <= {*named}
    computed = [extra for _, _, extra in FAMILIES.values()]
    assert {*named, *computed, *SEGMENTERS} <= EXTRAS.keys()


def test_the_command() -> None:
    said = distribution.install_command("torch", "tf")
    assert installed_by(said) == [("xlm-parity", ("torch", "tf")), (".", ("torch", "tf"))]
    assert installed_by(distribution.install_command()) == [("xlm-parity", ()), (".", ())]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "PyTorch is not installed"),
        (ModuleNotFoundError("no sympy", name="sympy"), "PyTorch does not load (no sympy)"),
        (ImportError("libcudart.so"), "PyTorch does not load (libcudart.so)"),
    ],
)
def test_a_missing_framework(error: ImportError, said: str) -> None:
    message = distribution.missing_framework("PyTorch", ("torch",), "torch", error)
    assert message.startswith(f"{said}: install it with pip install 'xlm-parity[torch]'")


@pytest.mark.parametrize(
    ("family", "framework", "title"),
    [("xlm_torch", "torch", "PyTorch"), ("xlm_tf", "keras", "TensorFlow")],
)
def test_importing_a_family_without_its_framework(
    family: str, framework: str, title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == family]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, framework, None)
    extra = {family_: extra for family_, _, extra in FAMILIES.values()}[family]
    with pytest.raises(MissingPackageError) as caught:
        importlib.import_module(family)
    assert str(caught.value).startswith(f"{title} is not installed: install it with pip install ")
    assert f"'xlm-parity[{extra}]'" in str(caught.value)


@pytest.mark.parametrize("family", ["xlm_torch", "xlm_tf"])
def test_what_each_family_brings_along(family: str) -> None:
    source = (ROOT / family / "__init__.py").read_text(encoding="utf-8")
    exported = next(
        ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert {"XLMConfig", "XLMTokenizer", "__version__"} <= {*exported}


def test_one_name_and_one_version_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert PROJECT["project"]["name"] == distribution.NAME == "xlm-parity"
    assert PROJECT["project"]["dynamic"] == ["version"]
    source = PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"]
    assert source == "xlm_core.distribution.__version__"
    assert xlm_core.__version__ == conversion.__version__ == distribution.__version__
    with pytest.raises(SystemExit) as exit_:
        main(["--version"])
    assert exit_.value.code == 0
    assert capsys.readouterr().out == f"xlm-parity {distribution.__version__}\n"
