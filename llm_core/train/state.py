"""The state of a run as named tensors, and the rows of each tensor that a rank writes and reads.

Names are ``weights/blocks.0.norm.weight`` and ``optimizer/blocks.0.norm.weight/exp_avg``. Every tensor is split along
its first dimension, as FSDP2 splits parameters. A rank writes its own FSDP2 shard; tensors that all ranks have (DDP)
are split in the same way. So ranks write about equally many bytes, and any number of ranks can read them.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard

_WEIGHTS, _OPTIMIZER = "weights/", "optimizer/"
_WHOLE_BYTES = 1 << 20
"""Tensors up to this size are not split: of those that all ranks have, each rank writes some."""


class Piece(NamedTuple):
    """Rows of the tensor ``name``, from ``start`` on. ``shape``: of the whole tensor."""

    name: str
    shape: tuple[int, ...]
    start: int
    rows: Tensor
    """The first dimension has the rows of this piece; a scalar is one row."""


class Stored(Protocol):
    """A source of tensors."""

    def names(self) -> Iterable[str]:
        """The names of all tensors."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the whole tensor."""

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop`` (excluded) of a tensor."""

    def scalar(self, name: str) -> Tensor:
        """A 0-d tensor."""


def rows_of(rows: int, rank: int, world_size: int) -> tuple[int, int]:
    """The first and last (excluded) row of a rank's share of ``rows``, as FSDP2 and ``torch.chunk`` split them."""
    chunk = -(-rows // world_size)
    return min(rank * chunk, rows), min((rank + 1) * chunk, rows)


def pieces(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int, world_size: int) -> list[Piece]:
    """The pieces of weights and optimiser state that ``rank`` writes. All ranks together write everything once.

    Rows are not copied. Parameters that were never updated have no optimiser state.
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
    """Name → whole weight on the CPU; empty on ranks without ``keep``. Collective.

    Those ranks have at most one whole tensor at a time.
    """
    whole = {}
    for name, tensor in model.state_dict().items():
        gathered = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            whole[name] = gathered.detach().cpu()
    return whole


@torch.no_grad()
def load_weights(stored: Stored, model: nn.Module) -> None:
    """Load the weights of ``model``; each rank loads its part. ``ValueError`` names tensors that do not fit."""
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
    """The first tensor of the state with NaN or infinity in this rank's part."""
    return next((name for name, tensor in _state(model, optimizer) if not all_finite(tensor)), None)


@torch.no_grad()
def all_finite(tensor: Tensor) -> bool:
    """Whether this rank's part of ``tensor`` has neither NaN nor infinity."""
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    # The smallest and largest value suffice; a mask would be as large as the tensor.
    return not local.numel() or all(bool(bound.isfinite()) for bound in local.aminmax())


def load_optimizer(stored: Stored, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load the optimiser's state; each rank loads its part. Its settings (``param_groups``) do not change."""
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
    """This rank's part of the stored tensor, on the CPU, sharded as ``like``."""
    shape = stored.shape(name)
    if not shape:
        return stored.scalar(name)
    if _is_sharded(like) and like.shape == shape:
        mesh = like.device_mesh
        return stored.rows(name, *rows_of(shape[0], mesh.get_local_rank(), mesh.size()))
    return stored.rows(name, 0, shape[0])


def _local_state(stored: Stored, name: str, parameter: Tensor) -> Tensor:
    """A tensor of the optimiser's state; sharded as ``parameter`` if it has the same shape."""
    # Copy on the CPU, too: the rows may be a view of the file.
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
