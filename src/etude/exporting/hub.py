"""A folder to a model hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from etude.errors import ModelError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOG_IN = "log in with `hf auth login`"


def require_login(repository: str) -> None:
    """Asks the hub who is logged in, so that nothing is made for a push that it would refuse.

    Raises:
        ModelError: the hub cannot be reached, or refuses the token.
    """
    with _hub(repository, remedy=LOG_IN) as hub:
        hub.whoami()


def push_folder(folder: Path, repository: str) -> str:
    """Uploads the folder; a repository that is not there yet is made, and is private. Gives its address.

    Raises:
        ModelError: the hub cannot be reached, refuses the token, or knows no such owner.
    """
    remedy = f"{LOG_IN}; the folder is whole: `hf upload {repository} {folder}` sends it"
    with _hub(repository, remedy=remedy) as hub:
        made = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by Etude")
    return str(made)


@contextmanager
def _hub(repository: str, *, remedy: str) -> Iterator[HfApi]:
    """The hub; what it or the network says against it becomes an error with that remedy."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        yield HfApi()
    except OfflineModeIsEnabled as error:
        raise ModelError("the hub is switched off (HF_HUB_OFFLINE)", where=repository) from error
    except (HfHubHTTPError, HTTPError, ValueError, OSError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(f"the hub did not take it ({first.rstrip('.')})", where=repository, remedy=remedy) from error
