from dataclasses import dataclass

import numpy as np
import pytest

from llm_core.errors import PedigreeError
from llm_core.intervals import wilson
from llm_core.science.suite_law import BEND_SD, STEEP_MEDIAN, STEEP_SD, accuracy, gold_bits

LOSS_SD = 0.012
TRUNK = np.repeat([0, 1, 2, 3, 4], 3)
LOSS = 1.5 * 0.92 ** np.repeat([0, 0, 1, 2, 3], 3) * 0.95 ** np.tile([0, 1, 2], 5)
"""Four sizes of three budgets each, the smallest with two seeds."""


@dataclass(frozen=True)
class Suite:
    """A suite whose bits are a bent power of the loss, and whose accuracy is a sigmoid of the bits."""

    slope: float = 1.0
    bend: float = 0.0
    steepness: float = 5.0
    middle: float = 0.9
    chance: float = 0.25
    items: int = 1000
    noise: float = 0.002
    linear: bool = False
    """Whether the sigmoid is one of the bits, and not of their logarithm."""

    def bits(self, loss):
        x = np.log(loss) - np.log(LOSS).mean()
        return 1.2 * np.exp(self.slope * x + self.bend / 2 * x**2)

    def accuracy(self, bits):
        far = bits / self.middle - 1 if self.linear else np.log(bits / self.middle)
        return self.chance + (1 - self.chance) / (1 + np.exp(self.steepness * far))

    def runs(self, rng):
        """Loss, bits and accuracy of the runs; those of one trunk share a part of their noise."""
        trunk = rng.normal(0, self.noise, (2, 5))[:, TRUNK]
        loss = LOSS * np.exp(trunk[0] + rng.normal(0, self.noise / 4, len(LOSS)))
        bits = self.bits(loss) * np.exp(trunk[1] + rng.normal(0, self.noise / 2, len(LOSS)))
        share = self.accuracy(bits) + self.sampled() * (rng.normal(0, 0.7, 5)[TRUNK] + rng.normal(0, 0.7, len(LOSS)))
        return loss, bits, np.clip(np.round(share * self.items) / self.items, 0, 1)

    def sampled(self):
        return 0.25 / np.sqrt(self.items)

    def beyond(self, rng, loss):
        """Bits and accuracy of a run that was expected to have this loss."""
        bits = self.bits(loss * np.exp(rng.normal(0, LOSS_SD))) * np.exp(rng.normal(0, 1.1 * self.noise))
        return bits, self.accuracy(bits) + rng.normal(0, self.sampled())


def drawn(rng, **fields):
    steepness = STEEP_MEDIAN * np.exp(rng.normal(0, STEEP_SD))
    middle = 0.9 * np.exp(rng.uniform(-0.5, 0.2))
    return Suite(rng.uniform(0.7, 1.3), rng.normal(0, BEND_SD), steepness, middle, **fields)


def straight(loss, bits, goal):
    return np.polyval(np.polyfit(np.log(loss), np.log(bits), 1), np.log(goal))


def test_intervals_cover_planted_suites():
    rng, goal = np.random.default_rng(5), LOSS.min() / 1.2
    bits_inside, inside, naive, reaches = [], [], [], []
    for fields in ({}, {"linear": True}, {"chance": 0.5, "items": 150}) * 40:
        suite = drawn(rng, **fields)
        loss, bits, scores = suite.runs(rng)
        at = gold_bits(loss, bits, TRUNK, np.log(goal), LOSS_SD)
        true_bits, true_accuracy = suite.beyond(rng, goal)
        bits_inside.append(at.prediction.low <= true_bits <= at.prediction.high)
        naive.append(abs(np.log(true_bits) - straight(loss, bits, goal)) < 1.645 * np.hypot(LOSS_SD, suite.noise))
        if sum(wilson(score * suite.items, suite.items)[0] > suite.chance for score in scores) > 1:
            found = accuracy(bits, scores, TRUNK, suite.chance, suite.items, at)
            inside.append(found.low <= true_accuracy <= found.high)
            reaches.append(found.high - found.low)
    assert 0.87 <= np.mean(bits_inside) <= 0.98
    assert np.mean(naive) < 0.8, "a straight power law, with the noise of loss and run alone"
    assert len(inside) > 80
    assert 0.86 <= np.mean(inside) <= 0.96
    assert np.mean(reaches) < 0.15


def test_the_two_steps_find_the_suite():
    rng, suite = np.random.default_rng(1), Suite(noise=0.0005, items=10_000)
    loss, bits, scores = suite.runs(rng)
    at = gold_bits(loss, bits, TRUNK, np.log(LOSS.min() / 1.1), 0.001)
    truth = suite.bits(LOSS.min() / 1.1)
    assert at.prediction.expected == pytest.approx(truth, rel=0.01)
    found = accuracy(bits, scores, TRUNK, 0.25, 10_000, at)
    assert found.expected == pytest.approx(suite.accuracy(truth), abs=0.02)
    assert found.low < found.expected < found.high


def test_the_interval_widens_beyond_the_runs_and_stays_a_share():
    rng, suite = np.random.default_rng(2), Suite()
    loss, bits, scores = suite.runs(rng)
    reaches = []
    for times in (1.0, 1.3, 2.0, 8.0):
        at = gold_bits(loss, bits, TRUNK, np.log(LOSS.min() / times), LOSS_SD)
        found = accuracy(bits, scores, TRUNK, 0.25, 1000, at)
        assert 0 <= found.low <= found.high <= 1
        reaches.append(at.prediction.high / at.prediction.low)
    assert reaches == sorted(reaches)


def test_a_sigmoid_of_which_only_the_foot_is_seen_is_uncertain():
    rng = np.random.default_rng(3)
    reach = {}
    for middle in (0.5, 1.2):
        loss, bits, scores = Suite(middle=middle, items=200).runs(rng)
        at = gold_bits(loss, bits, TRUNK, np.log(LOSS.min() / 1.5), 0.001)
        found = accuracy(bits, scores, TRUNK, 0.25, 200, at)
        reach[middle] = found.high - found.low
    assert reach[0.5] > 1.5 * reach[1.2]


def test_too_few_runs_and_equal_runs_are_refused():
    with pytest.raises(PedigreeError, match=r"6 runs of 2 trunks; a suite's forecast takes 4 runs of 3"):
        gold_bits(LOSS[:6], LOSS[:6], TRUNK[:6], 0.0, 0.01)
    with pytest.raises(PedigreeError, match="nearly the same held-out loss"):
        gold_bits(np.full(15, 1.2), LOSS, TRUNK, 0.0, 0.01)
