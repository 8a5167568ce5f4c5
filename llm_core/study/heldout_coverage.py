"""The stage ``heldout_coverage`` of an idea with another tokenizer: whether both sides are judged on the same text.

Validation windows are spread over the tokens of the held-out split. With another tokenizer, they lie on other text,
unless they cover all of it.
"""

from llm_core.experiment.training import TrainingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.study.results import HeldoutCoverage
from llm_core.tokens.results import TokenShards


def build(job: Job) -> HeldoutCoverage:
    """Count the held-out tokens of both sides."""
    return HeldoutCoverage(tokens=max(made.results(TokenShards).heldout_tokens for made in job.inputs.values()))


def all_validated(results: HeldoutCoverage, bounds: TrainingSpec) -> Verdict:
    """A validation reads all held-out text of both sides."""
    needed, read = results.tokens, bounds.validation_tokens
    return Verdict(
        needed // bounds.sequence_length <= read // bounds.sequence_length,
        f"a validation reads {read:,} of at most {needed:,} held-out tokens"
        + (
            ""
            if needed // bounds.sequence_length <= read // bounds.sequence_length
            else ", and with another tokenizer these are of other text: set training.validation_tokens to at least "
            f"{needed}, or a smaller split.heldout_share"
        ),
        value=read,
        bound=needed,
    )
