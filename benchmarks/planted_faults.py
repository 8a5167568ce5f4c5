"""What becomes of a run into which a fault was planted, and where its message leads.

``python -m benchmarks.planted_faults``: a toy run for every fault, and a table of what was done. "rest" says whether
the weights at the end are what they must be: after a skipped batch, finite; after a rollback, bit by bit those of a run
with other checkpoints that was stopped on the way.
"""

import json
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.errors import PedigreeError
from llm_core.experiment.guards import GuardsSpec
from llm_core.tokens.loader import Batch, Loader
from llm_core.train.callbacks.spec import BAD_BATCHES
from llm_core.train.spec import TrainerSpec
from tests.train.callbacks.test_leak_probe import leaky, look_ahead
from tests.train.callbacks.test_too_good import show_targets
from tests.train.planted import plant
from tests.train.runs import checkpoint_tensors, model_spec, records, run, trainer_spec, weights, write_shards
from tests.train.test_loop import StopAfter

STEPS, FAULT = 40, 22
SPIKES = GuardsSpec(spike_sigma=8, spike_window=8)
BACK = SPIKES.model_copy(update={"spike_action": "rollback", "rollback_steps": 3})


def shifted(patch: pytest.MonkeyPatch) -> None:
    """Targets that are the inputs."""
    batch = Loader.batch

    def wrong(self: Loader, *arguments: Any) -> Batch:
        inputs_BT, _, ids_BT = batch(self, *arguments)
        return Batch(inputs_BT, inputs_BT, ids_BT)

    patch.setattr(Loader, "batch", wrong)


def tell(name: str, spec: TrainerSpec, fault: Callable[[pytest.MonkeyPatch], None]) -> None:
    """One row: the fault, what was done in which step, and the message or the line of ``bad_batches.jsonl``."""
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        try:
            progress = run(spec)
            finite = all(bool(tensor.isfinite().all()) for tensor in checkpoint_tensors(spec, STEPS).values())
            done, rest = f"{progress.skipped} steps skipped, all {progress.step} made", f"finite: {finite}"
            message = ""
        except PedigreeError as error:
            done, rest, message = f"stopped after {len(records(spec))} steps", "", str(error)
        if spec.training.guards.spike_action == "rollback":
            other = spec.model_copy(update={"work": spec.work.with_name("other"), "checkpoint_every": 7})
            run(other, StopAfter(FAULT + 3))
            run(other)
            rest += f", as when stopped on the way: {weights(other) == weights(spec)}"
    path = spec.work / BAD_BATCHES
    for line in map(json.loads, path.read_text().splitlines() if path.exists() else []):
        read = line["documents"][0]
        message = message or (
            f"{BAD_BATCHES}: step {line['step']}, {line['reason']}, {line['action']}; sequence {read['sequence']}: "
            f"{read['source']}, tokens {read['start']} to {read['start'] + read['tokens']}, documents "
            f"{read['documents'][0]} to {read['documents'][1]}"
        )
    print(f"| {name} | {done} | {rest} | {message.replace(str(spec.work), 'WORK')} |")


def main() -> None:
    torch.set_num_threads(1)
    masked = model_spec(document_mask=True)
    blind = GuardsSpec(leak_probe=False, floor_steps=5)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_shards(folder / "shards")

        def spec(name: str, guards: GuardsSpec | None = None, **changes: Any) -> TrainerSpec:
            training = {"guards": guards or GuardsSpec()}
            return trainer_spec(folder, STEPS, training, work=folder / name, **changes)

        print("| planted | what was done | rest | message |\n|---|---|---|---|")
        nan, spike = spec("nan"), spec("spike", SPIKES)
        tell("a batch of NaN", nan, lambda patch: plant(patch, nan, {FAULT: math.nan}))
        tell("a loss spike, skipped", spike, lambda patch: plant(patch, spike, {FAULT: 100.0}))
        tell("a gradient spike, skipped", spec("norm", SPIKES), lambda patch: plant(patch, spike, {}, {FAULT: 1e4}))
        tell("a loss spike, rolled back", spec("back", BACK), lambda patch: plant(patch, spike, {FAULT: 100.0}))
        tell("no document mask", spec("mask", model=masked), lambda patch: leaky(patch, lambda ids_BT: ids_BT * 0))
        tell("a mask that looks ahead", spec("ahead", model=masked), lambda patch: look_ahead(patch, 1))
        tell("targets shifted wrongly", spec("shift"), shifted)
        tell("targets shown, probe off", spec("shown", blind), lambda patch: show_targets(patch, only_training=True))


if __name__ == "__main__":
    main()
