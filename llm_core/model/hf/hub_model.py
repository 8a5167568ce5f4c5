"""Models on the Hugging Face Hub: ``huggingface_hub`` fetches the files of one commit into ``PEDIGREE_HOME/hub``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_core.errors import PedigreeError
from llm_core.store.files import write_atomically
from llm_core.store.home import pedigree_home

PATTERNS = ["*.json", "*.safetensors", "*.jinja"]
"""What is fetched: neither code nor pickles."""


def fetched(repo: str, revision: str) -> Path | None:
    """The folder with all files of the commit; None until ``fetch`` has ended."""
    try:
        return Path(_mark(repo, revision).read_text(encoding="utf-8"))
    except OSError:
        return None


def fetch(repo: str, revision: str) -> Path:
    """The folder with all files of the commit, which are fetched once. Raises ``PedigreeError``."""
    known = fetched(repo, revision)
    if known is not None:
        return known
    with _hub(repo, revision) as hub:
        folder = hub.snapshot_download(
            repo, revision=revision, cache_dir=_cache(), allow_patterns=PATTERNS, ignore_patterns=["*/*"]
        )
    write_atomically(_mark(repo, revision), str(folder).encode())
    return Path(folder)


def fetch_description(repo: str, revision: str) -> Path:
    """A folder with at least ``config.json`` and the tokenizer's files. Small, so that reading an experiment may fetch
    it. Raises ``PedigreeError``."""
    known = fetched(repo, revision)
    if known is not None:
        return known
    with _hub(repo, revision) as hub:
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

        config = hub.hf_hub_download(repo, "config.json", revision=revision, cache_dir=_cache())
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            try:
                hub.hf_hub_download(repo, name, revision=revision, cache_dir=_cache())
            except LocalEntryNotFoundError:  # no network
                raise
            except EntryNotFoundError:  # not every model has all of them
                continue
    return Path(config).parent


def _cache() -> Path:
    return pedigree_home() / "hub" / "models"


def _mark(repo: str, revision: str) -> Path:
    return _cache() / "whole" / repo.replace("/", "--") / revision


@contextmanager
def _hub(repo: str, revision: str) -> Iterator[Any]:
    """The library. Its errors become ``PedigreeError``."""
    import httpx2
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield huggingface_hub
    except (HfHubHTTPError, HFValidationError, httpx2.HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PedigreeError(
            f"start.hugging_face: {repo}@{revision[:12]}: can't be fetched: {reason}. Look at name and revision; for a "
            "private or gated model, log in with `hf auth login`; without a network, give start.folder"
        ) from None
