"""A planted study (``tests.study.planted``) as artifacts that a report reads."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from assets.study import CONDITIONS
from llm_core.experiment.base import canonical
from llm_core.experiment.study import GateSpec, StudySpec
from llm_core.store.manifest import Artifact, CheckRecord, GateRecord
from llm_core.study import ablation_report, launch_gate
from llm_core.study.ladder import ladder
from llm_core.study.results import (
    Ablations,
    BatchLaw,
    Forecast,
    LaunchGate,
    MixtureStudy,
    NoiseLaw,
    RateStudy,
    ScalingLaw,
    StudyCost,
    SuiteForecast,
    SuiteSignal,
)
from tests.report.conftest import artifact, run_stats
from tests.study.planted import LAUNCHED, MODEL, STUDY, TRAINING, VOCABULARY, Study, law
from tests.study.planted import artifact as planted
from tests.study.planted_mixtures import searched

IDEAS: dict[str, dict[str, Any]] = {
    "good": {"mixer": {"qk_norm": True}},
    "bad": {"norm": {"eps": 0.01}},
    "alike": {"logit_softcap": 30.0},
    "unclear": {"data": {"tokenizer": {"vocab_size": 8192}}},
}
EFFECT = {"good": -0.03, "bad": 0.025, "alike": 0.0, "unclear": -0.006}
MARGIN = 0.01
DRAW = 18
"""Under this draw of the noise, there is an idea for every verdict."""
GATE = GateSpec(half_width=0.05, coverage=None, hours=1.0)


RESULTS: dict[str, Any] = {
    "noise_law": NoiseLaw,
    "rate_law": RateStudy,
    "scaling_law": ScalingLaw,
    "forecast": Forecast,
    "ablation_report": Ablations,
    "mixture_law": MixtureStudy,
    "study_cost": StudyCost,
    "batch_law": BatchLaw,
    "suite_signal": SuiteSignal,
    "suite_forecast": SuiteForecast,
}
BATCHES = BatchLaw(
    scales=[
        {"role": "trunk_1", "width": 256, "tokens": 2e7, "batch": 4e4, "low": 3e4, "high": 5.5e4},
        {"role": "trunk_2", "width": 256, "tokens": 8e7, "batch": 9e4, "low": 7e4, "high": 1.2e5},
        {"role": "trunk_3", "width": 512, "tokens": 1e8, "batch": None, "why": "its batch was one micro-batch"},
    ],
    launched=65536,
    critical=4e5,
    critical_low=2e5,
    critical_high=9e5,
    checks=[
        {"width": 256, "batch": 65536, "times": 2.0, "cost": 0.001, "sd": 0.003},
        {"width": 256, "batch": 262144, "times": 8.0, "cost": 0.02, "sd": 0.003},
        {"width": 256, "batch": 524288, "times": 16.0, "cost": 0.002, "sd": 0.003},
        {"width": 512, "batch": 65536, "times": 2.0, "cost": -0.001, "sd": None},
    ],
)
"""Nobody trained these runs."""


def studied(folder: Path) -> dict[str, Artifact]:
    """Every stage of the study, and the run that was launched with its forecast."""
    folder.mkdir(parents=True, exist_ok=True)
    study = Study(folder)
    gate = study.gate()
    study.cost()
    ideas(study)
    found = searched(folder / "mixtures", launched={"web": 3.0, "books": 1.0, "code": 1.0}, noise=0.003)
    study.made["mixture_law"] = planted(found.model_dump())
    study.made["batch_law"] = planted(BATCHES.model_dump())
    made = {name: study.made[name].results(kind) for name, kind in RESULTS.items()}
    configs = {
        "rate_law": {"rate": LAUNCHED.rate},
        "batch_law": {"tokens": LAUNCHED.tokens},
        "forecast": {"launched": canonical(LAUNCHED)},
        "ablation_report": {"margin": MARGIN},
    }
    return {
        **{
            name: artifact(folder / name, name, results.model_dump(), config=configs.get(name, {}))
            for name, results in made.items()
        },
        "pretrained_model": launched(folder / "run", [record(gate)]),
    }


def record(gate: LaunchGate, closed: tuple[str, ...] = (), **fields: Any) -> GateRecord:
    """The launch gate in the manifest of the run; the conditions ``closed`` did not hold."""
    verdicts = {name: getattr(launch_gate, name)(gate, GATE) for name in CONDITIONS}
    checks = [
        CheckRecord(name=name, blocking=True, **{**vars(verdict), "passed": name not in closed})
        for name, verdict in verdicts.items()
    ]
    return GateRecord(
        **{
            "stage": "launch_gate", "identity": "a" * 32, "content": "b" * 32, "made": "2026-01-30",
            "launched": "2026-01-31", "passed": "open", "results": gate.model_dump(), "checks": checks, **fields,
        }
    )  # fmt: skip


def launched(folder: Path, gates: list[GateRecord], result: float | None = None) -> Artifact:
    """The full run, which reached ``result``."""
    return artifact(folder, "pretrained_model", run_stats(final_validation_bits_per_byte=result), gates=gates)


def ideas(study: Study) -> None:
    """Runs of ideas with known effects, at two widths; one run diverged."""
    sizes = [
        {"width": 256, "seeds": 3, "ideas": True, "rates": [0.5, 2.0]},
        {"width": 512, "seeds": 3, "ideas": True},
    ]
    plain = {**STUDY.model_dump(mode="json"), "sizes": sizes, "ideas": IDEAS, "margin": MARGIN, "gate": None}
    runs = ladder(StudySpec.model_validate_json(json.dumps(plain)), MODEL, TRAINING, VOCABULARY, 7).ablations()
    for run in runs:
        # The noise of a run does not depend on the order of the runs.
        rng = np.random.default_rng([DRAW, run.width, run.seed, int(10 * run.multiple), *run.idea.encode()])
        loss = law(run.parameters, run.tokens) * math.exp(EFFECT.get(run.idea, 0.0) + rng.normal(0, 0.003))
        loss *= math.exp(0.05 * math.log(run.multiple) ** 2)
        lost = (run.idea, run.seed, run.multiple) == ("unclear", 7, 2.0)
        study.made[run.role] = planted(
            {
                "final_validation_bits_per_byte": None if lost else loss,
                "validation_tokens": 1024,
                "skipped_steps": 0,
                "tokens_per_second": 8e4 if run.idea == "good" else 1e5,
                "peak_memory_bytes": 1e9,
                "parameters": run.parameters,
            }
        )
    study.made["token_shards"] = planted({"train_bytes_per_token": 4.0, "train_tokens": 2_000_000_000})
    study.made["others"] = planted({"train_bytes_per_token": 4.4})
    config = {"runs": runs, "margin": MARGIN, "looks": 1, "changes": IDEAS, "shards": {"unclear": "others"}}
    study.stage("ablation_report", ablation_report.build, **config)
