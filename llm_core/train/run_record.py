"""``run.json``, the record of a finished run: its specification, its code, and the digests of its files.

The trainer writes it last. The digests detect damage and edits. They are not signatures: anyone can write a
``run.json`` for other files.
"""

import json
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import told
from llm_core.graph.provenance import library_versions
from llm_core.runtime_only import runtime_only
from llm_core.train.bundle_manifest import FileDigest, changed_input, check_sources, file_digests, sources_digest
from llm_core.train.checkpoint_manifest import CHECKPOINT_MANIFEST
from llm_core.train.checksummed_json import DamagedFileError, read_checksummed, write_checksummed
from llm_core.train.distribution import World
from llm_core.train.spec import CHECKPOINTS, FINAL, SUMMARY, TrainerSpec
from llm_core.train.work_folder import WORK, recorded_outputs

RECORD = "run.json"
FORMAT = 1

RESULTS = (f"{FINAL}/*", SUMMARY, WORK)
"""The files of a run for its artifact, except checkpoints and the outputs of callbacks."""

_STEP = re.compile(r"step_\d{8,}")


@dataclass(frozen=True)
class RunRecord:
    """A finished run. ``files``: path in the work folder → digest. Of a checkpoint, only its manifest is listed.

    ``sources``: the digest of the trainer's code; None for a run without a bundle.
    """

    spec: TrainerSpec
    sources: str | None
    files: dict[str, FileDigest]
    host: str
    versions: dict[str, str]


@runtime_only("compares code and inputs, and makes nothing")
def check_bundle(spec: TrainerSpec, world: World) -> None:
    """``PedigreeError`` on all ranks unless code and inputs are those of the bundle. Without a bundle: nothing."""
    if spec.bundle is None:
        return
    try:
        check_sources(spec.bundle)
        wrong = changed_input(spec.bundle, input_folders(spec), world.rank, world.size)
    except (PedigreeError, OSError) as error:
        wrong = str(error)
    else:
        wrong = wrong and f"{wrong}: copy it again from the machine where the bundle was written (see fetch.txt)"
    if wrong := next((text for text in world.gathered(wrong) if text), None):
        raise PedigreeError(wrong)


def input_folders(spec: TrainerSpec) -> dict[str, Path | None]:
    """Role → the folder of that input."""
    return {"shards": spec.shards, "tokenizer": spec.tokenizer and spec.tokenizer.parent, "start": spec.start}


def result_files(work: Path) -> dict[str, Path]:
    """Path in the work folder → file, for all files that belong to the run's results."""
    found = {path for pattern in RESULTS for path in work.glob(pattern) if path.is_file() and not path.is_symlink()}
    found.update(recorded_outputs(work))
    found.update(
        path for path in work.glob(f"{CHECKPOINTS}/*/{CHECKPOINT_MANIFEST}") if _STEP.fullmatch(path.parent.name)
    )
    return {path.relative_to(work).as_posix(): path for path in sorted(found)}


@runtime_only("records a finished run")
def write_record(spec: TrainerSpec) -> None:
    """Write ``run.json`` of a run whose other files are finished.

    Raises ``PedigreeError`` when the code is no longer that of the bundle, or when the file can't be written.
    """
    path = spec.work / RECORD
    if spec.bundle is not None:
        check_sources(spec.bundle)
    try:
        content = {
            "format": FORMAT,
            "spec": spec.model_dump(mode="json"),
            "sources": spec.bundle and sources_digest(spec.bundle.sources),
            "files": {name: file.model_dump() for name, file in file_digests(result_files(spec.work)).items()},
            "host": platform.node(),
            "versions": library_versions(),
        }
        write_checksummed(path, content)
    except OSError as error:
        raise PedigreeError(f"{path}: can't be written: {error.strerror}. Make room there, and run again") from None


def read_record(work: Path) -> RunRecord | None:
    """The record in ``work``; None when there is none.

    Raises ``PedigreeError`` when it is damaged, edited, or of another version.
    """
    path = work / RECORD
    if not path.exists():
        return None
    try:
        content = read_checksummed(path)
    except DamagedFileError as error:
        raise PedigreeError(
            f"{path}: damaged or edited ({error}): copy it again from the machine of the run, or start the "
            "finished run again there: it writes the record again"
        ) from None
    if content.get("format") != FORMAT:
        raise PedigreeError(f"{path}: of format {content.get('format')}, and this version reads {FORMAT}")
    try:
        spec = TrainerSpec.model_validate_json(json.dumps(content["spec"]))
        files = {name: FileDigest(**file) for name, file in content["files"].items()}
        return RunRecord(spec, content["sources"], files, content["host"], content["versions"])
    except ValidationError as error:
        raise PedigreeError(f"{path}: of another version: {told(error, 'spec')}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise PedigreeError(f"{path}: of another version, or edited: {error!r}") from None
