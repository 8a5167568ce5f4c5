"""What other programs answered about an exported model. No torch here: plans import it for the checks of stages."""

from llm_core.graph.results import Results


class Parity(Results):
    """What a client was asked, and what it answered."""

    client: str
    """The program, with its version where it is installed."""
    not_checked: str | None = None
    """Why it was not asked; None if it was."""
    problem: str | None = None
    """Why it gave no answer, though it is installed."""
    largest_difference: float | None = None
    """Of a logit."""
    spread: float | None = None
    """The standard deviation of our logits."""
    same_likeliest: float | None = None
    """The share of positions with the same likeliest token."""
    different_ids: list[str] | None = None
    """The texts with other token ids; None if ids were not compared."""

    def problems(self, bound: float) -> list[str]:
        """What is wrong, in words; empty if nothing is, or if the client was not asked. ``bound``: the largest
        difference as a share of the logits' standard deviation."""
        if self.problem is not None:
            return [self.problem]
        found = []
        if self.largest_difference is not None and self.spread is not None:
            share = self.largest_difference / max(self.spread, 1e-9)
            if not share <= bound:
                found.append(f"logits differ by up to {share:.1e} of their standard deviation (bound: {bound:g})")
        if self.different_ids:
            found.append(f"{len(self.different_ids)} texts have other token ids: {self.different_ids[0]!r}")
        return found

    def told(self, bound: float) -> str:
        """One line for people."""
        if self.not_checked is not None:
            return f"not checked: {self.not_checked}"
        if problems := self.problems(bound):
            return f"{self.client}: {'; '.join(problems)}"
        ids = "" if self.different_ids is None else "; token ids are equal"
        return (
            f"{self.client}: logits differ by at most {self.largest_difference:.1e} (deviation {self.spread:.2g}){ids}"
        )
