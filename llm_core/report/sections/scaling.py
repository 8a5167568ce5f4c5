"""The section about the scaling law."""

import json
from collections.abc import Mapping
from math import log
from typing import Any

from llm_core.graph.job import Job
from llm_core.report import read
from llm_core.report.blocks import Block, Facts, Pair, Section, Table, note, text
from llm_core.report.formatting import NONE, count, percent, short
from llm_core.report.sections.forecast import sealed
from llm_core.report.study_plots import law_loss, misses, scaling
from llm_core.study.results import POINTS, Forecast, ScalingLaw

NEAR = 0.001
"""Sizes that differ by less of the loss are equally good."""


def scaling_law(job: Job) -> Section | None:
    """The law, the runs it was fitted to, and what it says about the launched size."""
    law, told, result = read.law(job.inputs), sealed(job.inputs), read.result(job.inputs)
    if law is None:
        return None
    runs = json.loads(job.path(read.LAW, POINTS).read_bytes())
    launched = job.inputs[read.FORECAST].manifest.config["launched"] if told is not None else None
    blocks: list[Block] = [text(_said(law, told, launched))]
    blocks.append(Pair((scaling(law, runs, launched, told, result), misses(law, runs))))
    crosses = f" Crosses: runs that were left out of the fit as outliers ({', '.join(law.excluded)})."
    blocks += [
        note(
            "Points: runs of the study. Lines: the law. Dashed: the launched size, with the 90% interval of the "
            "forecast. The grey band is where 90% of runs lie by their own noise."
            + (crosses if law.excluded else "")
            + (f" Without a finite loss, and on no plot: {', '.join(law.diverged)}." if law.diverged else "")
        ),
        _exponents(law),
        note(
            "Loss = E + A/N^α + B/D^β, for N parameters that multiply every token and D tokens. ± is one standard "
            "error. Published exponents: Hoffmann et al. (2022); Besiroglu et al. (2024), a replication of it; Kaplan "
            "et al. (2020), whose form is without E. Exponents depend on text, vocabulary and recipe, so other ones "
            "are no mistake."
        ),
        Facts(_facts(law, told, launched), tight=True),
    ]
    return Section("Scaling law", blocks)


def _said(law: ScalingLaw, told: Forecast | None, launched: Mapping[str, Any] | None) -> str:
    """What the law says about the launched size."""
    fitted = f"The law was fitted to {count(law.runs - len(law.excluded), 'run')}. "
    tested = (
        f"Laws of the smaller runs forecast {count(law.forecast_runs, 'larger one')}; {law.coverage:.0%} of them lay "
        "within their 90% interval. "
        if law.coverage is not None
        else "There were too few runs to test its forecasts on larger ones; add a size or a budget to the study. "
    )
    if told is None or launched is None:
        return fitted + tested
    ratio = told.optimal_parameters / launched["parameters"]
    # The optimum counts 6 FLOPs per parameter and token. So must the launched size, beside which it stands.
    same = law_loss(law, launched["parameters"], told.flops / 6 / launched["parameters"])
    gain = 1 - float(law_loss(law, told.optimal_parameters, told.optimal_tokens) / same)
    if gain < NEAR:
        return f"{fitted}{tested}For the FLOPs of the full run, the launched size is as good as the best one: keep it."
    more = "fewer" if ratio > 1 else "more"
    return (
        f"{fitted}{tested}For the FLOPs of the full run, a model of {ratio:.2g} times the parameters and {more} tokens "
        f"would be best: the law expects its loss to be {percent(gain)} lower. Change the size unless something else "
        "(memory, the price of using the model) speaks for it."
    )


def _exponents(law: ScalingLaw) -> Table:
    rows = [
        ("E, bits per byte", f"{law.floor:.3f}", NONE, NONE, NONE),
        ("A", f"{law.coefficients[0]:.3g}", NONE, NONE, NONE),
        ("B", f"{law.coefficients[1]:.3g}", NONE, NONE, NONE),
        ("α, of parameters", f"{law.alpha:.3f} ± {law.alpha_sd:.3f}", "0.34", "0.348", NONE),
        ("β, of tokens", f"{law.beta:.3f} ± {law.beta_sd:.3f}", "0.28", "0.366", NONE),
        ("α, form without E", _known(law.kaplan_alpha), NONE, NONE, "0.076"),
        ("β, form without E", _known(law.kaplan_beta), NONE, NONE, "0.095"),
    ]
    return Table(("", "This study", "Hoffmann", "Besiroglu", "Kaplan"), rows, pinned=True)


def _known(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _facts(law: ScalingLaw, told: Forecast | None, launched: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    rows = [
        ("Noise of a run", percent(law.noise)),
        ("Noise between trunks", percent(law.trunk_noise)),
        ("Drift beyond the runs", f"{percent(law.drift * log(10))} per 10 × FLOPs"),
    ]
    if told is None or launched is None:
        return rows
    per_parameter = told.optimal_tokens / told.optimal_parameters
    return [
        *rows,
        ("Best parameters", f"{short(told.optimal_parameters)} (launched: {short(launched['parameters'])})"),
        ("Best tokens", f"{short(told.optimal_tokens)} (launched: {short(launched['tokens'])})"),
        (
            "Tokens per parameter, best",
            f"{per_parameter:.3g} (launched: {launched['tokens'] / launched['parameters']:.3g})",
        ),
    ]
