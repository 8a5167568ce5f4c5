"""Models to and from Hugging Face folders, for the command line."""

import shutil
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.experiment.chat import TEMPLATE_FILE
from llm_core.experiment.experiment import IMPORTED
from llm_core.graph.plan import PlanItem
from llm_core.store.manifest import Artifact
from pipelines.session import Session

TOKENIZER = "tokenizer"


def export(session: Session, stage: str, folder: Path, dtype: str) -> str:
    """Write the model of the stage ``stage``, and its tokenizer, into ``folder``. Returns a line to print."""
    from llm_core.model.files import load_model
    from llm_core.model.hf.exporting import DTYPES, export_folder
    from llm_core.model.hf.own_code.family import OWN_CODE

    if dtype not in DTYPES:
        raise PedigreeError(f"--dtype {dtype}: known: {', '.join(DTYPES)}")
    _check_new(folder)
    check_model(session, stage)
    made = {item.stage: item for item in session.planner().plan({stage, TOKENIZER})}
    trained, tokenizer = (found(made[name], session.experiment.name) for name in (stage, TOKENIZER))
    model, _ = load_model(trained.path)
    family = export_folder(
        model,
        folder,
        sequence_length=sequence_length(session, stage, trained),
        tokenizer=tokenizer.path / "tokenizer.json",
        dtype=dtype,
    )
    if (trained.path / TEMPLATE_FILE).is_file():
        shutil.copyfile(trained.path / TEMPLATE_FILE, folder / TEMPLATE_FILE)
    advice = "; load it with trust_remote_code=True" if family.name == OWN_CODE.name else ""
    return f"{folder}: {family.architecture}, {dtype}{advice}"


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
