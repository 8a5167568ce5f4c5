"""The files of the model in ``start``: where they are, what they say of the model, and their digests."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from llm_core.errors import PedigreeError, UnknownYetError
from llm_core.experiment.chat import BUILT_IN, CHAT_FILE, TEMPLATE_FILE
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.start import StartSpec
from llm_core.extras import is_installed, missing
from llm_core.graph.lineage import by_name
from llm_core.model.hf.hub_model import fetch, fetch_description, fetched
from llm_core.store.digests import source_digest
from llm_core.store.home import pedigree_home
from llm_core.store.manifest import Artifact
from llm_core.store.store import Store

MODELS = ("training_run", "imported_model")
"""Kinds of artifacts that are models."""

_STAGE = re.compile(r"([a-z][a-z0-9_]*)/((?:[\w.-]*\w[\w.-]*/)*[\w.-]*\w[\w.-]*)")
_PREFIX = re.compile(r"[0-9a-f]{4,32}")

TOKENIZER, CONFIG, INFO = "tokenizer.json", "config.json", "model.json"


@dataclass(frozen=True)
class StartFiles:
    """A model's files by their names. ``place``: what messages call it. ``origin``: where it is from, for people.

    ``native``: whether it is a model folder of Pedigree, and not one of ``transformers``. ``context``: the tokens of
    its training sequences, where an artifact says it.
    """

    place: str
    folder: Path
    native: bool
    files: Mapping[str, Path]
    origin: Mapping[str, str]
    context: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    def template(self) -> str | None:
        """The chat template with which it was tuned here. One of other programs is none: it need not be ours."""
        path = self.files.get(TEMPLATE_FILE)
        text = path.read_text(encoding="utf-8") if path else None
        return text if self.native or text in BUILT_IN.values() else None


@dataclass(frozen=True)
class StartModel:
    """What the files say of the model. ``longest``: tokens that it was made for, where they say it."""

    spec: ModelSpec
    vocab_size: int
    longest: int | None


def find(start: StartSpec, *, ask: bool = False, whole: bool = True) -> StartFiles:
    """The files of ``start``. Raises ``PedigreeError`` when there is no such model, and ``UnknownYetError`` for one on
    the Hub that was not fetched yet.

    ``ask``: whether it may be fetched; with ``whole=False``, only what describes it.
    """
    if start.artifact is not None:
        return _artifact(start.artifact)
    if start.folder is not None:
        return _folder(Path(start.folder), f"start.folder: {start.folder}", {"folder": start.folder})
    assert start.hugging_face is not None
    assert start.revision is not None
    repo, revision = start.hugging_face, start.revision
    place = f"start.hugging_face: {repo}@{revision[:12]}"
    folder = (fetch if whole else fetch_description)(repo, revision) if ask else fetched(repo, revision)
    if folder is None:
        raise UnknownYetError(f"{place}: is fetched from the Hub when this runs: nothing is asked or fetched before")
    return _folder(folder, place, {"hugging_face": repo, "revision": revision}, whole=whole)


def digests(found: StartFiles) -> dict[str, str]:
    """Name → digest, for every file that counts."""
    known = {name: found.digests[name] for name in found.files if name in found.digests}
    return {**known, **{name: source_digest(path) for name, path in found.files.items() if name not in known}}


def described(found: StartFiles) -> StartModel:
    """The model that the files describe. Raises ``PedigreeError``."""
    if not is_installed("torch"):
        raise missing("start", "torch", "train")
    if found.native:
        from llm_core.model.files import read_info

        spec, info = read_info(found.folder)
        return StartModel(spec, info["vocab_size"], found.context)
    from llm_core.model.hf.importing import read_description

    return StartModel(*read_description(found.folder))


def _folder(folder: Path, place: str, origin: Mapping[str, str], *, whole: bool = True) -> StartFiles:
    if not folder.is_dir():
        raise PedigreeError(f"{place}: there is no such folder")
    native = (folder / INFO).is_file()
    if not native and not (folder / CONFIG).is_file():
        raise PedigreeError(f"{place}: has neither {INFO} nor {CONFIG}, so it is no folder of a model")
    if not native and isinstance(family := _read(folder / CONFIG).get("model_type"), str):
        origin = {**origin, "family": family}
    described_by = [folder / (INFO if native else CONFIG)]
    weights = [folder / "model.safetensors"] if native else _weights(folder) if whole else []
    if lost := [path.name for path in weights if not path.is_file()]:
        raise PedigreeError(f"{place}: has no {lost[0]}, which holds weights; copy the whole folder again")
    optional = [folder / name for name in (TOKENIZER, TEMPLATE_FILE, CHAT_FILE)]
    files = [*described_by, *weights, *(path for path in optional if path.is_file())]
    return StartFiles(place, folder, native, {path.name: path for path in files}, origin)


def _weights(folder: Path) -> list[Path]:
    if not is_installed("torch"):
        raise missing("start", "torch", "train")
    from llm_core.model.hf.reading import INDEX, weight_files

    index = folder / INDEX
    files = weight_files(folder)
    return [*files, index] if index.is_file() and len(files) > 1 else files


def _artifact(name: str) -> StartFiles:
    """The model of this store. Raises ``PedigreeError`` for one that is not there, damaged, or failed its checks."""
    place, store = f"start.artifact: {name}", Store(pedigree_home() / "store")
    named = _STAGE.fullmatch(name)
    if named is None and not _PREFIX.fullmatch(name):
        raise PedigreeError(
            f"{place}: give experiment/stage, such as tiny/pretrained_model, or the start of an identity"
        )
    try:
        manifest = by_name(store, *(named.groups() if named else ("", name))).manifest
    except PedigreeError as error:
        raise PedigreeError(f"{place}: {error}") from None
    if manifest.kind not in MODELS:
        raise PedigreeError(f"{place}: is no model, but {manifest.kind}")
    if failed := [check.name for check in manifest.checks if check.blocking and not check.passed]:
        raise PedigreeError(f"{place}: its check {failed[0]} failed, so nothing may start from it")
    artifact = _undamaged(store, manifest.kind, manifest.identity, place)
    sources = [artifact]
    sources += [
        _undamaged(store, "tokenizer", record.identity, f"{place}: its tokenizer")
        for record in manifest.inputs
        if record.role == "tokenizer"
    ]
    names = (INFO, "model.safetensors", TOKENIZER, TEMPLATE_FILE, CHAT_FILE)
    records = {record.path: (one.path, record.xxh3) for one in sources for record in one.manifest.files}
    origin = {"experiment": manifest.experiment, "stage": manifest.stage, "identity": manifest.identity}
    training = manifest.config.get("training")
    return StartFiles(
        place,
        artifact.path,
        True,
        {name: records[name][0] / name for name in names if name in records},
        origin,
        training["sequence_length"] if training else manifest.stats.get("context"),
        {name: records[name][1] for name in names if name in records},
    )


def _undamaged(store: Store, kind: str, identity: str, place: str) -> Artifact:
    artifact, damage = store.find(kind, identity)
    if artifact is None:
        raise PedigreeError(f"{place}: {damage or f'{kind} {identity} is no longer in the store'}; make it again")
    return artifact


def special_tokens(found: StartFiles, known: Mapping[str, int]) -> list[str]:
    """The special tokens ``known`` (token → id) that the model's documents can have: the one that ends a text, and
    those with higher ids."""
    end = _end(found.folder, known) if not found.native else None
    first = known.get(end, -1) if end is not None else min(known.values(), default=-1)
    if first < 0:
        raise PedigreeError(
            f"{found.place}: its tokenizer.json has no special token {end!r} that ends a text; say tokenizer: {{kind: "
            "imported, imported: {file: …}, special_tokens: […]}"
        )
    return sorted((token for token, number in known.items() if number >= first), key=known.__getitem__)


def _end(folder: Path, known: Mapping[str, int]) -> str | None:
    """The token that ends a text, by ``tokenizer_config.json`` or ``config.json``."""
    named = _read(folder / "tokenizer_config.json").get("eos_token")
    if isinstance(named, dict):
        named = named.get("content")
    if isinstance(named, str):
        return named
    number = _read(folder / CONFIG).get("eos_token_id")
    number = number[0] if isinstance(number, list) and number else number
    return next((token for token, own in known.items() if own == number), None)


def _read(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
