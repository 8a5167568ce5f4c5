"""Checks that several stages of documents share."""

from llm_core.data.results import FunnelResults, PretrainingDocuments, UniqueDocuments
from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.stage import Verdict


def not_empty(results: FunnelResults, bounds: ChecksSpec) -> Verdict:
    """At least one document is left."""
    del bounds
    documents = results.documents
    return Verdict(documents > 0, f"{documents} documents are left", value=documents, bound=1)


def doc_ids_differ(results: UniqueDocuments | PretrainingDocuments, bounds: ChecksSpec) -> Verdict:
    """No two documents have the same doc_id."""
    del bounds
    repeated = results.repeated_doc_ids
    return Verdict(repeated == 0, f"{repeated} documents repeat the doc_id of another", value=repeated, bound=0)
