"""Handles bad steps: records what they read in ``bad_batches.jsonl``, and stops the run or rolls it back."""

from typing import Any

from llm_core.errors import PedigreeError
from llm_core.runtime_only import runtime_only
from llm_core.train.batch_provenance import WORST, describe_pieces, documents_of, sequence_losses, why_command
from llm_core.train.callbacks.base import Callback
from llm_core.train.callbacks.json_lines import JsonLinesCallback
from llm_core.train.callbacks.run import Run
from llm_core.train.callbacks.spec import BAD_BATCHES
from llm_core.train.guards import GRADIENT_SPIKE, LOSS_SPIKE, REASONS, RollBackError
from llm_core.train.metrics_log import LEFT_OUT_REASON

MAX_BAD_STEPS, MAX_ROLLBACKS = "training.max_bad_steps", "training.guards.max_rollbacks"
_SPIKES = {REASONS[LOSS_SPIKE], REASONS[GRADIENT_SPIKE]}


@runtime_only("records what was read, for people")
class BadBatches(JsonLinesCallback):
    """Writes ``bad_batches.jsonl`` when other callbacks report a bad step. It does nothing by itself.

    A line has the step, the reason, the action, loss, gradient norm, the losses of the step's worst sequences, and
    their documents (``documents_of``).
    """

    file = BAD_BATCHES

    def stays(self, run: Run, line: dict[str, Any]) -> bool:
        """Lines from before the last rollback are kept, whatever their step."""
        rollbacks = run.guard.rollbacks
        return line["rollbacks"] < rollbacks or (line["rollbacks"] == rollbacks and super().stays(run, line))

    def write(self, run: Run, metrics: dict[str, Any], reason: str, action: str, best: bool = False) -> str:
        """Record what the step of ``metrics`` read; returns a message about it. Collective.

        It records the sequences with the highest loss; with ``best``, those with the lowest.
        """
        step = metrics["step"]
        losses = sequence_losses(run.model, run.data.train, step - 1, run.spec.training.precision, run.world)
        worst = losses[::-1][:WORST] if best else losses[:WORST]
        pieces = documents_of(run.data.train, step - 1, [sequence for sequence, _ in worst])
        line = {name: metrics.get(name) for name in ("step", "loss", "grad_norm", "batch")}
        if self.writer:
            sequences = [{"sequence": sequence, "loss": loss} for sequence, loss in worst]
            line |= {"reason": reason, "action": action, "rollbacks": run.guard.rollbacks}
            self.writer.append({**line, "sequences": sequences, "documents": pieces})
            self.writer.sync()
        first = [piece for piece in pieces if piece["sequence"] == worst[0][0]]
        return (
            f"step {step} read {describe_pieces(first)} (loss {worst[0][1]:.3f}); more in {run.spec.work / BAD_BATCHES}"
            f"{why_command(run.spec, step)}"
        )


class BadSteps(Callback):
    """Records what skipped steps read, rolls the run back after a spike, and stops it after too many skipped steps."""

    def on_metrics(self, run: Run, metrics: dict[str, Any]) -> None:
        """Handle one step. Raises ``PedigreeError`` or ``RollBackError``."""
        if not metrics["skipped"] or metrics["reason"] == LEFT_OUT_REASON:
            return
        training, reason = run.spec.training, metrics["reason"]
        guards = training.guards
        back = reason in _SPIKES and guards.spike_action == "rollback"
        told = run.find(BadBatches).write(run, metrics, reason, "rolled back" if back else "skipped")
        if back and run.guard.rollbacks >= guards.max_rollbacks:
            raise PedigreeError(
                f"step {metrics['step']}: {reason}, and the run was already rolled back {run.guard.rollbacks} times "
                f"({MAX_ROLLBACKS}). {_remedy(MAX_ROLLBACKS, 'spike_sigma')}. {told}"
            )
        if back:
            raise RollBackError(metrics["step"])
        if run.progress.bad_in_a_row >= training.max_bad_steps:
            raise PedigreeError(
                f"step {metrics['step']}: {run.progress.bad_in_a_row} steps in a row were skipped "
                f"({MAX_BAD_STEPS}), this one because {reason}. {_remedy(MAX_BAD_STEPS, 'warm-up')}. {told}"
            )


def _remedy(bound: str, other: str) -> str:
    """How to resume a run that ``bound`` stopped; and the settings that need a new run."""
    return (
        f"To resume from the last checkpoint, raise {bound}; another training.optimizer.lr or {other} needs a new "
        "run from the start"
    )
