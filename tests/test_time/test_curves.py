"""The curves, beside a count over all subsets."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.test_time.curves import any_right, best_of, majority


def over_subsets(count: int, value: Callable[[tuple[int, ...]], float]) -> list[float]:
    """The mean of ``value`` over all subsets of k of ``count`` samples, for every k."""
    each = [list(combinations(range(count), k)) for k in range(1, count + 1)]
    return [sum(map(value, subsets)) / len(subsets) for subsets in each]


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=7))
@settings(max_examples=20)
def test_the_majority_is_that_of_all_subsets(answers: list[str | None]) -> None:
    def won(places: tuple[int, ...]) -> float:
        votes = Counter(answers[place] for place in places if answers[place] is not None)
        first = [answer for answer, count in votes.items() if count == max(votes.values())]
        return ("a" in first) / max(1, len(first))

    assert majority(answers, "a") == pytest.approx(over_subsets(len(answers), won), abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=7))
@settings(max_examples=20)
def test_the_best_and_any_are_those_of_all_subsets(samples: list[tuple[int, bool]]) -> None:
    scores, right = [float(score) for score, _ in samples], [own for _, own in samples]

    def best(places: tuple[int, ...]) -> float:
        first = [right[place] for place in places if scores[place] == max(scores[place] for place in places)]
        return sum(first) / len(first)

    assert best_of(scores, right) == pytest.approx(over_subsets(len(samples), best))
    found = over_subsets(len(samples), lambda places: float(any(right[place] for place in places)))
    assert any_right(sum(right), len(right)) == pytest.approx(found)


def test_many_samples_stay_exact() -> None:
    """64 answers that are all different: the right one wins by chance alone."""
    answers = ["gold", *(f"other {number}" for number in range(63))]
    assert majority(answers, "gold") == pytest.approx([1 / 64] * 64)
    assert majority(["gold"] * 40 + ["other"] * 24, "gold")[-1] == pytest.approx(1.0)
