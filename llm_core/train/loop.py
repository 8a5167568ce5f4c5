"""The training loop, from the first batch to the final weights."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from llm_core.errors import PedigreeError
from llm_core.model.build import build_model
from llm_core.registries import OPTIMIZERS, SCHEDULES
from llm_core.train.checkpoints import Checkpoints, Progress, full_weights
from llm_core.train.data import open_data
from llm_core.train.distribution import World, gradient_sync, spread
from llm_core.train.final import peak_memory, write_final
from llm_core.train.interruption import StopRequest
from llm_core.train.optimizers import describe_groups
from llm_core.train.precision import assert_master_weights, autocast
from llm_core.train.prefetch import Prefetch, Ready
from llm_core.train.records import Records
from llm_core.train.spec import CHECKPOINTS, TrainerSpec, result_fields
from llm_core.train.validation import validation_loss


def train(spec: TrainerSpec, world: World, stop: StopRequest, log: Callable[[str], None]) -> Progress:
    """Train to the end, or to the end of the step in which a rank was asked to stop. Collective.

    Goes on from the newest checkpoint in ``spec.work``, and writes checkpoints, ``metrics.jsonl`` and at the end the
    final weights there. Returns how far it came: all ``spec.training.steps``, unless stopped.
    """
    training = spec.training
    data = open_data(spec, world.size)

    torch.manual_seed(spec.seed)
    model = build_model(spec.model, spec.vocab_size)
    assert_master_weights(model)
    spread_model = spread(model, world, spec.parallel, spec.compile, spec.activation_checkpointing)
    optimizer = OPTIMIZERS.load(training.optimizer.kind)(model, training.optimizer, world.device)
    schedule = SCHEDULES.load(training.schedule.kind)
    for line in describe_groups(optimizer):
        log(line)

    checkpoints = Checkpoints(spec.work / CHECKPOINTS, spec.keep_checkpoints, result_fields(spec), world, log)
    progress = checkpoints.resume(model, optimizer)
    if progress.step:
        data.train.restore(progress.data)
    records = Records(spec, world.is_main, progress.step)
    log(f"step {progress.step} of {training.steps}, {world.size} rank(s) on {world.device.type}")

    with Prefetch(data.train, progress.step, training.steps, world) as batches:
        started = time.perf_counter()
        for batch in batches:
            step = batch.step
            loss = world.total(_accumulate(spread_model, batch, spec, world))
            norm = _gradient_norm(model, training.grad_clip)
            lr = training.optimizer.lr * schedule(step, training.steps, training.schedule)
            # The one place where the host waits for the device: whether the step is good is decided here, once for
            # all ranks (both figures are the same everywhere), so that a bad one reaches neither weights nor moments
            # nor the optimiser's step count.
            loss_value, norm_value = torch.stack([loss, norm]).tolist()
            good = math.isfinite(loss_value) and math.isfinite(norm_value)
            if good:
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seconds = time.perf_counter() - started

            progress.step, progress.data = step + 1, data.train.state(step + 1)
            progress.skipped += not good
            progress.bad_in_a_row = 0 if good else progress.bad_in_a_row + 1
            last = progress.step == training.steps
            figures: dict[str, Any] = {
                "step": progress.step,
                "loss": loss_value,
                "lr": lr,
                "grad_norm": norm_value,
                "tokens": progress.step * training.batch_tokens,
                "seconds": seconds,
                "tokens_per_second": training.batch_tokens / seconds,
                "skipped": not good,
                "batch": batch.digest,
                "time": time.time(),
            }
            if last or progress.step % training.validate_every == 0:
                figures["validation_loss"] = validation_loss(model, data.heldout, spec, world)
            records.append(figures)
            if progress.bad_in_a_row >= training.max_bad_steps:
                raise PedigreeError(
                    f"step {progress.step}: the loss or its gradient was not finite in {progress.bad_in_a_row} steps "
                    "in a row (training.max_bad_steps); lower training.optimizer.lr or lengthen the warm-up"
                )
            stopped = world.largest(stop.reason is not None) > 0
            if last or stopped or progress.step % spec.checkpoint_every == 0:
                records.sync()
                checkpoints.save(model, optimizer, progress)
            if stopped and not last:
                records.close(finished=False)
                return progress
            started = time.perf_counter()  # waiting for the next batch belongs to its step

    weights = full_weights(model, keep=world.is_main)
    memory = world.largest(peak_memory(world.device))
    if world.is_main:
        write_final(spec, world, weights, memory)
    records.close(finished=True)
    return progress


def _accumulate(model: nn.Module, batch: Ready, spec: TrainerSpec, world: World) -> Tensor:
    """Gradients of the mean loss over the whole batch, from this rank's rows; returns this rank's part of that loss.

    Each target counts the same, however the batch is cut into ranks and micro-batches: losses are sums, divided by the
    number of targets of the whole batch. Ranks average their gradients where a sum is wanted: hence the world size.
    """
    # A micro-batch is so many of the longest sequences, or as many tokens in shorter ones.
    micro_batch = spec.micro_batch * spec.training.sequence_length // batch.inputs_BT.shape[1]
    starts = range(0, len(batch.inputs_BT), micro_batch)
    loss = torch.zeros((), device=world.device)
    for start in starts:
        rows = slice(start, start + micro_batch)
        with gradient_sync(model, last=start == starts[-1]):
            with autocast(spec.training.precision, world.device):
                part = model(batch.inputs_BT[rows], batch.targets_BT[rows], batch.document_ids_BT[rows])
                part = part / batch.targets
            (part * world.size).backward()
        loss += part.detach()
    return loss


def _gradient_norm(model: nn.Module, clip: float | None) -> Tensor:
    """The norm of all gradients (before clipping), which are then scaled to at most ``clip``."""
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if clip is None else clip)
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
