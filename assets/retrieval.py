"""The index of passages, and what passages bring to the trained model."""

from assets.data import reading
from assets.training import TRAIN_PACKAGES
from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage

PACKAGES = {"bm25s": "retrieve"}


def stages(experiment: Experiment) -> list[Stage]:
    """``retrieval_index`` and ``retrieval_eval``, and their documents where they are not those of the experiment; empty
    without ``retrieval``."""
    retrieval = experiment.retrieval
    if retrieval is None:
        return []
    own, documents = retrieval.documents is not None, []
    if retrieval.documents is not None:
        told = "The documents that answers may cite, as they are in their sources."
        documents = [reading(experiment, "retrieval_documents", "retrieval", told, retrieval.documents)]
    return [
        *documents,
        Stage(
            name="retrieval_index",
            group="retrieval",
            description="Passages of documents, and an index of their words (BM25).",
            build="llm_core.retrieval.index:build",
            results="llm_core.retrieval.results:RetrievalIndex",
            inputs={"documents": "retrieval_documents" if own else "pretraining_documents"},
            config={
                "folders": ("parts",) if own else ("train", "heldout"),
                "longest": retrieval.passage_characters,
                "most": retrieval.most_passages,
                "k1": retrieval.k1,
                "b": retrieval.b,
            },
            packages=PACKAGES,
        ),
        Stage(
            name="retrieval_eval",
            group="retrieval",
            description="Questions from held-out text: without passages, with the right one, and with those found.",
            build="llm_core.retrieval.evaluation:build",
            results="llm_core.retrieval.results:RetrievalEval",
            non_blocking=(":enough_questions", ":passages_help"),
            code=("llm_core.evals.run:main",),
            inputs={
                "index": "retrieval_index",
                "model": experiment.base_model(),
                "tokenizer": "tokenizer",
                "shards": "token_shards",
                **({} if own else {"documents": "pretraining_documents"}),
            },
            config={
                "retrieval": retrieval,
                "model": experiment.model,
                "sequence_length": experiment.base_training().sequence_length,
                "precision": experiment.base_training().precision,
                "batch_size": experiment.evaluation.batch_size,
                "seed": experiment.seed,
            },
            packages={**PACKAGES, **TRAIN_PACKAGES, "lm_eval": "eval"},
        ),
    ]
