"""A repository of the Hugging Face hub as a local folder, and in one line why it cannot be downloaded.

Files in the client's cache are not downloaded again. Where the hub cannot be reached or HF_HUB_OFFLINE is set, the
cache alone is used.
"""

import contextlib
import functools
import logging
import textwrap
from pathlib import Path
from typing import Literal

from chattpl.errors import UserError

Kind = Literal["model", "dataset"]

logger = logging.getLogger(__name__)


def named_folder(value: str) -> Path | None:
    """The local folder that `value` names, or None where it can only be the id of a repository.

    Raises:
        NotADirectoryError: it is empty, or looks like a path and is not a folder.
    """
    try:
        path = Path(value).expanduser()
        if value and path.is_dir():
            return path
        is_path = not value or value.startswith((".", "/", "~")) or value.count("/") > 1 or path.exists()
    except (OSError, RuntimeError):  # a name that is too long, an unknown ~user
        is_path = True
    if is_path:
        raise NotADirectoryError(value)
    return None


@functools.cache
def snapshot(key: str, repo: str, kind: Kind, wanted: tuple[str, ...], unwanted: tuple[str, ...] = ()) -> Path:
    """The folder with the files of `repo` that match a pattern of `wanted` and none of `unwanted`.

    Each process asks the hub once, so that all its cells use one revision.

    Args:
        key: the configuration's key, which the error names.
        repo: `ORG/NAME`.
        kind: what the repository holds.
        wanted: patterns as `fnmatch` takes them, in which `*` also matches a slash.
        unwanted: likewise.

    Raises:
        UserError: the files are not in the cache, and the hub does not give them.
        OSError: they cannot be written.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    get = functools.partial(
        snapshot_download, repo, repo_type=kind, allow_patterns=list(wanted), ignore_patterns=list(unwanted)
    )
    logger.info("%s=%s: downloading the files that are not cached", key, repo)
    try:
        return Path(get())
    except Exception as error:  # the client's own errors and those of the HTTP libraries below it
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's
        with contextlib.suppress(LocalEntryNotFoundError, HFValidationError):
            return Path(get(local_files_only=True))
        raise UserError(f"{key}={repo}: {_reason(error, repo, kind)}") from error


def _reason(error: Exception, repo: str, kind: Kind) -> str:
    """Why a repository cannot be downloaded. The client's own messages have several lines."""
    import httpx
    from huggingface_hub import constants, errors

    # Of "not in the cache" the cause is why the hub was of no use.
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
    page = f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    match cause:
        case errors.HFValidationError():
            return "is neither a local folder nor the id of a repository, ORG/NAME"
        case errors.OfflineModeIsEnabled():
            return "not in the cache, or not all of it, and HF_HUB_OFFLINE is set; run once without it"
        case errors.GatedRepoError():
            return f"access is restricted; ask for it at {page} and set HF_TOKEN"
        case errors.RepositoryNotFoundError():
            return f"not found: neither a local folder nor a {kind} on the hub (a private one needs HF_TOKEN)"
        case errors.HfHubHTTPError(response=response) if response.status_code in (401, 403):
            return f"access is refused (status {response.status_code}); set HF_TOKEN to a token that may read {page}"
        case errors.HfHubHTTPError(response=response):
            return f"the hub answers with status {response.status_code}; try again later"
        case httpx.TransportError():
            return f"the hub cannot be reached ({in_short(cause)}), and the cache does not hold all of it"
        case _:
            return f"cannot be downloaded ({in_short(cause)})"


def in_short(error: BaseException) -> str:
    """What an error of a library says, in one line that is not too long; its type where it says nothing."""
    return textwrap.shorten(str(error), 160, placeholder=" …") or type(error).__name__
