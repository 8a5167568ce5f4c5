"""The prompt with passages before a question."""

from collections.abc import Callable, Sequence

from llm_core.retrieval.passages import Passage

SEPARATOR = "\n\n"


def with_passages(
    passages: Sequence[Passage], question: str, fits: Callable[[str], bool]
) -> tuple[str, list[Passage]] | None:
    """The prompt with as many of ``passages`` (the best first) as fit, and those passages; None where not even the
    question fits. Passages are whole. The best stands last, next to the question."""
    for count in range(len(passages), -1, -1):
        read = list(passages[:count])
        prompt = SEPARATOR.join([*(passage.text for passage in reversed(read)), question])
        if fits(prompt):
            return prompt, read
    return None
