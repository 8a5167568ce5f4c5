"""Prompts with passages of documents, which the answer cites."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from llm_core.retrieval.index import Searcher
from llm_core.retrieval.passages import Passage
from llm_core.retrieval.prompts import with_passages

MOST = 20
"""Passages per request."""
ANSWER_SHARE = 4
"""Where a request does not say how long its answer may be, passages leave this part of the context to it: a quarter."""


@dataclass(frozen=True)
class Documents:
    """An index. ``identity``: of its artifact. ``usual``: passages per request, where none is asked for.

    ``trained_on``: whether the indexed documents are in the lineage of the model.
    """

    searcher: Searcher
    identity: str
    usual: int
    trained_on: bool

    def cited(self, question: str, count: int, encode: Callable[[str], list[int]], most: int) -> "Cited":
        """The prompt with the passages that a search for ``question`` finds: at most ``count``, the best last.

        ``encode``: the ids of the whole prompt with a text in the place of the question. ``most``: its tokens. Passages
        are whole; what does not fit is left out, the least alike first. So the form is that of ``retrieval_eval``.
        """
        found = [passage for passage, _ in self.searcher.search(question, count)]
        prompt, read = with_passages(found, question, lambda text: len(encode(text)) <= most) or (question, [])
        return Cited(encode(prompt), read, len(found) - len(read))


class Cited(NamedTuple):
    """A prompt. ``read``: its passages, the best first; None if none were asked for. ``left_out``: passages that were
    found and do not fit into the context."""

    ids: list[int]
    read: list[Passage] | None = None
    left_out: int = 0

    def fields(self) -> dict[str, Any]:
        """What an answer says about its documents. Not in OpenAI's API."""
        if self.read is None:
            return {}
        return {"citations": [passage._asdict() for passage in self.read], "citations_left_out": self.left_out}
