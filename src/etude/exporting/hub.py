"""A folder to a model hub."""

from __future__ import annotations

from pathlib import Path

from etude.errors import ModelError


def push_folder(folder: Path, repository: str) -> str:
    """Uploads the folder, private at first; the address of what was made.

    Raises:
        ModelError: the hub cannot be reached, refuses the token, or knows no such owner.
    """
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    hub = HfApi()
    try:
        made = hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(repo_id=repository, folder_path=folder, commit_message="Exported by Etude")
    except OfflineModeIsEnabled as error:
        raise ModelError("the hub is switched off (HF_HUB_OFFLINE)", where=repository) from error
    except (HfHubHTTPError, HTTPError, ValueError, OSError) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ModelError(
            f"the hub did not take it ({first})", where=repository, remedy="log in with `hf auth login`"
        ) from error
    return str(made)
