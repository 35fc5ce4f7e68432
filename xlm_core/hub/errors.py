"""What went wrong at the hub, in words: huggingface_hub's errors, and what to do about each.

Its classes differ between its versions in what they derive from, and in 0.x the network's errors
are those of requests, later those of httpx. What is used here is the same from 0.25 to 2.4.
"""

from __future__ import annotations

from dataclasses import dataclass

from xlm_core.distribution import install_command
from xlm_core.errors import MissingPackageError

# The errors of a body that ended early, which not every version of huggingface_hub answers by
# resuming: requests' under 0.x, httpx's later.
_BROKEN_OFF = ("ChunkedEncodingError", "ReadError", "RemoteProtocolError")


@dataclass
class Asked:
    """What was asked for, for messages.

    Attributes:
        repository: Owner and name.
        revision: A branch, a tag or a commit; None is the hub's default.
        endpoint: Address of the hub.
        cache: Folder of the cache.
        file: The file, or several in words.
    """

    repository: str
    revision: str | None
    endpoint: str
    cache: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.file} of {self.repository} at revision {self.revision or 'main'}"


def hub_errors() -> tuple[type[Exception], ...]:
    """Every class of error that a download may end in.

    Raises:
        MissingPackageError: If huggingface_hub is not installed, or older than 0.25.
    """
    try:
        from huggingface_hub import errors
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError
    except ImportError as error:
        raise MissingPackageError(
            "Opening a checkpoint by its name needs huggingface_hub, 0.25 or newer: "
            f"{install_command('hub')}. It says: {error}."
        ) from error
    # Among its bases is the common base of what the HTTP client raises. The client of Xet storage
    # raises RuntimeError; strange addresses and names are a ValueError.
    client = [base for base in HfHubHTTPError.__mro__ if issubclass(base, Exception)]
    client.remove(Exception)
    xet = [getattr(errors, name, OSError) for name in ("XetError", "XetDownloadError")]
    return (
        *client,
        *xet,
        EntryNotFoundError,
        OSError,
        RuntimeError,
        ValueError,
    )


def can_resume(error: Exception) -> bool:
    """Whether a download broke off in a way that another try may continue."""
    return type(error).__name__ in _BROKEN_OFF


def needs_fresh_start(error: Exception) -> bool:
    """Whether what an earlier download left is of no use: its size is not that of the file."""
    return status_of(error) == 416 or (type(error) is OSError and error.errno is None)


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status of the answer that an error is about, if there was one."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def explained(error: Exception, asked: Asked) -> str:
    """What an error means for the person who asked, and what to do.

    Args:
        error: An error of huggingface_hub, or of its HTTP client.
        asked: What was asked for.
    """
    from huggingface_hub import errors

    page = f"{asked.endpoint}/{asked.repository}"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{page} is gated: ask for access on that page, then give a token of yours (token=, "
            "the variable HF_TOKEN, or `hf auth login`)."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"There is no folder {asked.repository}, and {asked.endpoint} has no repository of "
            "this name, or a private one. Check the name; for a private repository, give a token "
            "that may read it (token=, the variable HF_TOKEN, or `hf auth login`)."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"{page} has no revision {asked.revision!r}: expected a branch, a tag, or the 40 "
            "digits of a commit."
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _not_cached(error, asked)
    if isinstance(error, errors.EntryNotFoundError):
        return (
            f"{page} has no {asked.file} at revision {asked.revision or 'main'}: it is no "
            "checkpoint that this library can open."
        )
    if status_of(error) is not None:
        return f"{asked} is not to be had from {asked.endpoint}: {_refusal(error)}"
    if isinstance(error, OSError) and error.errno is not None:
        return (
            f"{asked} cannot be stored in {asked.cache}: {error.strerror}. Make room there, or "
            "name another folder (cache_dir=, or the variable HF_HOME)."
        )
    return (
        f"The download of {asked} from {asked.endpoint} broke off: {_reason(error)}. Check the "
        "connection and try again; no part of a file is ever used."
    )


def _not_cached(error: Exception, asked: Asked) -> str:
    """Of a file that is not in the cache, where the hub gave no answer."""
    from huggingface_hub import errors

    cause = error.__cause__
    missing = f"{asked} is not in the cache {asked.cache}"
    if cause is None or isinstance(cause, errors.OfflineModeIsEnabled):
        return (
            f"{missing}, and nothing may be downloaded (local_files_only=True, or the variable "
            "HF_HUB_OFFLINE is set). Open it once with the network, or name the revision or the "
            "cache folder that holds it."
        )
    if status_of(cause) is not None:
        return f"{missing}, and {asked.endpoint} does not give it: {_refusal(cause)}"
    if isinstance(cause, errors.FileMetadataError):
        return (
            f"{missing}, and {asked.endpoint} does not answer as a hub does: {_reason(cause)}. "
            "Check the variable HF_ENDPOINT, and that no proxy or log-in page is in the way."
        )
    return (
        f"{missing}, and {asked.endpoint} cannot be reached: {_reason(cause)}. Check the "
        "connection, a proxy, and the variable HF_ENDPOINT if it is set."
    )


def _refusal(error: BaseException) -> str:
    status = status_of(error)
    if status in (401, 403):
        return (
            f"it answers with HTTP status {status}. Give a token that may read this repository "
            "(token=, the variable HF_TOKEN, or `hf auth login`), or none if it is public."
        )
    if status == 404:
        return "it answers with HTTP status 404. Check the name and the revision."
    return f"it answers with HTTP status {status}. Try again later."


def _reason(error: BaseException) -> str:
    """Type and first line of an error, cut to a sane length."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]:.200}".rstrip(".") if lines else type(error).__name__
