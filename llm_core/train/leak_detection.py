"""Does anything leak? Asked before training, by changing what must not matter and looking whether it does."""

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
"""How much a state may change, relative to its norm, by rounding alone: what is masked adds nothing, but kernels may
cut their work otherwise when other numbers come along."""
ROWS = 8
"""Sequences of the probe: the original, and those that are changed."""


class Leak(NamedTuple):
    """Position ``reader`` of row ``row`` sees what it must not: something in ``changed`` (first and last position)."""

    row: int
    reader: int
    changed: tuple[int, int]
    what: str
    size: float
    """How much the state of the reader changed, relative to its norm."""


class NotFiniteError(ValueError):
    """The state at ``position`` of row ``row`` is not finite, so that nothing can be said about leaks."""

    def __init__(self, row: int, position: int) -> None:
        super().__init__(row, position)
        self.row, self.position = row, position


class _Change(NamedTuple):
    changed_T: Tensor  # noqa: N815
    readers_T: Tensor  # noqa: N815
    what: str


def shifted_wrongly(inputs_BT: Tensor, targets_BT: Tensor, document_ids_BT: Tensor) -> tuple[int, int] | None:
    """(row, position) of a target that is not the input after it, in the same document; None where all are right."""
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
    """The worst leak in one row of a batch: from later tokens, and with ``document_mask`` from other documents.

    The row with the most documents is run once as it is, and several times with other tokens where the readers must
    not look; their states before the head must stay the same. ``model.norm`` is the norm before the head. Runs the
    model in evaluation mode, always the same number of times, on ``micro_batch`` rows at once; no global random number
    is drawn.

    ``routed``: tokens choose experts, and rounding alone can make a token choose another one. Then the model runs in
    fp32, and a leak counts where every change of its kind shows one. ``precision`` fp8: it runs in fp32, too, since the
    scale of a tensor follows from all of its numbers, those that must not matter among them.

    Raises ``NotFiniteError`` where a state is not finite.
    """
    widened = routed or precision == "fp8"
    precision = "fp32" if widened else precision
    row = _richest(document_ids_BT) if document_mask else 0
    tokens_T, ids_T = inputs_BT[row], document_ids_BT[row]
    if document_mask and len(ids_T[ids_T >= 0].unique()) < 2:  # the row holds one document: cut it in two
        later_T = torch.arange(len(ids_T), device=ids_T.device) >= len(ids_T) // 3
        ids_T = torch.where(later_T & (ids_T >= 0), 1, ids_T)
    changes = _changes(ids_T, document_mask)
    generator = torch.Generator().manual_seed(row)
    others_T = torch.randint(1, vocab_size, (len(tokens_T),), generator=generator).to(tokens_T.device)
    variants = [torch.where(change.changed_T, (tokens_T + others_T) % vocab_size, tokens_T) for change in changes]
    rows_RT = torch.stack([tokens_T, *variants])
    with _in_fp32(model) if widened else nullcontext():
        states_RTD = _states(model, rows_RT, targets_BT[row], ids_T, precision, micro_batch)
    # Of padding, nothing is asked.
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
    """``ROWS`` − 1 changes, whatever the row holds: ranks must run the model equally often."""
    T = len(ids_T)
    places_T = torch.arange(T, device=ids_T.device)
    cuts = [0, 1, T // 2, max(0, T - 2)]
    changes = [_Change(places_T > cut, places_T <= cut, "later tokens") for cut in cuts]
    documents = ids_T[ids_T >= 0].unique().tolist() if document_mask else []
    # The second one (what comes before it is a whole document), one in the middle, the last.
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
    """fp32 states (R, T, D) before the head. Micro-batches are filled up, so that all have the shape of training's."""
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
    """Linear layers multiply in fp32: also those whose weights FSDP2 gathers in bf16, and those made for fp8."""
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
