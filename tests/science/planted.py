"""Runs drawn from laws that the tests know."""

from dataclasses import dataclass, replace

import numpy as np

from llm_core.science.runs import Runs


@dataclass(frozen=True)
class Planted:
    """E + ((A/N^α)^(1/κ) + (B/D^β)^(1/κ))^κ with noise; terms are those at N = 4e6, D = 8e7."""

    floor: float = 1.8
    size: float = 0.6
    text: float = 0.5
    alpha: float = 0.34
    beta: float = 0.37
    kappa: float = 1.0
    noise: float = 0.004
    trunk: float = 0.0

    def loss(self, parameters, tokens):
        size = self.size * (parameters / 4e6) ** -self.alpha
        text = self.text * (tokens / 8e7) ** -self.beta
        return self.floor + (size ** (1 / self.kappa) + text ** (1 / self.kappa)) ** self.kappa

    def runs(self, rng, sizes=6, budgets=4):
        parameters = np.repeat(np.geomspace(1e6, 2e7, sizes), budgets)
        tokens = np.tile(np.geomspace(5, 40, budgets), sizes) * parameters
        trunks = np.repeat(rng.normal(0, self.trunk, sizes), budgets)
        noise = np.exp(trunks + rng.normal(0, self.noise, len(trunks)))
        return Runs.of(parameters, tokens, 6 * parameters * tokens, self.loss(parameters, tokens) * noise)

    def beyond(self, rng):
        """A run of four to ten times the parameters: parameters, tokens, loss."""
        parameters = np.array([8e7, 2e8])
        noise = np.exp(rng.normal(0, np.hypot(self.noise, self.trunk), 2))
        return parameters, 20 * parameters, self.loss(parameters, 20 * parameters) * noise


def drawn(rng, **fixed) -> Planted:
    """A law from the range of published ones."""
    alpha, beta = np.exp(rng.normal(np.log(0.35), 0.25, 2))
    size, text = rng.uniform(0.2, 0.9, 2)
    return replace(Planted(rng.uniform(1.05, 2.4), size, text, alpha, beta), **fixed)
