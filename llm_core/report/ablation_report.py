"""The stage ``ablation_report``: the proxy runs side by side."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llm_core.experiment.evaluation import ChecksSpec
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.job import Job
from llm_core.graph.stage import Verdict
from llm_core.report import read
from llm_core.report.ablation_plots import ablation_pictures
from llm_core.report.facts import PROXY_RESULTS, PROXY_TIMING
from llm_core.report.results import AblationReport
from llm_core.store.manifest import Artifact


def build(job: Job, baseline: str | None, variants: Sequence[str], learning_rates: Sequence[float]) -> AblationReport:
    """Compare the runs with the roles ``variant/<name>`` and ``lr/<rate>``.

    ``ablation.json`` contains results that depend on the weights only. ``timing.json`` and the figures in ``timing/``
    contain clock times.
    """
    runs = {name: job.inputs[f"variant/{name}"] for name in variants}
    sweep = {rate: job.inputs[f"lr/{rate:g}"] for rate in learning_rates}
    reference = runs[baseline] if baseline is not None else None
    results: dict[str, Any] = {
        "baseline": baseline,
        "variants": [_variant(name, run, reference) for name, run in runs.items()],
        "learning_rates": [{"learning_rate": rate, **_outcome(sweep[rate])} for rate in sorted(sweep)],
    }
    timing = {
        "variants": {name: {**_timing(run), **_same(name, runs, reference)} for name, run in runs.items()},
        "learning_rates": {f"{rate:g}": _timing(run) for rate, run in sweep.items()},
    }
    for name, content in ((PROXY_RESULTS, results), (PROXY_TIMING, timing)):
        (job.out / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    pictures = ablation_pictures(results, timing)
    return AblationReport(
        runs=len(runs) + len(sweep),
        finite_runs=sum(read.run(run).final_validation_loss is not None for run in (*runs.values(), *sweep.values())),
        baseline=baseline,
        losses={line["name"]: line["validation_loss"] for line in results["variants"]},
        differences={line["name"]: line["difference"] for line in results["variants"]},
        sweep_losses={f"{line['learning_rate']:g}": line["validation_loss"] for line in results["learning_rates"]},
        best_learning_rate=best_learning_rate(results),
        figures={picture.name: picture.save(job.out) for picture in pictures},
    )


def losses_finite(results: AblationReport, bounds: ChecksSpec) -> Verdict:
    """Every run ended with a finite loss. Not blocking, because a diverged run is a result too."""
    del bounds
    finite, runs = results.finite_runs, results.runs
    message = f"{finite} of {runs} runs ended with a finite validation loss"
    return Verdict(finite == runs, message, value=finite, bound=runs)


def best_learning_rate(results: Mapping[str, Any]) -> float | None:
    """The rate with the lowest validation loss; None without a finite loss."""
    finite = [line for line in results["learning_rates"] if line["validation_loss"] is not None]
    return min(finite, key=lambda line: line["validation_loss"])["learning_rate"] if finite else None


def _variant(name: str, run: Artifact, reference: Artifact | None) -> dict[str, Any]:
    loss = read.run(run).final_validation_loss
    base = read.run(reference).final_validation_loss if reference else None
    own, usual = (_settings(artifact.manifest.config) for artifact in (run, reference or run))
    return {
        "name": name,
        "changes": _differences(own, usual),
        "difference": None if loss is None or base is None else round(loss - base, 6),
        **_outcome(run),
    }


def _differences(own: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value, for different values. A missing field has the value from before the field existed. Settings that a
    component of another kind does not have are left out."""

    def replaced(field: str) -> bool:
        places = field.split(".")
        kinds = (".".join([*places[:depth], "kind"]) for depth in range(1, len(places)))
        return field not in own and any(kind in own and own[kind] != usual.get(kind) for kind in kinds)

    return {
        field: own.get(field)
        for field in sorted({**usual, **own})
        if own.get(field) != usual.get(field) and not replaced(field)
    }


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value of the settings that affect results, without values that follow from other fields."""
    model = {name: value for name, value in config["model"].items() if name in ModelSpec.model_fields}
    training = {name: value for name, value in config["training"].items() if name in TrainingSpec.model_fields}
    return {**flat(model), **flat(training, "training."), "seed": config.get("seed")}


def flat(section: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """``section.field`` → value, of nested sections."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= flat(value, f"{place}{name}.") if isinstance(value, Mapping) else {f"{place}{name}": value}
    return found


def _outcome(run: Artifact) -> dict[str, Any]:
    results = read.run(run)
    return {
        "validation_loss": results.final_validation_loss,
        "training_loss": results.final_loss,
        "parameters": results.parameters,
        "steps": results.steps,
        "tokens": results.tokens,
        "content": run.manifest.content,
    }


def _timing(run: Artifact) -> dict[str, Any]:
    return {
        "identity": run.manifest.identity,
        # Wall time as for other stages: with start, validation and checkpoints.
        "seconds": run.manifest.seconds,
        "tokens_per_second": read.run(run).tokens_per_second,
        "peak_memory_bytes": read.run(run).peak_memory_bytes,
    }


def _same(name: str, runs: Mapping[str, Artifact], reference: Artifact | None) -> dict[str, Any]:
    """How the ``compute`` of a variant differs from the baseline's; and the earlier variant that is the same run.

    ``compute`` does not change results, so variants that differ only in it are one artifact. Its time and memory are
    those of the variant that was really trained.
    """
    own, usual = (read.run(run).compute for run in (runs[name], reference or runs[name]))
    before = list(runs)[: list(runs).index(name)]
    twins = [other for other in before if runs[other].manifest.identity == runs[name].manifest.identity]
    return {
        "compute": {field: value for field, value in own.items() if value != usual.get(field, value)},
        "same_run_as": twins[0] if twins else None,
    }
