"""Datasets on the Hugging Face Hub: lists the files of a commit, fetches each once, and checks it.

``huggingface_hub`` lists, logs in and downloads, over Xet or HTTP. But its download function deletes the file of a
killed or failed download. So unfinished files are kept here, in ``PEDIGREE_HOME/hub``, and continued. Every file is
checked against the digest that the Hub lists, so nothing here can change a result.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from filelock import FileLock

from llm_core.errors import PedigreeError
from llm_core.store.digests import source_sha256
from llm_core.store.files import write_atomically
from llm_core.store.home import pedigree_home

TRIES = 5
"""A download fails after so many resets of the connection without any progress in between."""

SECONDS = 30
"""How long the Hub may be silent before a request fails. The library tries a listing six times."""

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may read it"
_CHUNK = 1 << 20
"""A broken connection loses at most so many bytes. The library's default, 10 MiB, is also slower."""

# By default, buffers take a share of the memory. Here, several processes download at once.
_BUFFERS = ("download_buffer_size", "download_buffer_perfile_size", "download_buffer_limit", "min_prefetch_buffer")
_XET = {"telemetry.enabled": False, **{f"reconstruction.{name}": 256_000_000 for name in _BUFFERS}}


@dataclass(frozen=True)
class HubFile:
    """A file of a dataset. ``digest``: ``sha256:…`` for a large file, ``git:…`` (its blob's name) for a small one."""

    path: str
    size: int
    digest: str


class HubDataset:
    """The dataset ``repo`` at ``revision``, for the source called ``source`` (in errors)."""

    def __init__(self, source: str, repo: str, revision: str) -> None:
        self._source, self._repo, self._revision = source, repo, revision
        self._folder = pedigree_home() / "hub" / repo.replace("/", "--") / revision

    def commit_now(self) -> str:
        """The commit that ``revision`` (a branch, a tag) stands for at this moment."""
        with self._hub() as hub:
            return str(hub.dataset_info(self._repo, revision=self._revision, timeout=SECONDS).sha)

    def known_files(self) -> list[HubFile] | None:
        """All files by name, from an earlier answer of the Hub; None if there is no complete one."""
        try:
            return [HubFile(**file) for file in json.loads(self._memory.read_bytes())]
        except (OSError, ValueError, TypeError):
            return None

    @property
    def _memory(self) -> Path:
        return self._folder / "files.json"

    def files(self) -> list[HubFile]:
        """All files by name. A commit never changes, so the Hub is asked once."""
        known = self.known_files()
        if known is not None:
            return known
        from huggingface_hub.hf_api import RepoFile
        from huggingface_hub.utils import build_hf_headers, paginate

        with self._hub() as hub:  # not ``list_repo_tree``, which waits for an answer without a time limit
            url = f"{hub.endpoint}/api/datasets/{self._repo}/tree/{self._revision}"
            headers = build_hf_headers(token=hub.token, library_name=hub.library_name)
            tree = paginate(url, {"recursive": True}, headers, timeout=SECONDS)
            files = [_hub_file(RepoFile(**entry)) for entry in tree if entry["type"] == "file"]
        files.sort(key=lambda file: file.path)
        for file in files:
            path = PurePosixPath(file.path)
            nameless = any(character == "\0" or "\ud800" <= character < "\ue000" for character in file.path)
            if path.is_absolute() or ".." in path.parts or nameless:
                raise PedigreeError(
                    f"{self._named(ascii(file.path))}: the name leads out of the dataset, or is invalid; don't use it"
                )
        write_atomically(self._memory, json.dumps([asdict(file) for file in files]).encode())
        return files

    def local_path(self, file: HubFile) -> Path:
        """Where the file is once it is fetched."""
        return self._folder / "files" / file.path

    def fetch(self, file: HubFile) -> Path:
        """The complete file on this machine. Continues a download that broke off; waits for one of another process."""
        target = self.local_path(file)
        partial = self._folder / "partial" / file.digest.replace(":", "-")
        with self._hub(file.path) as hub:
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{partial}.lock"):
                if target.is_file():
                    if target.stat().st_size == file.size and _digest_like(file.digest, target) == file.digest:
                        return target
                    target.rename(target.with_name(f"{target.name}.put_aside-{time.time_ns()}"))  # somebody changed it
                self._download(hub, file, partial)
                found = _digest_like(file.digest, partial)
                if found != file.digest:
                    partial.unlink()
                    raise PedigreeError(
                        f"{self._named(file.path)}: what came is not what the Hub lists ({found}, not {file.digest}); "
                        "it was deleted. Run again; if that does not help, tell the owners of the dataset"
                    )
                partial.rename(target)
        return target

    def _download(self, hub: Any, file: HubFile, partial: Path) -> None:
        """Append the missing bytes of the file to ``partial``."""
        from httpx2 import ReadError
        from huggingface_hub import get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get, is_xet_available
        from huggingface_hub.utils import build_hf_headers, silent_tqdm

        url = hf_hub_url(self._repo, file.path, repo_type="dataset", revision=self._revision, endpoint=hub.endpoint)
        headers = {**build_hf_headers(token=hub.token, library_name=hub.library_name), "accept-encoding": "identity"}
        tries = TRIES
        with partial.open("ab") as out:
            while (have := out.tell()) < file.size:
                try:
                    about = get_hf_file_metadata(
                        url, token=hub.token, headers=headers, endpoint=hub.endpoint, retry_on_errors=True
                    )
                    if about.xet_file_data and is_xet_available():
                        _continue_by_xet(out, about.xet_file_data, file.size, headers)
                    else:
                        http_get(url, out, resume_size=have, headers=headers, tqdm_class=silent_tqdm)
                    break
                except ReadError:  # a reset connection; after other breaks, the library continues by itself
                    tries = tries - 1 if out.tell() == have else TRIES
                    if not tries:
                        raise

    @contextmanager
    def _hub(self, path: str = "") -> Iterator[Any]:
        """The library's client. Its errors become ``PedigreeError`` with the dataset and the file ``path``."""
        import httpx2
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
        from huggingface_hub.utils import get_token_to_send

        constants.HF_HUB_DISABLE_TELEMETRY = True  # telemetry would ask the Hub more, and describe this machine
        constants.DOWNLOAD_CHUNK_SIZE = _CHUNK
        what, endpoint = self._named(path), os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
        token = get_token_to_send(None) or ""
        if not (token.isascii() and token.isprintable()):
            raise PedigreeError(f"{what}: your token has characters that no token has; {_LOG_IN}")
        try:
            yield HfApi(endpoint, token=token or False, library_name="pedigree-llm")
        except HfHubHTTPError as error:
            raise PedigreeError(f"{what}: {self._refusal(error.response, endpoint, bool(token))}") from None
        except OfflineModeIsEnabled:
            raise PedigreeError(
                f"{what}: HF_HUB_OFFLINE is set; unset it, or give a 'local_folder' with the files"
            ) from None
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
            raise PedigreeError(f"{what}: {endpoint} is no address of a Hub: {error}; look at HF_ENDPOINT") from None
        except HFValidationError as error:
            raise PedigreeError(f"{what}: {error} Mend repo and revision") from None
        except (KeyError, TypeError, ValueError) as error:
            raise PedigreeError(
                f"{what}: {endpoint} does not answer as the Hugging Face Hub does ({type(error).__name__}: {error}); "
                "check the environment variable HF_ENDPOINT"
            ) from None
        except (httpx2.TransportError, OSError) as error:
            if getattr(error, "errno", None) is not None:
                raise PedigreeError(
                    f"{what}: can't be written to {self._folder}: {error}. Run again when there is room (finished "
                    "bytes are kept), or set PEDIGREE_HOME to another disk"
                ) from None
            raise PedigreeError(
                f"{what}: no connection to {endpoint}: {error or type(error).__name__}; run again when it works "
                "(finished bytes are kept). Without a network, give a 'local_folder' with the files"
            ) from None

    def _refusal(self, answer: Any, endpoint: str, token: bool) -> str:
        status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
        if status == 401:
            how = "your token is not valid here" if token else "you are not logged in"
            return (
                f"the Hub refuses without a valid token (401), and {how}. If the name is right and the dataset is "
                f"private or gated, {_LOG_IN}"
            )
        if status == 403:
            return (
                "the Hub refuses (403). Accept the dataset's conditions at "
                f"{endpoint}/datasets/{self._repo}, and {_LOG_IN}"
            )
        if status == 404:
            missing = {
                "RevisionNotFound": f"the dataset has no revision {self._revision}",
                "EntryNotFound": "the dataset has no such file at this revision",
            }.get(code, f"there is no such dataset, or it is private (then {_LOG_IN})")
            return f"{missing} (404); mend repo, revision or files"
        if status == 429 or status >= 500:
            return f"the Hub answers {status}; run again when it works (finished bytes are kept)"
        return f"the Hub answers {status} {code}".rstrip() + "; look at it in a browser"

    def _named(self, path: str = "") -> str:
        return f"source {self._source!r}: {self._repo}@{self._revision[:12]}{f'/{path}' if path else ''}"


def _continue_by_xet(out: BinaryIO, about: Any, size: int, headers: dict[str, str]) -> None:
    """Append the rest of a file of ``size`` bytes. The library's ``xet_get`` can only start at byte 0."""
    os.environ.setdefault("HF_XET_CACHE", str(pedigree_home() / "hub" / "xet"))  # hf_xet logs from its import on
    from hf_xet import XetConfig, XetFileInfo, XetSession

    session = XetSession(XetConfig().with_config(_XET))
    with session.new_download_stream_group(
        token_refresh_url=about.refresh_route, token_refresh_headers=headers
    ) as group:
        for chunk in group.download_stream(XetFileInfo(about.file_hash, size), start=out.tell()):
            out.write(chunk)


def _hub_file(entry: Any) -> HubFile:
    digest = f"sha256:{entry.lfs.sha256}" if entry.lfs else f"git:{entry.blob_id}"
    return HubFile(str(entry.path), int(entry.size), digest)


def _digest_like(digest: str, path: Path) -> str:
    """The digest of the file at ``path``, of the same kind as ``digest``."""
    from huggingface_hub.utils.sha import git_hash

    return f"sha256:{source_sha256(path)}" if digest.startswith("sha256:") else f"git:{git_hash(path.read_bytes())}"
