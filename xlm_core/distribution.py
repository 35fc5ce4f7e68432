"""The distribution: its name, its version, and how to install what a part of it needs."""

from __future__ import annotations

NAME = "xlm-parity"
# pyproject.toml reads it from here.
__version__ = "0.1.0"


def install_command(*extras: str) -> str:
    """The command that installs extras of this distribution, for a sentence of a message.

    Args:
        extras: Names of extras, as pyproject.toml has them; none for the distribution alone.
    """
    wanted = f"[{','.join(extras)}]" if extras else ""
    return f"pip install '{NAME}{wanted}' (in a checkout of it: pip install '.{wanted}')"


def missing_framework(title: str, modules: tuple[str, ...], extra: str, error: ImportError) -> str:
    """The message of a `MissingPackageError` for a framework that cannot be imported.

    Args:
        title: What the framework is called, such as "PyTorch".
        modules: Names of the packages that make the framework.
        extra: The extra that installs it.
        error: What importing it raised. If none of `modules` is missing itself, it is quoted: the
            framework is there and broken.
    """
    absent = (
        isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in modules
    )
    why = "is not installed" if absent else f"does not load ({error})"
    return f"{title} {why}: install it with {install_command(extra)}."
