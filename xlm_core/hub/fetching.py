"""Published checkpoints by name: found in huggingface_hub's own cache, or downloaded into it."""

from __future__ import annotations

import os
from pathlib import Path

from xlm_core.errors import CheckpointError
from xlm_core.hub.errors import explained, hub_errors
from xlm_core.hub.names import OWNER, PUBLISHED, is_hub_name
from xlm_core.hub.repository import Repository
from xlm_core.hub.wanted import WantedFiles


def fetch(
    name: str,
    files: WantedFiles,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    force_download: bool = False,
    subfolder: str = "",
) -> Path:
    """Download files of a repository into huggingface_hub's cache, unless they are there.

    What the cache holds is not downloaded again; a branch or tag is asked about each time, with
    one request, a commit whose files are there with none. The variables of huggingface_hub hold
    (HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE, HF_ENDPOINT, HF_TOKEN). Where the hub cannot be
    reached, the cache has the last word.

    Args:
        name: One of `PUBLISHED`, or "owner/name".
        files: Which files to download.
        revision: A branch, a tag, or the 40 digits of a commit; None is the branch "main".
        local_files_only: Whether to use the cache only, without a request.
        cache_dir: Folder of the cache, in place of huggingface_hub's.
        token: The access token of the user. True: the stored one; None: HF_TOKEN or the stored
            one, if there is any; False: none.
        force_download: Whether to download again what the cache holds.
        subfolder: Folder of the repository that holds the files.

    Returns:
        The folder of the snapshot, or its subfolder: all files in it are of one commit.

    Raises:
        CheckpointError: If the repository, revision or files do not exist or may not be read,
            the hub cannot be reached, or a download breaks off.
        MissingPackageError: If huggingface_hub is not installed.
    """
    if not is_hub_name(name):
        raise CheckpointError(
            f"{name!r} is no existing path and no name of a repository: expected owner/name, or "
            f"one of {', '.join(PUBLISHED)}."
        )
    if not isinstance(files, WantedFiles):
        raise CheckpointError(f"files is {files!r:.80}: expected WantedFiles.")
    failures = hub_errors()
    repository = Repository(
        name if "/" in name else f"{OWNER}/{name}",
        revision,
        local_files_only,
        cache_dir,
        token,
        force_download=force_download,
        subfolder=subfolder,
    )
    try:
        return _fetched(repository, files)
    except CheckpointError:
        raise
    except failures as error:
        cause = repository.unreachable or error
        raise CheckpointError(explained(cause, repository.asked)) from error


def _fetched(repository: Repository, wanted: WantedFiles) -> Path:
    """Download the wanted files; returns the folder of the snapshot."""
    # Where the first of the optional files is absent there may be nothing at all, which a needed
    # one tells with a single request.
    if wanted.optional and repository.find(wanted.optional[0]) is None:
        repository.need(wanted.needed[-1])
    for file in wanted.optional[1:]:
        repository.find(file)
    # The needed files come last: where they are, it is settled which of the others exist.
    for file in wanted.needed:
        folder = repository.need(file).parent
    if wanted.first_of:
        _first_of(repository, wanted)
    return folder


def _first_of(repository: Repository, wanted: WantedFiles) -> None:
    """Download the first of several files that exists, with all its parts."""
    for file in wanted.first_of:
        found = repository.find(file)
        if found is not None:
            for part in wanted.parts(found):
                repository.need(part)
            return
    names = ", ".join(wanted.first_of)
    repository.asked.file = f"{wanted.what} ({names})"
    if repository.unreachable:
        raise repository.unreachable
    raise CheckpointError(
        f"{repository.asked.endpoint}/{repository.asked.repository} holds no {wanted.what} that "
        f"this library can open: none of {names} is there at commit {repository.commit}."
    )
