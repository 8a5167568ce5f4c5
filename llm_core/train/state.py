"""The state of a run as named tensors, and which rows of each a rank holds, writes and reads.

Names are ``weights/blocks.0.norm.weight`` and ``optimizer/blocks.0.norm.weight/exp_avg``. Every tensor is cut along its
first dimension, as FSDP2 cuts parameters: what FSDP2 shards is written as it lies, and what every rank has whole (DDP)
is shared out in the same way. So each rank writes about the same number of bytes, and any number of ranks can read it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

_WEIGHTS, _OPTIMIZER = "weights/", "optimizer/"
_WHOLE_BYTES = 1 << 20
"""Tensors up to this size that every rank has whole are written by one of them, in turns."""


class Piece(NamedTuple):
    """Rows from ``start`` on of the tensor ``name``, which is of ``shape`` as a whole."""

    name: str
    shape: tuple[int, ...]
    start: int
    rows: Tensor
    """Of the whole tensor's dimensions but the first; a scalar is its own only row."""


class Stored(Protocol):
    """Where a state is read from."""

    def names(self) -> Iterable[str]:
        """All tensors there are."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the whole tensor."""

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows of a tensor that has dimensions."""

    def scalar(self, name: str) -> Tensor:
        """A tensor that has none."""


def rows_of(rows: int, rank: int, world_size: int) -> tuple[int, int]:
    """First and last (excluded) of ``rows`` rows that belong to a rank, as FSDP2 and ``torch.chunk`` cut them."""
    chunk = -(-rows // world_size)
    return min(rank * chunk, rows), min((rank + 1) * chunk, rows)


def pieces(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int, world_size: int) -> list[Piece]:
    """What ``rank`` writes of the weights and the optimiser's state; all ranks together write everything once.

    The rows are those in use, not copies. Parameters that were never stepped have no state.
    """
    found = []
    for number, (name, tensor) in enumerate(_state(model, optimizer)):
        whole, start = tensor.detach(), 0
        if _is_sharded(tensor):
            start, stop = rows_of(len(tensor), rank, world_size)
            rows = tensor.to_local().detach()
            assert len(rows) == stop - start, f"{name}: rank {rank} has {len(rows)} rows instead of {stop - start}"
        elif tensor.ndim and tensor.nbytes > _WHOLE_BYTES:
            start, stop = rows_of(len(tensor), rank, world_size)
            rows = whole[start:stop]
        elif number % world_size == rank:
            rows = whole
        else:
            continue
        if rows.numel():
            found.append(Piece(name, tuple(tensor.shape), start, rows))
    return found


def full_weights(model: nn.Module, keep: bool) -> dict[str, Tensor]:
    """Name → whole weight on the CPU; nothing for a rank that does not ``keep`` them. Collective.

    The other ranks take part, but hold no more than one tensor at a time.
    """
    whole = {}
    for name, tensor in model.state_dict().items():
        gathered = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            whole[name] = gathered.detach().cpu()
    return whole


@torch.no_grad()
def load_weights(stored: Stored, model: nn.Module) -> None:
    """Fill ``model``'s weights, each rank its own part. ``ValueError`` names tensors that do not fit."""
    targets = model.state_dict()
    names = {name.removeprefix(_WEIGHTS) for name in stored.names() if name.startswith(_WEIGHTS)}
    if different := sorted(targets.keys() ^ names):
        raise ValueError(f"the weights are not those of this model; missing or unknown: {', '.join(different[:5])}")
    for name, target in targets.items():
        local = target.to_local() if isinstance(target, DTensor) else target
        if stored.shape(_WEIGHTS + name) != target.shape:
            there = stored.shape(_WEIGHTS + name)
            raise ValueError(f"the weights are not those of this model: {name} is {there}, not {tuple(target.shape)}")
        local.copy_(_local_rows(stored, _WEIGHTS + name, target))


def not_finite(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> str | None:
    """The first tensor of the state that holds NaN or infinity in this rank's part of it."""
    return next((name for name, tensor in _state(model, optimizer) if not all_finite(tensor)), None)


@torch.no_grad()
def all_finite(tensor: Tensor) -> bool:
    """Whether this rank's part of ``tensor`` holds neither NaN nor infinity."""
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    # Smallest and largest number: a mask would be as large as the tensor.
    return not local.numel() or all(bool(bound.isfinite()) for bound in local.aminmax())


def load_optimizer(stored: Stored, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Set the optimiser's state, each rank its own part; its settings (``param_groups``) stay as they are."""
    keys: dict[str, list[str]] = {}
    for stored_name in stored.names():
        if stored_name.startswith(_OPTIMIZER):
            name, key = stored_name.removeprefix(_OPTIMIZER).rsplit("/", 1)
            keys.setdefault(name, []).append(key)
    names = {parameter: name for name, parameter in model.named_parameters()}
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        number: {
            key: _local_state(stored, f"{_OPTIMIZER}{names[parameter]}/{key}", parameter)
            for key in keys[names[parameter]]
        }
        for number, parameter in enumerate(ordered)
        if names[parameter] in keys
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _state(model: nn.Module, optimizer: torch.optim.Optimizer | None) -> Iterable[tuple[str, Tensor]]:
    for name, tensor in model.state_dict().items():
        yield _WEIGHTS + name, tensor
    if optimizer is None:
        return
    for name, parameter in model.named_parameters():
        state: Mapping[str, Tensor] = optimizer.state.get(parameter, {})
        for key, value in sorted(state.items()):
            yield f"{_OPTIMIZER}{name}/{key}", value


def _is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    if not isinstance(tensor, DTensor) or not any(placement.is_shard() for placement in tensor.placements):
        return False
    assert tensor.placements == (Shard(0),), f"only rows are sharded here, and this is {tensor.placements}"
    return True


def _local_rows(stored: Stored, name: str, like: Tensor) -> Tensor:
    """What this rank holds of the stored tensor, on the CPU, where it is laid out as ``like``."""
    shape = stored.shape(name)
    if not shape:
        return stored.scalar(name)
    if _is_sharded(like) and like.shape == shape:
        mesh = like.device_mesh
        return stored.rows(name, *rows_of(shape[0], mesh.get_local_rank(), mesh.size()))
    return stored.rows(name, 0, shape[0])


def _local_state(stored: Stored, name: str, parameter: Tensor) -> Tensor:
    """A part of the optimiser's state, sharded as ``parameter`` is where it has its shape."""
    # A copy also on the CPU, where the rows may still be a view of the file.
    local = _local_rows(stored, name, parameter).to(parameter.device, copy=True)
    if not (_is_sharded(parameter) and stored.shape(name) == parameter.shape):
        return local
    return DTensor.from_local(
        local,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
