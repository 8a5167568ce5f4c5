"""Models to and from Hugging Face folders, for the command line."""

import shutil
from pathlib import Path
from typing import cast

from llm_core.errors import PedigreeError
from llm_core.experiment.chat import TEMPLATE_FILE
from llm_core.experiment.experiment import IMPORTED
from llm_core.experiment.exports import GGUFType
from llm_core.extras import is_installed, missing
from llm_core.graph.lineage import ORIGIN, Ancestor, ancestry
from llm_core.graph.plan import PlanItem
from llm_core.report.model_card import CARD, model_card
from llm_core.report.read import RAW
from llm_core.store.manifest import Artifact
from pipelines.session import Session

TOKENIZER, TOKENIZER_FILE = "tokenizer", "tokenizer.json"
EVALS = "eval_results"


FORMATS = {"hf": ("fp32", "bf16"), "gguf": ("f16", "q8_0", "f32"), "onnx": ("fp32",)}
"""What ``export`` can write → the types of the weights, the default first."""


def export(session: Session, stage: str | None, folder: Path, form: str, dtype: str | None) -> str:
    """Write the model of the stage ``stage``, and its tokenizer, into ``folder``. Returns lines to print.

    Without a ``stage``, it is the model that people use (``Experiment.final_model``).

    ``form``: one of ``FORMATS``. ``dtype``: of the weights.
    """
    if form not in FORMATS:
        raise PedigreeError(f"--format {form}: known: {', '.join(FORMATS)}")
    if dtype is not None and dtype not in FORMATS[form]:
        raise PedigreeError(f"--dtype {dtype}: known: {', '.join(FORMATS[form])}")
    _check_new(folder)
    stage = stage or session.experiment.final_model()
    check_model(session, stage)
    made = {item.stage: item for item in session.planner().plan({stage, TOKENIZER})}
    trained, tokenizer = (found(made[name], session.experiment.name) for name in (stage, TOKENIZER))
    write = {"hf": _hugging_face, "gguf": _gguf, "onnx": _onnx}[form]
    length = sequence_length(session, stage, trained)
    name = f"{session.experiment.name}-{stage}"
    told = write(name, trained.path, tokenizer.path, folder, length, dtype or FORMATS[form][0])
    _write_card(session, name, trained, folder, form.replace("hf", "transformers"))
    return told


def _hugging_face(name: str, trained: Path, tokenizer: Path, folder: Path, length: int, dtype: str) -> str:
    from llm_core.chat.model_chat import stop_ids
    from llm_core.model.files import load_model
    from llm_core.model.hf.exporting import export_folder
    from llm_core.model.hf.own_code.family import OWN_CODE

    del name
    model, _ = load_model(trained)
    file = tokenizer / TOKENIZER_FILE
    stop = stop_ids(trained, file)
    family = export_folder(model, folder, sequence_length=length, tokenizer=file, stop=stop, dtype=dtype)
    _copy_template(trained, folder)
    advice = "; load it with trust_remote_code=True" if family.name == OWN_CODE.name else ""
    return f"{folder}: {family.architecture}, {dtype}{advice}"


def _gguf(name: str, trained: Path, tokenizer: Path, folder: Path, length: int, dtype: str) -> str:
    if not is_installed("gguf"):
        raise missing("--format gguf", "gguf", "gguf")
    from llm_core.chat.model_chat import stop_ids
    from llm_core.model.files import load_model
    from llm_core.model.gguf.checked import write_checked
    from llm_core.model.gguf.vocabulary import not_brought

    model, _ = load_model(trained)
    template = trained / TEMPLATE_FILE
    architecture, file = write_checked(
        model,
        folder / f"{name}-{dtype}.gguf",
        sequence_length=length,
        dtype=cast(GGUFType, dtype),
        tokenizer=tokenizer / TOKENIZER_FILE,
        template=template.read_text(encoding="utf-8") if template.is_file() else None,
        stop=stop_ids(trained, tokenizer / TOKENIZER_FILE),
        name=name,
    )
    if file.refused:
        raise PedigreeError(f"{folder}: {file.told()}")
    note = not_brought(tokenizer / TOKENIZER_FILE)
    return "\n".join([f"{folder}: {architecture}, {file.told()}", *([note] if note else [])])


def _onnx(name: str, trained: Path, tokenizer: Path, folder: Path, length: int, dtype: str) -> str:
    if not is_installed("onnxscript"):
        raise missing("--format onnx", "onnxscript", "onnx")
    from llm_core.model.files import load_model
    from llm_core.model.onnx.checked import write_checked

    del name, dtype
    model, _ = load_model(trained)
    made = write_checked(model, folder, sequence_length=length, tokenizer=tokenizer / TOKENIZER_FILE)
    if made.refused is not None:
        raise PedigreeError(f"{folder}: {made.refused}")
    _copy_template(trained, folder)
    return f"{folder}: {made.told()}"


def _copy_template(trained: Path, folder: Path) -> None:
    if (trained / TEMPLATE_FILE).is_file():
        shutil.copyfile(trained / TEMPLATE_FILE, folder / TEMPLATE_FILE)


def _write_card(session: Session, name: str, trained: Artifact, folder: Path, form: str) -> None:
    """Write the model card, and after it what the tokenizer says about texts, if it does."""
    path = folder / CARD
    about_texts = f"\n{path.read_text(encoding='utf-8')}" if path.is_file() else ""
    lineage = _lineage(ancestry(session.store, trained))
    imported = lineage.get(IMPORTED)
    origins = [] if imported is None else ancestry(session.store, imported).inputs
    began = {stage: one for origin in origins for stage, one in _lineage(origin).items()}
    card = model_card(
        name, trained, lineage, _scores(session, trained), session.experiment.owners, form, began, _licences(session)
    )
    path.write_text(card + about_texts.replace("\n# ", "\n## "), encoding="utf-8")


def _licences(session: Session) -> dict[tuple[str, str], str | None]:
    """(stage, source) → its licence in the experiment, which may have changed since the data were read; None: none."""
    experiment = session.experiment
    sections = {RAW: experiment.raw, **{f"{name}_conversations": one for name, one in experiment.tunings().items()}}
    return {(stage, source.name): source.license for stage, section in sections.items() for source in section.sources}


def _lineage(ancestor: Ancestor) -> dict[str, Artifact]:
    """Stage → the artifact from which that of ``ancestor`` was made, and itself. Without the model of another
    experiment from which it started: that has stages of the same names."""
    found: dict[str, Artifact] = {}
    waiting = [ancestor]
    while waiting:
        one = waiting.pop()
        found.setdefault(one.artifact.manifest.stage, one.artifact)
        waiting += [above for above in one.inputs if above.role != ORIGIN]
    return found


def _scores(session: Session, trained: Artifact) -> Artifact | None:
    """The newest scores of the model in the store; None if there are none."""
    identity = trained.manifest.identity
    judged = session.store.artifacts(EVALS)
    return next((one for one in judged if identity in {record.identity for record in one.manifest.inputs}), None)


def import_model(folder: Path, out: Path) -> str:
    """Convert a Hugging Face folder into a model folder of Pedigree. Returns a line to print."""
    from llm_core.model.build import build_model
    from llm_core.model.files import save_model
    from llm_core.model.hf.importing import import_folder

    _check_new(out)
    found = import_folder(folder)
    model = build_model(found.spec, found.vocab_size, device="meta")
    model.load_state_dict(found.weights, assign=True)
    try:
        save_model(model, found.spec, found.vocab_size, out)
    except OSError as error:
        raise PedigreeError(f"{out}: can't be written: {error.strerror}") from None
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{out}: {found.spec.n_layers} layers, {count:,} parameters, vocabulary {found.vocab_size:,}"


def check_model(session: Session, stage: str) -> None:
    """Raise ``PedigreeError`` for a stage that makes no model."""
    graph = session.graph
    if stage not in graph or not (graph[stage].trains or stage == IMPORTED):
        models = ", ".join(item.name for item in graph if item.trains or item.name == IMPORTED)
        raise PedigreeError(f"{session.experiment.name} has no model {stage!r}; known: {models}")


def sequence_length(session: Session, stage: str, model: Artifact) -> int:
    """Tokens of the longest text that the model of ``stage`` was made for. Where an imported one does not say it, those
    of the experiment's sequences."""
    trained = session.graph[stage].config.get("training") or session.experiment.base_training()
    longest: int | None = model.stats.get("longest")
    return longest or int(trained.sequence_length)


def found(item: PlanItem, experiment: str) -> Artifact:
    """The artifact of a stage of ``experiment``. Raises ``PedigreeError`` if there is none."""
    if item.artifact is None:
        raise PedigreeError(
            f"{experiment} has no {item.stage} for its current settings: {'; '.join(item.reasons)}; run it first"
        )
    return item.artifact


def _check_new(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PedigreeError(f"{folder}: exists and is not empty; give a new folder")
