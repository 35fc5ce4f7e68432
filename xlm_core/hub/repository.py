"""A repository's files in huggingface_hub's own cache, downloaded if needed."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from xlm_core.errors import CheckpointError
from xlm_core.hub.errors import (
    Asked,
    can_resume,
    hub_errors,
    needs_fresh_start,
    status_of,
)

# How often a download that broke off is continued.
_ATTEMPTS = 5


class Repository:
    """A repository at one revision, which becomes a commit with the first file."""

    def __init__(
        self,
        name: str,
        revision: str | None,
        local_files_only: bool,
        cache_dir: str | os.PathLike[str] | None,
        token: str | bool | None,
        *,
        force_download: bool = False,
        subfolder: str = "",
    ) -> None:
        endpoint, cache = _settings()
        self._commit: str | None = None
        self._local = local_files_only
        self._cache = os.path.abspath(os.path.expanduser(cache_dir or cache))
        self._token = token
        self._force = force_download and not local_files_only
        self._subfolder = PurePosixPath(subfolder)
        self._found: dict[str, Path] = {}
        self.asked = Asked(name, revision or None, endpoint, self._cache)
        # The error of the first request to which the hub gave no answer.
        self.unreachable: Exception | None = None

    @property
    def commit(self) -> str | None:
        """The commit whose files these are; None before the first of them."""
        return self._commit

    def need(self, file: str) -> Path:
        """The file's path in the cache.

        Raises:
            Exception: One of `hub_errors`.
        """
        from huggingface_hub.errors import LocalEntryNotFoundError

        self.asked.file = file
        if file in self._found:  # which force_download would fetch once more
            return self._found[file]
        try:
            path = self._download(file)
        except LocalEntryNotFoundError as error:
            # Some mirrors do not say what a 404 is about. After anything else, every further file
            # would wait for the network again.
            if status_of(error.__cause__) != 404:
                self._local = True
                self.unreachable = self.unreachable or error
            raise
        snapshot = path.parents[len(self._subfolder.parts)].name
        if snapshot != (self._commit or snapshot):
            raise CheckpointError(
                f"{self.asked.endpoint} answers for {file} of {self.asked.repository} with commit "
                f"{snapshot}, but {self._commit} was asked for: files of different commits "
                "do not belong together."
            )
        self._commit = snapshot
        self._found[file] = path
        return path

    def find(self, file: str) -> Path | None:
        """The file's path in the cache, or None if there is no such file, as far as is known."""
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError

        if self._commit is not None:
            known = try_to_load_from_cache(
                self.asked.repository,
                self._full(file),
                cache_dir=self._cache,
                revision=self._commit,
            )
            # Neither a path nor None: the cache knows that the commit has no such file.
            if known is not None and not isinstance(known, str):
                return None
        try:
            return self.need(file)
        except EntryNotFoundError:
            return None

    def _full(self, file: str) -> str:
        return str(self._subfolder / file)

    def _download(self, file: str) -> Path:
        from huggingface_hub import hf_hub_download

        attempts, fresh = _ATTEMPTS, False
        while True:
            attempts -= 1
            try:
                found = hf_hub_download(
                    self.asked.repository,
                    self._full(file),
                    revision=self._commit or self.asked.revision,
                    cache_dir=self._cache,
                    local_files_only=self._local,
                    token=self._token,
                    force_download=fresh or self._force,
                )
                return Path(found)
            except hub_errors() as error:
                again = can_resume(error) or (needs_fresh_start(error) and not fresh)
                if not attempts or not again:
                    raise
                fresh = not can_resume(error)


def _settings() -> tuple[str, str]:
    """The address of the hub, and the folder of the cache, as huggingface_hub has them."""
    try:
        from huggingface_hub import constants

        parts = urlsplit(constants.ENDPOINT)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        # Some versions look at the address when they are imported.
        raise CheckpointError(
            f"A variable of huggingface_hub cannot be used: {error}. {_variables()}"
        ) from error
    if not valid:
        raise CheckpointError(f"{constants.ENDPOINT!r} is no address of a hub. {_variables()}")
    return constants.ENDPOINT, constants.HF_HUB_CACHE


def _variables() -> str:
    return (
        f"The variable HF_ENDPOINT is {os.environ.get('HF_ENDPOINT')!r}: expected the address of a "
        "hub, such as https://huggingface.co, or none."
    )
