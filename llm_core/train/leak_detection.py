"""The leak probe: before training, change tokens that must not matter, and check that they do not."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from llm_core.runtime_only import runtime_only
from llm_core.tokens.loader import IGNORED
from llm_core.train.precision import autocast

TOLERANCE = {"fp32": 1e-3, "bf16": 2e-2}
"""The largest change of a state, relative to its norm, that rounding alone can cause. Masked tokens add nothing, but
kernels may split their work differently for other numbers."""
ROWS = 8
"""Sequences of the probe: the original and its changed versions."""


class Leak(NamedTuple):
    """Position ``reader`` of row ``row`` depends on hidden tokens: some in ``changed`` (first and last position)."""

    row: int
    reader: int
    changed: tuple[int, int]
    what: str
    size: float
    """The change of the reader's state, relative to its norm."""


class NotFiniteError(ValueError):
    """The state at ``position`` of row ``row`` is not finite, so the probe can't decide about leaks."""

    def __init__(self, row: int, position: int) -> None:
        super().__init__(row, position)
        self.row, self.position = row, position


class _Change(NamedTuple):
    changed_T: Tensor  # noqa: N815
    readers_T: Tensor  # noqa: N815
    what: str


def shifted_wrongly(inputs_BT: Tensor, targets_BT: Tensor, document_ids_BT: Tensor) -> tuple[int, int] | None:
    """(row, position) of a target that is not the next input of the same document. None when all are right."""
    same_BT = (document_ids_BT[:, 1:] == document_ids_BT[:, :-1]) & (document_ids_BT[:, 1:] >= 0)
    same_BT &= targets_BT[:, :-1] != IGNORED
    wrong = torch.nonzero(same_BT & (inputs_BT[:, 1:] != targets_BT[:, :-1]))
    return (int(wrong[0, 0]), int(wrong[0, 1])) if len(wrong) else None


@torch.no_grad()
def find_leak(
    model: nn.Module,
    inputs_BT: Tensor,
    targets_BT: Tensor,
    document_ids_BT: Tensor,
    *,
    vocab_size: int,
    document_mask: bool,
    precision: str,
    micro_batch: int,
    routed: bool = False,
) -> Leak | None:
    """The worst leak in one row of a batch: from later tokens, and with ``document_mask`` also from other documents.

    The probe takes the row with the most documents. It runs the row once as it is, and several times with other tokens
    at positions that the readers must not see. The readers' states before the head (after ``model.norm``) must stay the
    same. The model runs in evaluation mode, always the same number of times, on ``micro_batch`` rows at once. The
    global random generators stay as they are.

    ``routed``: tokens choose experts, and rounding alone can change a choice. Then the model runs in fp32, and a leak
    counts only if every change of its kind shows one. ``precision`` fp8: it also runs in fp32, because the scale of a
    tensor depends on all of its numbers, hidden ones included.

    Raises ``NotFiniteError`` when a state is not finite.
    """
    widened = routed or precision == "fp8"
    precision = "fp32" if widened else precision
    row = _richest(document_ids_BT) if document_mask else 0
    tokens_T, ids_T = inputs_BT[row], document_ids_BT[row]
    if document_mask and len(ids_T[ids_T >= 0].unique()) < 2:  # the row is one document: cut it in two
        later_T = torch.arange(len(ids_T), device=ids_T.device) >= len(ids_T) // 3
        ids_T = torch.where(later_T & (ids_T >= 0), 1, ids_T)
    changes = _changes(ids_T, document_mask)
    generator = torch.Generator().manual_seed(row)
    others_T = torch.randint(1, vocab_size, (len(tokens_T),), generator=generator).to(tokens_T.device)
    variants = [torch.where(change.changed_T, (tokens_T + others_T) % vocab_size, tokens_T) for change in changes]
    rows_RT = torch.stack([tokens_T, *variants])
    with _in_fp32(model) if widened else nullcontext():
        states_RTD = _states(model, rows_RT, targets_BT[row], ids_T, precision, micro_batch)
    # The states of padding do not matter.
    broken = torch.nonzero(~states_RTD.isfinite().all(-1) & (ids_T >= 0))
    if len(broken):
        raise NotFiniteError(row, int(broken[0, 1]))
    size_T = states_RTD[0].norm(dim=-1).clamp_min(1e-12)
    leaks = []
    for change, state_TD in zip(changes, states_RTD[1:], strict=True):
        moved_T = (state_TD - states_RTD[0]).norm(dim=-1) / size_T
        moved_T = torch.where(change.readers_T & moved_T.isfinite(), moved_T, 0.0)
        reader = int(moved_T.argmax())
        found = float(moved_T[reader])
        if found > TOLERANCE[precision]:
            places = torch.nonzero(change.changed_T)
            leaks.append(Leak(row, reader, (int(places[0]), int(places[-1])), change.what, found))
    if routed:
        made, seen = Counter(change.what for change in changes), Counter(leak.what for leak in leaks)
        leaks = [leak for leak in leaks if seen[leak.what] == made[leak.what]]
    return max(leaks, key=lambda leak: leak.size, default=None)


def _richest(document_ids_BT: Tensor) -> int:
    """The row with the most documents."""
    borders_B = (document_ids_BT[:, 1:] != document_ids_BT[:, :-1]).sum(1)
    return int(borders_B.argmax())


def _changes(ids_T: Tensor, document_mask: bool) -> list[_Change]:
    """``ROWS`` − 1 changes for any row, because all ranks must run the model equally often."""
    T = len(ids_T)
    places_T = torch.arange(T, device=ids_T.device)
    cuts = [0, 1, T // 2, max(0, T - 2)]
    changes = [_Change(places_T > cut, places_T <= cut, "later tokens") for cut in cuts]
    documents = ids_T[ids_T >= 0].unique().tolist() if document_mask else []
    # The second one (a whole document comes before it), one in the middle, the last.
    chosen = [documents[number] for number in (1, len(documents) // 2, -1)] if len(documents) > 1 else []
    changes += [_Change(ids_T != document, ids_T == document, "other documents") for document in chosen]
    while len(changes) < ROWS - 1:
        cut = T * len(changes) // ROWS
        changes.append(_Change(places_T > cut, places_T <= cut, "later tokens"))
    return changes


@runtime_only("reads what the probe compares")
def _states(
    model: nn.Module, rows_RT: Tensor, targets_T: Tensor, ids_T: Tensor, precision: str, micro_batch: int
) -> Tensor:
    """fp32 states (R, T, D) before the head. Micro-batches are filled up to the shape of those in training."""
    seen: list[Tensor] = []
    norm = model.get_submodule("norm")
    handle = norm.register_forward_hook(lambda _module, _inputs, output: seen.append(output.float()))
    training = model.training
    model.eval()
    try:
        for start in range(0, len(rows_RT), micro_batch):
            rows_bT = rows_RT[start : start + micro_batch]
            filled = torch.cat([rows_bT, rows_RT[:1].expand(micro_batch - len(rows_bT), -1)])
            shape = (micro_batch, -1)
            with autocast(precision, rows_RT.device):
                model(filled, targets_T.expand(shape), ids_T.expand(shape))
            seen[-1] = seen[-1][: len(rows_bT)]
    finally:
        handle.remove()
        model.train(training)
    return torch.cat(seen)


@contextmanager
def _in_fp32(model: nn.Module) -> Iterator[None]:
    """Inside, all linear layers multiply in fp32, also those that FSDP2 gathers in bf16 and those for fp8."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    before = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        layer.forward = _widened(layer)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for layer, forward in zip(layers, before, strict=True):
            del layer.forward
            if forward is not None:
                layer.forward = forward  # type: ignore[method-assign]


def _widened(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        bias = None if layer.bias is None else layer.bias.float()
        return functional.linear(x.float(), layer.weight.float(), bias)

    return forward
