"""Models on the Hugging Face hub: found by ``owner/name``, fetched, and sent there."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

TIMEOUT = 10  # seconds to wait for the hub's first answer; its own client tries again for minutes


def names_repo(path: str | Path) -> bool:
    """Whether this can only be meant as ``owner/name`` on the hub: there is no such folder, nor one to hold it."""
    text = path.as_posix() if isinstance(path, Path) else path
    looks_like_one = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is not None
    return looks_like_one and not Path(path).exists() and not Path(path).parent.is_dir()


def download(repo_id: str, files: Sequence[str], revision: str | None = None) -> Path:
    """Fetch files of a model from the hub, unless they are in its cache already, and return their folder.

    Raises:
        FileNotFoundError: the hub has no such model, or does not show it without a token.
        ConnectionError: the hub cannot be reached, and the model is not in the cache.
    """
    api = HfApi()
    fetch = partial(api.snapshot_download, repo_id, revision=revision, allow_patterns=list(files))
    try:
        api.model_info(repo_id, revision=revision, timeout=TIMEOUT)  # asks once
        return Path(fetch())
    except HfHubHTTPError as error:
        raise FileNotFoundError(
            f"There is no folder {repo_id} here, and no such model on {api.endpoint} ({_first_line(error)})."
        ) from error
    except Exception as error:  # of three HTTP libraries and the hub's own, without a common base
        try:
            return Path(fetch(local_files_only=True))
        except LocalEntryNotFoundError:
            raise ConnectionError(
                f"There is no folder {repo_id} here, and {api.endpoint} cannot be reached to look for a model of that "
                f"name ({type(error).__name__})."
            ) from error


def upload(folder: Path, repo_id: str, *, private: bool | None, token: str | None, message: str) -> str:
    """Send a folder to the hub as a model, which is made if it does not exist, and return its address."""
    api = HfApi(token=token)
    address = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(address)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
