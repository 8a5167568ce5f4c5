"""The index of documents that ``pedigree sample``, ``chat`` and ``serve`` search."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from llm_core.errors import PedigreeError
from llm_core.experiment.retrieval import RetrievalSpec
from llm_core.graph.lineage import ancestry, by_name
from llm_core.graph.plan import PlanItem
from llm_core.store.manifest import Artifact
from llm_core.store.store import Store
from pipelines.exchange import found
from pipelines.session import Session

if TYPE_CHECKING:
    from llm_core.serve.documents import Documents

INDEX = "retrieval_index"


def open_documents(
    session: Session,
    items: Mapping[str, PlanItem],
    model: Artifact,
    index: str | None,
    needed: bool,
    tell: Callable[[str], None],
) -> "Documents | None":
    """The index ``index`` (a stage of the experiment or an identity), or else the experiment's; None if it has none.

    ``items``: of a plan with the experiment's index. ``tell`` is told why an index is not there, and that the model was
    not trained on its documents. Raises ``PedigreeError`` if there is none and it is ``needed``, or named.
    """
    name = session.experiment.name
    if index is None and session.experiment.retrieval is None:
        if needed:
            raise PedigreeError(
                f"{name} has no documents to find: add the section `retrieval: {{}}` to it and run it, or name an "
                "index of another experiment with --index"
            )
        return None
    try:
        artifact = found(items[INDEX], name) if index is None else by_name(session.store, name, index)
        if artifact.manifest.kind != INDEX:
            raise PedigreeError(f"--index {index}: is of the stage {artifact.manifest.stage}, and no {INDEX}")
        return _opened(session, artifact, model, tell)
    except PedigreeError as error:
        if needed or index is not None:
            raise
        tell(f"note: answers have no documents: {error}")
        return None


def _opened(session: Session, index: Artifact, model: Artifact, tell: Callable[[str], None]) -> "Documents":
    from llm_core.retrieval.index import Searcher
    from llm_core.serve.documents import MOST, Documents

    trained_on = _trained_on(session.store, model, index)
    searcher, about = Searcher(index.path), index.manifest
    if not trained_on:
        tell(
            f"note: {model.manifest.stage} was not trained on the documents of this index "
            f"({about.experiment}/{about.stage} {about.identity[:12]}), as far as its lineage is in the store"
        )
    usual = (session.experiment.retrieval or RetrievalSpec()).passages
    return Documents(searcher, about.identity, min(usual, MOST), trained_on)


def _trained_on(store: Store, model: Artifact, index: Artifact) -> bool:
    """Whether what was indexed is in the lineage of ``model``. The tokenizer plays no part: an index is of words."""
    (documents,) = index.manifest.inputs
    try:
        waiting = [ancestry(store, model)]
    except PedigreeError:  # a part of the lineage was removed
        return False
    while waiting:
        ancestor = waiting.pop()
        if ancestor.artifact.manifest.content == documents.content:
            return True
        waiting += ancestor.inputs
    return False
