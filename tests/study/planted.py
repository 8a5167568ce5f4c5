"""A study whose runs follow a law that the tests know: its stages get runs that nobody trained."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from llm_core.experiment.base import canonical
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.study import StudySpec
from llm_core.experiment.training import TrainingSpec
from llm_core.graph.job import Job
from llm_core.intervals import wilson
from llm_core.study import (
    forecast,
    launch_gate,
    noise_law,
    rate_law,
    scaling_law,
    study_cost,
    suite_forecast,
    suite_signal,
)
from llm_core.study.ladder import ladder
from llm_core.study.study_run import StudyRun
from llm_core.study.suites import evaluation_of
from llm_core.train.results import TrainingResults

MODEL = ModelSpec(preset="llama3_1b", n_layers=8)
TRAINING = TrainingSpec.model_validate_json(
    """{"sequence_length": 512, "batch_tokens": 65536, "tokens": 4000000000, "optimizer": {"lr": 1e-3},
    "schedule": {"kind": "wsd", "warmup_steps": 100, "cooldown_steps": 6000}}"""
)
STUDY = StudySpec.model_validate_json(
    """{"sizes": [{"width": 256, "seeds": 3, "rates": [0.5, 2]}, {"width": 512, "seeds": 2, "rates": [0.5, 2]},
    {"width": 768}, {"width": 1024}], "tokens_per_parameter": [5, 10, 20, 40]}"""
)
VOCABULARY = 4096
LADDER = ladder(STUDY, MODEL, TRAINING, VOCABULARY, 7)
NOISE = 0.002
BEST = 1.2
"""The best multiple of a size's rate."""


def law(parameters: float, tokens: float) -> float:
    return 0.6 + 0.35 * (parameters / 2e7) ** -0.34 + 0.3 * (tokens / 2e8) ** -0.37


ITEMS = 2000
CHANCE = {"clear": 0.25, "blind": 0.5}
"""Suites: what more text gains on the first is far above the noise, the second stays at chance."""


def gold_bits(loss: float) -> float:
    return 1.1 * loss**1.1


def clear_accuracy(bits: float) -> float:
    return 0.25 + 0.75 / (1 + (bits / 0.9) ** 5)


class Study:
    """The stages of the planted study, each computed once. ``changes``: role → fields of that run's results;
    ``configs``: role → changes of the configuration in its manifest."""

    def __init__(self, tmp_path, changes=None, configs=None):
        rng = np.random.default_rng(3)
        self.folder, self.made, self.log = tmp_path, {}, []
        trunks = {run.role for run in LADDER.of("trunk")}
        seeds = {}
        for run in (*LADDER.of("cooldown"), *LADDER.of("trunk"), *LADDER.of("rates")):
            if run.role in self.made:
                continue
            own = seeds.setdefault((run.width, run.seed), rng.normal(0, NOISE))
            loss = law(run.parameters, run.tokens) * math.exp(own + rng.normal(0, NOISE / 4))
            loss *= 1 + 0.02 * (math.log(run.multiple / BEST) ** 2 - math.log(BEST) ** 2) + 0.05 * (run.role in trunks)
            fields = {
                "final_validation_bits_per_byte": loss,
                "validation_tokens": 1024,
                "skipped_steps": 0,
                "seconds_training": 10.0,
                "tokens_per_second": 1e5,
                "device": "CPU",
                "ranks": 1,
                **(changes or {}).get(run.role, {}),
            }
            self.made[run.role] = artifact(
                fields, self._config(run, (configs or {}).get(run.role, {})), identity=run.role
            )

    @staticmethod
    def _config(run: StudyRun, changes):
        stage = next(stage for stage in LADDER.stages if stage.name == run.role)
        config = {"model": canonical(stage.model), "training": canonical(stage.training)}
        return {section: {**fields, **changes.get(section, {})} for section, fields in config.items()}

    def job(self, stage):
        out = self.folder / stage
        out.mkdir(exist_ok=True)
        return Job(stage, "identity", self.made, out, out)

    def stage(self, name, build, **config):
        """The results of a stage, which later ones can read."""
        results = build(self.job(name), **config)
        self.made[name] = artifact(results.model_dump())
        return results

    def noise(self):
        return self.stage("noise_law", noise_law.build, runs=LADDER.of("cooldown"), orders=())

    def rates(self):
        return self.stage("rate_law", rate_law.build, runs=LADDER.compared("rates"), width=MODEL.d_model, rate=1e-3)

    def law(self):
        return self.stage("scaling_law", scaling_law.build, runs=LADDER.of("cooldown"))

    def forecast(self):
        steps = TRAINING.schedule.falling_steps()
        config = {"runs": LADDER.of("cooldown"), "trunks": LADDER.of("trunk"), "study_flops": LADDER.flops}
        return self.stage(
            "forecast", forecast.build, launched=LAUNCHED, cooldown_steps=steps, precision="bf16", **config
        )

    def cost(self):
        parts = {part: LADDER.of(part) for part in ("trunk", "cooldown", "rates")}
        return self.stage("study_cost", study_cost.build, runs=parts, flops=LADDER.flops)

    def evaluate(self):
        """Evaluations of the cooled-down runs."""
        for run in LADDER.of("cooldown"):
            rng = np.random.default_rng([run.width, run.seed, run.steps])
            role = evaluation_of(run)
            loss = self.made[run.role].results(TrainingResults).final_validation_bits_per_byte
            self.made[role] = scored(self.folder / role, loss or 9.9, rng)

    def suite_signal(self):
        return self.stage("suite_signal", suite_signal.build, runs=LADDER.of("cooldown"))

    def suite_forecast(self):
        return self.stage("suite_forecast", suite_forecast.build, runs=LADDER.of("cooldown"))

    def gate(self):
        """The gate, with all stages before it."""
        self.evaluate()
        for stage in (self.noise, self.rates, self.law, self.forecast, self.suite_signal, self.suite_forecast):
            stage()
        self.made["token_shards"] = artifact({"train_tokens": 2_000_000_000})
        suites = {"suite": {"items": 100, "items_too_short": 10}}
        self.made["decontaminated_documents"] = artifact({"suites": suites})
        runs = (*LADDER.of("cooldown"), *LADDER.of("trunk"), *LADDER.of("rates"))
        return self.stage("launch_gate", launch_gate.build, model=MODEL, training=TRAINING, runs=runs)


LAUNCHED = StudyRun(
    role="pretrained_model",
    width=MODEL.d_model,
    seed=7,
    parameters=500_000_000,
    steps=TRAINING.steps,
    batch=TRAINING.batch_tokens,
    tokens=TRAINING.tokens,
    flops=6 * 500_000_000 * TRAINING.tokens,
    rate=1e-3,
    multiple=1.0,
)


def scored(folder, loss, rng):
    """An evaluation of a run with this held-out loss."""
    bits = gold_bits(loss) * math.exp(rng.normal(0, NOISE / 2))
    accuracies = {"clear": clear_accuracy(bits), "blind": 0.5}
    rows = [{"task": "heldout", "metric": "bits_per_byte", "value": loss, "low": loss, "chance": None, "n": 9}]
    for task, expected in accuracies.items():
        accuracy = round(ITEMS * (expected + rng.normal(0, 0.003))) / ITEMS
        low, _ = wilson(accuracy * ITEMS, ITEMS)
        low = min(low, 0.49) if task == "blind" else low
        rows += [
            {"task": task, "metric": "accuracy", "value": accuracy, "low": low, "chance": CHANCE[task], "n": ITEMS},
            {"task": task, "metric": "bits_per_byte", "value": bits, "low": bits, "chance": None, "n": ITEMS},
        ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return artifact({}, path=folder)


def artifact(fields, config=None, path=Path("nowhere"), identity="identity"):
    manifest = SimpleNamespace(config=config, identity=identity, content="content")
    return SimpleNamespace(results=lambda kind: kind.model_construct(**fields), manifest=manifest, path=path)
