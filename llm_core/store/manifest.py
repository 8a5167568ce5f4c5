"""The manifest: what an artifact is, what it was made from, and what it must contain."""

from pathlib import Path
from typing import Any, Literal, TypeVar

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


class Overrule(_Record):
    """The decision that the artifact ``identity`` of the gate ``stage`` counts as open.

    ``checks``: the failed checks that it overrules; no others. ``who``, ``when``, ``why``: its signature.
    """

    kind: str
    identity: str
    stage: str
    checks: list[CheckRecord]
    who: str
    when: str
    why: str


class GateRecord(_Record):
    """A gate of a stage, as it was when an attempt to build the stage began.

    ``identity``, ``content``, ``made`` (when), ``results``: of the gate's artifact. ``checks``: its blocking checks,
    with the bounds of that time. ``launched``: when the attempt began. ``passed``: why it could begin. The gate was
    open; or it was overruled; or it had closed since the first attempt, and the user agreed to continue.
    """

    stage: str
    identity: str
    content: str
    made: str
    results: dict[str, Any]
    checks: list[CheckRecord]
    launched: str
    passed: Literal["open", "overruled", "agreed"]
    overrule: Overrule | None = None

    @property
    def failed(self) -> list[str]:
        """The names of the failed checks."""
        return [check.name for check in self.checks if not check.passed]

    def __str__(self) -> str:
        """``launched on … with the gate launch_gate 0123abcd of …: open``."""
        begun = f"launched on {self.launched} with the gate {self.stage} {self.identity[:12]} of {self.made}"
        if self.passed == "open":
            return f"{begun}: open"
        if self.overrule is None:
            return f"{begun}: closed ({', '.join(self.failed)}), continued after a yes"
        signed = f"overruled by {self.overrule.who} on {self.overrule.when}: {self.overrule.why}"
        return f"{begun}: closed ({', '.join(self.failed)}), {signed}"


class Manifest(_Record):
    """Written last into an artifact's folder. A folder without a manifest is not an artifact.

    ``code`` and ``source_digests``: name → digest, so that a plan can name the function or file that changed.
    ``content``: digest over the files that are not volatile. It enters the identities of later stages.
    ``stats``: the results that the build returned. ``seconds``: wall time of the build. ``gates``: with which the stage
    was launched, and again for each later attempt that met another state of a gate.
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
    gates: list[GateRecord] = []
    seal: str = ""
    """Digest of the other fields: it detects a damaged manifest."""

    def sealed(self) -> "Manifest":
        """The manifest with its seal."""
        bare = self.model_copy(update={"seal": ""})
        return bare.model_copy(update={"seal": xxh3_128_hexdigest(bare.json_text().encode())})

    def json_text(self) -> str:
        """The manifest as JSON. Without gates it has no such field, like the manifests from before there were any."""
        return self.model_dump_json(exclude=None if self.gates else {"gates"})


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
