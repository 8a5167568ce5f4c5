"""The manifest: what an artifact is, what it was made from, and what it must contain."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from xxhash import xxh3_128_hexdigest

from llm_core.errors import PedigreeError
from llm_core.experiment.base import told
from llm_core.runtime_only import runtime_only

T = TypeVar("T", bound=BaseModel)

MANIFEST = "manifest.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Record):
    """One file of an artifact: size in bytes and xxh3-128 of its content."""

    path: str
    size: int
    xxh3: str
    volatile: bool = False


class InputRecord(_Record):
    """An input: the stage that built it, and its artifact."""

    role: str
    stage: str
    identity: str
    content: str


class CheckRecord(_Record):
    """A check's verdict when the artifact was built."""

    name: str
    passed: bool
    blocking: bool
    message: str
    value: float | None = None
    bound: float | None = None


class Manifest(_Record):
    """Written last into an artifact's folder. A folder without a manifest is not an artifact.

    ``code`` and ``source_digests``: name → digest, so that a plan can name the function or file that changed.
    ``content``: digest over the files that are not volatile. It enters the identities of later stages.
    ``stats``: the results that the build returned. ``seconds``: wall time of the build.
    """

    format: int = 1
    kind: str
    stage: str
    experiment: str
    identity: str
    content: str
    code_digest: str
    code: dict[str, str]
    config: dict[str, Any]
    source_digests: dict[str, str]
    inputs: list[InputRecord]
    files: list[FileRecord]
    checks: list[CheckRecord]
    stats: dict[str, Any]
    started: str
    seconds: float
    versions: dict[str, str]
    git_commit: str | None
    git_dirty: bool | None
    host: str
    device: str
    seal: str = ""
    """Digest of the other fields: it detects a damaged manifest."""

    def sealed(self) -> "Manifest":
        """The manifest with its seal."""
        bare = self.model_copy(update={"seal": ""})
        return bare.model_copy(update={"seal": xxh3_128_hexdigest(bare.model_dump_json().encode())})


@runtime_only("what was committed, as its manifest says")
class Artifact:
    """A committed artifact: its folder and its manifest."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest

    @property
    def stats(self) -> dict[str, Any]:
        """The results of the stage, as plain JSON data."""
        return self.manifest.stats

    def results(self, kind: type[T]) -> T:
        """The results of the stage, as an object of their type."""
        return kind.model_validate(self.manifest.stats)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest in ``folder``; None when there is none; ``PedigreeError`` when it can't be read."""
    path = folder / MANIFEST
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PedigreeError(f"{path}: can't be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise PedigreeError(f"{path}: not a whole manifest: {told(error)}") from None
    if manifest.sealed().seal != manifest.seal:
        raise PedigreeError(f"{path} is damaged: its content is not what was written")
    return manifest
