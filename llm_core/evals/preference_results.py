"""The results of the stages about preferences, and their checks."""

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.graph.results import Results
from llm_core.graph.stage import Verdict


class PreferenceReference(Results):
    """Pairs with their reference likelihoods."""

    pairs: dict[str, int]
    """Split → pairs."""
    prefers_chosen: dict[str, float]
    """Split → the share of pairs of which the chosen answer is the likelier one, before the tuning."""
    not_finite: int
    """Answers whose likelihood is not finite."""


class Score(Results):
    """A mean over pairs with its 95% interval; None with the pairs of a single prompt."""

    value: float
    low: float | None
    high: float | None


class PreferenceMargins(Results):
    """Preferences of the tuned model on held-out pairs. Every share counts a tie as a half."""

    pairs: int
    prompts: int
    margin: Score
    """The reward of the chosen answer minus that of the rejected one. Before the tuning, it is 0."""
    accuracy: Score
    """The share of pairs with a margin above 0."""
    likelier_before: Score
    """The share of pairs of which the chosen answer is the likelier one."""
    likelier_after: Score
    likelier_change: Score
    """The difference of the two, from the same pairs."""
    chosen_change: Score
    """By how many nats the chosen answer became likelier. Below 0, it became less likely, as often with DPO."""
    rejected_change: Score
    longer: Score
    """The accuracy of a judge who always prefers the longer answer (in tokens)."""


def all_finite(results: PreferenceReference, bounds: ChecksSpec) -> Verdict:
    """Every answer has a likelihood."""
    del bounds
    broken = results.not_finite
    return Verdict(broken == 0, f"{broken} answers have no finite likelihood", broken, 0)


def prefers_chosen(results: PreferenceMargins, bounds: ChecksSpec) -> Verdict:
    """More than half of the held-out pairs have a margin above 0, by more than chance."""
    del bounds
    found = results.accuracy
    interval = "" if found.low is None else f" ({found.low:.1%} to {found.high:.1%})"
    return Verdict(
        found.low is not None and found.low > 0.5,
        f"the tuned model prefers the chosen answer in {found.value:.1%}{interval} of {results.pairs} held-out pairs",
        value=found.low,
        bound=0.5,
    )
