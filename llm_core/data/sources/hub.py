"""The Hugging Face Hub, as far as a dataset needs it: the files at a commit, fetched once, resumed where broken off.

Downloads lie in ``PEDIGREE_HOME/hub``. They go through ``huggingface_hub``'s session, and not through its download
function, which throws away what a killed or failed download had. What is fetched is checked against the digest that
the Hub lists: so nothing here changes a result.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha1
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from filelock import FileLock

from llm_core.errors import PedigreeError
from llm_core.extras import missing
from llm_core.store.digests import source_sha256
from llm_core.store.files import write_atomically
from llm_core.store.home import pedigree_home

TRIES = 5
"""Requests without any progress before giving up."""

LONGEST_WAIT = 300.0
"""Seconds. A Hub that asks for more patience than that is an error."""

_TIMEOUT = 30.0
_CHUNK = 1 << 20
_BUSY = 429
_PARTIAL, _WHOLE, _NOTHING_LEFT = 206, 200, 416


@dataclass(frozen=True)
class HubFile:
    """A file of a dataset. ``digest``: ``sha256:…`` for a large file, ``git:…`` (its blob's name) for a small one."""

    path: str
    size: int
    digest: str


class _NotYetError(Exception):
    """The Hub, or the way to it, failed in a way that may pass; ``seconds``: how long it asks us to wait."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class HubDataset:
    """The dataset ``repo`` at ``revision``, for the source called ``source`` (in errors)."""

    def __init__(self, source: str, repo: str, revision: str) -> None:
        self._source, self._repo, self._revision = source, repo, revision
        self._folder = pedigree_home() / "hub" / repo.replace("/", "--") / revision

    def commit_now(self) -> str:
        """The commit that ``revision`` (a branch, a tag) stands for at this moment."""
        url = f"{_endpoint()}/api/datasets/{self._repo}/revision/{quote(self._revision, safe='')}"
        found = self._json(url)
        with self._expecting(url):
            return str(found[0]["sha"])

    def known_files(self) -> list[HubFile] | None:
        """All files by name, as the Hub once said; None where it was never asked, or the answer is not whole."""
        try:
            return [HubFile(**file) for file in json.loads(self._memory.read_bytes())]
        except (OSError, ValueError, TypeError):
            return None

    @property
    def _memory(self) -> Path:
        return self._folder / "files.json"

    def files(self) -> list[HubFile]:
        """All files by name. What a commit holds never changes: the Hub is asked once."""
        known = self.known_files()
        if known is not None:
            return known
        url = f"{_endpoint()}/api/datasets/{self._repo}/tree/{self._revision}?recursive=true"
        pages = self._json(url)
        with self._expecting(url):
            files = sorted(
                (_hub_file(entry) for page in pages for entry in page if entry["type"] == "file"),
                key=lambda file: file.path,
            )
        for file in files:
            path = PurePosixPath(file.path)
            nameless = any(character == "\0" or "\ud800" <= character < "\ue000" for character in file.path)
            if path.is_absolute() or ".." in path.parts or nameless:
                raise PedigreeError(
                    f"{self._named(ascii(file.path))}: a name that leads out of the dataset, or is none; don't use it"
                )
        write_atomically(self._memory, json.dumps([asdict(file) for file in files]).encode())
        return files

    def place(self, file: HubFile) -> Path:
        """Where the file lies once it is fetched."""
        return self._folder / "files" / file.path

    def fetch(self, file: HubFile) -> Path:
        """The file on this machine, whole. Continues what was broken off; another process that is at it is awaited."""
        try:
            return self._fetch(file)
        except OSError as error:
            raise PedigreeError(
                f"{self._named(file.path)}: can't be kept in {self._folder}: {error.strerror or error}; what is "
                "there is kept: run again when there is room, or set PEDIGREE_HOME to another disk"
            ) from None

    def _fetch(self, file: HubFile) -> Path:
        target = self.place(file)
        partial = self._folder / "partial" / file.digest.replace(":", "-")
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{partial}.lock"):
            if target.is_file():
                if target.stat().st_size == file.size and _digest_like(file.digest, target) == file.digest:
                    return target
                target.rename(target.with_name(f"{target.name}.put_aside-{time.time_ns()}"))  # somebody changed it
            self._download(file, partial)
            found = _digest_like(file.digest, partial)
            if found != file.digest:
                partial.unlink()
                raise PedigreeError(
                    f"{self._named(file.path)}: what came is not what the Hub lists ({found}, not {file.digest}); it "
                    "was thrown away: run again, and if it stays so, tell the owners of the dataset"
                )
            partial.rename(target)
        return target

    def _download(self, file: HubFile, partial: Path) -> None:
        url = f"{_endpoint()}/datasets/{self._repo}/resolve/{self._revision}/{quote(file.path)}"
        patience = _Patience(self._named(file.path))
        while (have := partial.stat().st_size if partial.is_file() else 0) < file.size:
            try:
                self._continue(url, partial, have, file)
            except _NotYetError as reason:
                now = partial.stat().st_size if partial.is_file() else 0
                patience.wait(reason, progress=now > have)
        if have > file.size:
            partial.unlink()
            raise PedigreeError(f"{self._named(file.path)}: {have} bytes came, {file.size} are listed; run again")
        if not file.size:
            partial.touch()

    def _continue(self, url: str, partial: Path, have: int, file: HubFile) -> None:
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._answer(url, self._named(file.path), headers) as answer:
            if answer.status_code == _NOTHING_LEFT or (answer.status_code == _WHOLE and have):
                partial.unlink(missing_ok=True)  # the server does not continue: from the start, then
                have = 0
            if answer.status_code == _NOTHING_LEFT:
                raise _NotYetError(f"the server has nothing after byte {have}")
            with partial.open("ab") as out:
                for chunk in answer.iter_raw():  # as they come: a break loses nothing that came before it
                    out.write(chunk)
                    have += len(chunk)
                    if have > file.size:
                        break
        if have < file.size:
            raise _NotYetError(f"the connection ended at byte {have} of {file.size}")

    @contextmanager
    def _expecting(self, url: str) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, ValueError) as error:
            raise PedigreeError(
                f"{self._named()}: {url} answers otherwise than the Hub does ({type(error).__name__}: {error}); look "
                "at HF_ENDPOINT"
            ) from None

    def _json(self, url: str) -> list[Any]:
        """The answer, and those that it says follow it."""
        patience = _Patience(self._named())
        pages = []
        following: str | None = url
        while following:
            try:
                with self._answer(following, self._named(), {}) as answer:
                    answer.read()
                    pages.append(answer.json())
                    following = answer.links.get("next", {}).get("url")
            except _NotYetError as reason:
                patience.wait(reason, progress=False)
            except ValueError as error:
                raise PedigreeError(f"{self._named()}: {url} answers with no JSON: {error}") from None
        return pages

    @contextmanager
    def _answer(self, url: str, what: str, headers: dict[str, str]) -> Iterator[Any]:
        """The open response; raises ``_NotYetError`` for what may pass, ``PedigreeError`` for what won't."""
        httpx, get_session, offline = _library()
        token = os.environ.get("HF_TOKEN", "").strip()
        # Not huggingface_hub's own headers: to make these, it asks the Hub for more, and says more about this machine.
        headers = {"User-Agent": "pedigree-llm", "Accept-Encoding": "identity", **headers}
        if not (token.isascii() and token.isprintable()):
            raise PedigreeError(f"{what}: HF_TOKEN holds characters that are in no token; set it again")
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as answer:
                if answer.status_code not in (_WHOLE, _PARTIAL, _NOTHING_LEFT):
                    raise self._refusal(answer, what, bool(token))
                yield answer
        except offline:
            raise PedigreeError(
                f"{what}: HF_HUB_OFFLINE is set; unset it, or give a 'local_folder' with the files"
            ) from None
        except (httpx.UnsupportedProtocol, httpx.InvalidURL, httpx.TooManyRedirects) as error:
            raise PedigreeError(f"{what}: {_endpoint()} is no address of a Hub: {error}; look at HF_ENDPOINT") from None
        except httpx.TransportError as error:
            raise _NotYetError(f"no connection to {_endpoint()}: {error or type(error).__name__}") from None

    def _refusal(self, answer: Any, what: str, token: bool) -> Exception:
        status, code = answer.status_code, answer.headers.get("X-Error-Code", "")
        if status == _BUSY or status >= 500:
            return _NotYetError(f"the Hub answers {status}", _seconds(answer.headers.get("Retry-After")))
        if status == 401:
            how = "HF_TOKEN is not valid here" if token else "there is no HF_TOKEN in the environment"
            return PedigreeError(
                f"{what}: the Hub refuses without a valid token (401), and {how}. If the name is right and the dataset "
                "is private or gated, set HF_TOKEN to a token that may read it"
            )
        if status == 403:
            return PedigreeError(
                f"{what}: the Hub refuses (403). Accept the dataset's conditions at {_endpoint()}/datasets/"
                f"{self._repo}, and set HF_TOKEN to a token that may read it"
            )
        if status == 404:
            missing = {
                "RevisionNotFound": f"the dataset has no revision {self._revision}",
                "EntryNotFound": "the dataset has no such file at this revision",
            }.get(code, "there is no such dataset, or it is private (then set HF_TOKEN)")
            return PedigreeError(f"{what}: {missing} (404); mend raw.sources")
        return PedigreeError(f"{what}: the Hub answers {status} {code}".rstrip() + "; look at it in a browser")

    def _named(self, path: str = "") -> str:
        return f"source {self._source!r}: {self._repo}@{self._revision[:12]}{f'/{path}' if path else ''}"


class _Patience:
    """Waits between tries, longer and longer; gives up after ``TRIES`` without progress."""

    def __init__(self, what: str) -> None:
        self._what, self._tries = what, 0

    def wait(self, reason: _NotYetError, progress: bool) -> None:
        """Sleep before the next try; raises ``PedigreeError`` when there is none."""
        self._tries = 1 if progress else self._tries + 1
        seconds = reason.seconds if reason.seconds is not None else min(2.0 ** (self._tries - 1), LONGEST_WAIT)
        if seconds > LONGEST_WAIT:
            raise PedigreeError(
                f"{self._what}: {reason}, and asks to wait for {seconds:.0f} s; run again then: what is there is kept"
            )
        if self._tries >= TRIES:
            raise PedigreeError(
                f"{self._what}: {reason} ({self._tries} tries); run again when it works: what is there is kept. "
                "Without a network, give a 'local_folder' with the files"
            )
        sleep(seconds)


sleep = time.sleep


def _library() -> tuple[Any, Any, Any]:
    try:
        import httpx2
        from huggingface_hub.errors import OfflineModeIsEnabled
        from huggingface_hub.utils import get_session
    except ImportError as error:
        raise missing("reading from the Hugging Face Hub", f"huggingface_hub ({error})", "hub") from None
    return httpx2, get_session, OfflineModeIsEnabled


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _hub_file(entry: dict[str, Any]) -> HubFile:
    large = entry.get("lfs")
    digest = f"sha256:{large['oid']}" if large else f"git:{entry['oid']}"
    return HubFile(str(entry["path"]), int(entry["size"]), digest)


def _digest_like(digest: str, path: Path) -> str:
    """The digest of ``path`` of the same sort as ``digest``."""
    if digest.startswith("sha256:"):
        return f"sha256:{source_sha256(path)}"
    blob = sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)  # as git names it
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            blob.update(chunk)
    return f"git:{blob.hexdigest()}"


def _seconds(header: str | None) -> float | None:
    """``Retry-After`` in seconds; a date or nonsense counts as not said."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
