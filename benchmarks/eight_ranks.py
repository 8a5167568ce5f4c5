"""``one_billion`` through eight gloo ranks at toy width: 20 steps on a CPU, checkpointed, resumed on four.

``python -m benchmarks.eight_ranks [EXPERIMENT]`` takes the experiment's own model, narrowed, its optimiser, schedule
and precision, once as DDP and once as FSDP2, and prints a table: eight ranks that stop after 10 steps, four that go on
to the end, and how far their losses are from those of one process.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from llm_core.experiment.component import over
from llm_core.experiment.load import load_experiment
from llm_core.experiment.model import ModelSpec
from llm_core.model.mixers.attention.spec import Attention
from llm_core.train.spec import TrainerSpec
from pipelines.experiments import experiment_file
from tests.train.runs import VOCABULARY, finish, records, start, write_shards

STEPS, WIDTH, LENGTH, WINDOW, FIRST, THEN = 20, 64, 128, 32, 8, 4


def narrowed(model: ModelSpec) -> ModelSpec:
    """The same layers, with fewer channels and shorter windows."""
    mixer = model.mixer
    assert isinstance(mixer, Attention)
    group = mixer.n_heads // (mixer.n_kv_heads or mixer.n_heads)
    width = getattr(model.feed_forward, "d_ff", 4 * model.d_model)
    changes = {
        "d_model": WIDTH,
        "mixer": {"n_heads": 8, "n_kv_heads": 8 // group},
        "feed_forward": {"d_ff": WIDTH * width // model.d_model},
        "pattern": [
            over(entry, {"mixer": {"window": WINDOW}}) if _window(entry.get("mixer")) else entry
            for entry in model.pattern
        ],
    }
    return ModelSpec.model_validate(over(model.model_dump(mode="json"), changes))


def _window(mixer: Any) -> Any:
    return mixer.get("window") if isinstance(mixer, dict) else None


def toy(name: str, folder: Path, parallel: str) -> TrainerSpec:
    """The experiment's full run, small."""
    experiment = load_experiment(experiment_file(name))
    batch = FIRST * 2 * LENGTH
    schedule = experiment.training.schedule.model_copy(update={"warmup_steps": 2, "cooldown_steps": 4})
    training = experiment.training.model_copy(
        update={
            "sequence_length": LENGTH,
            "batch_tokens": batch,
            "tokens": STEPS * batch,
            "schedule": schedule,
            "validate_every": 10,
            "validation_tokens": 8 * LENGTH,
        }
    )
    compute = experiment.compute.model_copy(
        update={"parallel": parallel, "micro_batch": 1, "compile": False, "checkpoint_every": 10}
    )
    return TrainerSpec.of(
        compute,
        model=narrowed(experiment.model),
        training=training,
        vocab_size=VOCABULARY,
        seed=experiment.seed,
        shards=folder / "shards",
        work=folder / parallel,
    )


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "one_billion"
    folder = Path(tempfile.mkdtemp(prefix="eight_ranks_"))
    write_shards(folder / "shards", tokens=STEPS * FIRST * 2 * LENGTH + 1000)
    one = toy(name, folder, "ddp").model_copy(update={"work": folder / "one"})
    finish(one)
    print(f"{name}: {len(one.model.layers)} layers of width {WIDTH}, {STEPS} steps, {one.training.precision}\n")
    print("| parallel | ranks | steps | parts | losses from one process's, nats |\n|---|---|---|---|---|")
    for parallel in ("ddp", "fsdp2"):
        spec = toy(name, folder, parallel)
        process = start(spec, FIRST)
        metrics = spec.work / "metrics.jsonl"
        while not metrics.exists() or metrics.read_bytes().count(b"\n") < STEPS // 2:
            assert process.poll() is None, (spec.work / "out").read_text()
        process.terminate()
        process.wait()
        done = len(records(spec))
        for ranks in (FIRST, THEN):
            if ranks == THEN:
                finish(spec, THEN)
            newest = max((spec.work / "checkpoints").glob("step_*"))
            parts = len(list(newest.glob("*.safetensors")))
            pairs = list(zip(records(spec), records(one), strict=False))
            apart = max(abs(ours["loss"] - theirs["loss"]) for ours, theirs in pairs)
            assert [ours["batch"] for ours, _ in pairs] == [theirs["batch"] for _, theirs in pairs]
            reached = f"1 to {done}" if ranks == FIRST else f"{done + 1} to {len(pairs)}"
            print(f"| {parallel} | {ranks} | {reached} | {parts} | {apart:.1e} |", flush=True)


if __name__ == "__main__":
    main()
