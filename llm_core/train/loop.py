"""The training loop, from the first batch to the final weights."""

import math
import time
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.model.decoder import Losses
from llm_core.model.superposition import bag_size, bagged
from llm_core.tokens.batch_sizes import tokens_before
from llm_core.tokens.loader import IGNORED
from llm_core.train.callbacks.build import build_callbacks
from llm_core.train.callbacks.run import Run, naming_callback
from llm_core.train.checkpoints import Checkpoints, Progress
from llm_core.train.data import open_data
from llm_core.train.distribution import World, gradient_sync, spread
from llm_core.train.final_weights import write_final
from llm_core.train.guards import GOOD, LEFT_OUT, RollBackError, StepGuard
from llm_core.train.interruption import StopRequest
from llm_core.train.metrics_readback import MetricsReadback
from llm_core.train.out_of_memory import explain_out_of_memory
from llm_core.train.parameter_groups import describe_groups, set_schedule
from llm_core.train.precision import assert_master_weights, autocast
from llm_core.train.preference_loss import preference_losses
from llm_core.train.prefetch import DeviceBatch, Prefetch
from llm_core.train.seeding import seed_step
from llm_core.train.spec import CHECKPOINTS, TrainerSpec, result_fields
from llm_core.train.state import full_weights
from llm_core.train.warm_start import first_step, load_start

NOISE_EVERY = 10
"""Steps between two measurements of a single micro-batch's gradient."""


def train(spec: TrainerSpec, world: World, stop: StopRequest, log: Callable[[str], None]) -> Progress:
    """Train to the last step, or to the end of the step in which a rank gets a request to stop. Collective.

    Resumes from the newest checkpoint in ``spec.work``, and writes checkpoints, ``metrics.jsonl`` and, at the end, the
    final weights there. Returns the progress: all ``spec.training.steps`` steps, unless stopped.
    """
    with explain_out_of_memory(spec, world):
        return _train(spec, world, stop, log)


def _train(spec: TrainerSpec, world: World, stop: StopRequest, log: Callable[[str], None]) -> Progress:
    training = spec.training
    data = open_data(spec, world.size)

    torch.manual_seed(spec.seed)
    model = build_model(spec.model, spec.vocab_size)
    model.z_loss, model.loss_clamp = training.z_loss, training.loss_clamp
    assert_master_weights(model)
    spread_model = spread(model, spec, world, log)
    optimizer = training.optimizer.build(model, world.device, training.precision)
    for line in describe_groups(optimizer):
        log(line)

    may_roll_back = training.guards.spike_action == "rollback"
    pinned = [*training.branch_points, *([first_step(spec)] if may_roll_back else [])]
    behind = training.guards.rollback_steps if may_roll_back else 0
    checkpoints = Checkpoints(spec.work / CHECKPOINTS, spec.keep, result_fields(spec), world, log, pinned, behind)
    guard = StepGuard(training.guards, world.device)
    callbacks = build_callbacks(spec)
    readback = MetricsReadback(world.device, world.device_type.synchronize, world.sum_dtype)
    run = Run(spec, world, data, model, optimizer, guard, readback, checkpoints, callbacks, Progress(), log)
    resumed = checkpoints.resume(model, optimizer)
    run.restore(resumed if resumed.callbacks else load_start(spec, world, model, optimizer))
    run.progress.callbacks = resumed.callbacks  # empty for a run that has just started
    log(f"step {run.progress.step} of {training.steps}, {world.size} rank(s) on {world.device.type}")

    while True:
        for callback in callbacks:
            with naming_callback(callback.name):
                callback.on_start(run)
        try:
            stopped = _steps(run, spread_model, stop)
            break
        except RollBackError as spike:
            _roll_back(run, checkpoints, spike.step)
    finished = run.progress.step == training.steps
    for callback in callbacks:
        with naming_callback(callback.name):
            callback.on_end(run, finished)
    assert finished or stopped
    if finished:
        weights = full_weights(model, keep=world.is_main)
        memory = world.largest(world.device_type.peak_memory(world.device))
        if world.is_main:
            write_final(spec, world, weights, memory)
    return run.progress


def _steps(run: Run, spread_model: nn.Module, stop: StopRequest) -> bool:
    """Run the remaining steps; returns whether a rank was asked to stop.

    On CUDA the host never waits for the newest step: the device decides whether a step is good, and the host decides
    on a stop or rollback from the metrics of earlier steps.
    """
    spec, world, training, progress = run.spec, run.world, run.spec.training, run.progress
    stopped = False
    with Prefetch(run.data.train, progress.step, training.steps, world) as batches:
        begin = run.readback.mark()
        for batch in batches:
            step = batch.step
            for callback in run.callbacks:
                with naming_callback(callback.name):
                    callback.before_step(run, batch)

            if bag_size(training, step) != bag_size(training, step - 1):
                run.guard.forget()  # losses of single tokens and of bags are not comparable
            share = training.schedule.share(step, training.steps)
            lr = training.optimizer.lr * share
            if run.guard.is_left_out(step + 1):
                loss = norm = torch.full((), math.nan, device=world.device)
                micro_square = None
                reason = torch.full((), float(LEFT_OUT), device=world.device)
            else:
                seed_step(spec.seed, step, world.rank)
                spread_model.train()  # a callback may have left it in evaluation mode
                loss, micro_square = _accumulate(spread_model, batch, spec, world, bag_size(training, step))
                loss = world.total(loss)
                norm = _gradient_norm(run.model, training.grad_clip)
                for callback in run.callbacks:
                    with naming_callback(callback.name):
                        callback.before_update(run)
                reason = run.guard.judge(loss, norm)
                set_schedule(run.optimizer, lr, share)
                _update(run.optimizer, reason != GOOD, world.device_type.skips_in_kernels)
                run.model.after_step(world.total, reason)
            end = run.readback.mark()

            progress.step, progress.data = step + 1, run.data.train.state(step + 1)
            tokens = tokens_before(training, progress.step)
            known = {"step": progress.step, "lr": lr, "tokens": tokens, "batch": batch.digest, "time": time.time()}
            known["step_tokens"] = tokens - tokens_before(training, step)
            measured = {"loss": loss, "grad_norm": norm, "reason": reason}
            if micro_square is not None:
                measured["micro_grad_norm"] = micro_square.sqrt()
            for callback in run.callbacks:
                with naming_callback(callback.name):
                    measured |= _new(callback.after_step(run), {*known, *measured})
            run.readback.put(known, measured, begin, end)
            run.publish_metrics(run.readback.ready())
            world.device_type.after_step()

            stopped = world.largest(stop.reason is not None) > 0
            last = progress.step == training.steps
            for callback in run.callbacks:
                with naming_callback(callback.name):
                    callback.end_step(run, stopping=stopped or last)
            if stopped:
                break
            begin = run.readback.mark()  # a step includes the wait for its batch
    return stopped


def _accumulate(
    model: nn.Module, batch: DeviceBatch, spec: TrainerSpec, world: World, bag: int
) -> tuple[Tensor, Tensor | None]:
    """Compute gradients of the mean objective over the whole batch, from this rank's rows. Returns this rank's part of
    the mean loss; and, at some steps, the squared norm of the mean gradient of a single micro-batch (the mean over the
    ranks). The noise scale follows from it and from the norm for the whole batch (``llm_core.science.gradient_noise``).

    Every target (or pair of answers) has the same weight, however the batch is split into ranks and micro-batches:
    losses are sums, divided by the number of targets (or pairs) in the whole batch. Ranks average their gradients, so
    the objective is multiplied by the world size. ``bag``: the number of tokens per position.
    """
    parts: tuple[Tensor, Tensor, Tensor] = (batch.inputs_BT, batch.targets_BT, batch.document_ids_BT)
    targets: Tensor | int = batch.targets
    if bag > 1:
        parts = bagged(*parts, bag)
        targets = world.total((parts[1] != IGNORED).sum())
    # The setting counts the longest sequences; a micro-batch of shorter ones has as many positions.
    micro_batch = spec.micro_batch * spec.training.sequence_length // parts[0].shape[1]
    starts = range(0, len(batch.inputs_BT), micro_batch)
    loss = torch.zeros((), device=world.device)
    # FSDP2 has the gradient of a micro-batch in no one place.
    noise_step = batch.step % NOISE_EVERY == 0 and len(starts) > 1 and spec.parallel != "fsdp2"
    micro_square = None
    for start in starts:
        rows = slice(start, start + micro_batch)
        with gradient_sync(model, last=start == starts[-1]):
            with autocast(spec.training.precision, world.device):
                losses = _losses(model, tuple(part[rows] for part in parts), batch.reference_BD, rows, spec)
            (losses.objective / targets * world.size).backward()
        loss += losses.cross_entropy.detach() / targets
        if noise_step and start == starts[0]:
            # The gradient is that of a share of the batch so far, and ranks will average it.
            gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
            square = nn.utils.get_total_norm(gradients) ** 2 * (len(batch.inputs_BT) / micro_batch) ** 2
            micro_square = world.total(square) / world.size
    return loss, micro_square


def _losses(
    model: nn.Module, parts: tuple[Tensor, ...], reference_BD: Tensor | None, rows: slice, spec: TrainerSpec
) -> Losses:
    """The sums of a micro-batch: over its targets, or over its pairs of answers."""
    if spec.training.dpo is None:
        losses: Losses = model(*parts)
        return losses
    assert reference_BD is not None
    return preference_losses(model, parts, reference_BD[rows], spec.training.dpo)


def _gradient_norm(model: nn.Module, clip: float | None) -> Tensor:
    """Clip all gradients to the norm ``clip``; returns their norm before."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def _new(metrics: dict[str, Tensor], taken: Collection[str]) -> dict[str, Tensor]:
    """The metrics that a callback adds to a step; ``ValueError`` when it would replace one."""
    if both := sorted(metrics.keys() & taken):
        raise ValueError(f"a step already has the metric {both[0]}: choose another name")
    return metrics


def _update(optimizer: torch.optim.Optimizer, skip: Tensor, in_kernels: bool) -> None:
    """One step of the optimiser. With ``skip`` (a bool on the device), weights, moments and step counts do not change.

    ``in_kernels``: optimisers check ``found_inf`` (1: skip) in their kernels, as for ``torch.amp.GradScaler``.
    Otherwise the host waits for ``skip``.
    """
    if in_kernels:
        optimizer.found_inf = skip.float()  # type: ignore[attr-defined]
    elif skip:
        optimizer.zero_grad(set_to_none=True)
        return
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _roll_back(run: Run, checkpoints: Checkpoints, spike: int) -> None:
    """Roll back to before the spike of step ``spike``, and leave out the batches that led to it.

    The steps left out do not depend on the checkpoints: they are the last ``rollback_steps`` steps up to the spike.
    Steps between the checkpoint and them are repeated.
    """
    left_out, rollbacks = run.guard.left_out, run.guard.rollbacks
    run.readback.forget()
    run.optimizer.zero_grad(set_to_none=True)
    target = max(first_step(run.spec), spike - run.spec.training.guards.rollback_steps)
    progress = checkpoints.resume(run.model, run.optimizer, at_most=target)
    if not progress.callbacks:
        raise PedigreeError(
            f"step {spike} was a spike, and there is no checkpoint of step {target} or earlier to roll back to: "
            f"remove {run.spec.work} and train again"
        )
    run.restore(progress)
    run.guard.left_out, run.guard.rollbacks = left_out, rollbacks
    run.guard.leave_out(spike)
    run.log(f"step {spike} was a spike: resuming after step {progress.step}, without steps {target + 1} to {spike}")
