"""The proxy runs: small runs that guide the settings of the full run."""

from assets.training import training_run
from llm_core.experiment.experiment import Experiment
from llm_core.graph.stage import Stage


def stages(experiment: Experiment) -> list[Stage]:
    """One run per variant and learning rate, and the report that compares them; empty without ``proxies``."""
    proxies = experiment.proxies
    if proxies is None:
        return []
    variants = {
        name: training_run(
            f"proxy_runs/{name}",
            "proxies",
            f"Proxy run: the baseline with {changes}." if changes else "Proxy run: the baseline.",
            experiment,
            proxies.variant(name),
            proxies.variant_training(name),
            seed=proxies.variant_seed(name, experiment.seed),
            compute=proxies.compute_changes(name),
        )
        for name, changes in proxies.variants.items()
    }
    rates = {
        rate: training_run(
            f"lr_sweep/{rate_name(rate)}",
            "proxies",
            f"Proxy run: the baseline at a peak learning rate of {rate:g}.",
            experiment,
            proxies.model,
            proxies.at_learning_rate(rate),
        )
        for rate in proxies.learning_rates
    }
    report = Stage(
        name="ablation_report",
        group="proxies",
        description="Comparison of the proxy runs: loss, difference from the baseline, time, speed, memory.",
        build="llm_core.report.ablation_report:build",
        results="llm_core.report.results:AblationReport",
        non_blocking=(":losses_finite",),
        inputs={
            **{f"variant/{name}": stage.name for name, stage in variants.items()},
            **{f"lr/{rate:g}": stage.name for rate, stage in rates.items()},
        },
        config={
            "baseline": proxies.baseline,
            "variants": list(proxies.variants),
            "learning_rates": list(proxies.learning_rates),
        },
        bounds=experiment.checks,
        volatile=("timing.json", "timing/*"),
        rebuild_when_damaged=True,
    )
    return [*variants.values(), *rates.values(), report]


def rate_name(rate: float) -> str:
    """A learning rate as part of an asset key (only letters, digits and '_'): 0.003 → ``3e_03``."""
    mantissa, exponent = f"{rate:e}".split("e")
    digits = mantissa.rstrip("0").rstrip(".").replace(".", "p")
    return f"{digits}e{'_' if exponent[0] == '-' else ''}{exponent[1:]}"
