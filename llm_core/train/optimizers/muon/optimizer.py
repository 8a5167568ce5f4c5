"""One optimiser: Muon for matrices, AdamW for all other parameters."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.functional import normalize
from torch.optim.adamw import adamw

from llm_core.train.optimizers.muon.orthogonalization import Quintic, orthogonalised, polynomials
from llm_core.train.optimizers.muon.spec import Muon as MuonSpec
from llm_core.train.parameter_groups import parameter_groups

MAX_BATCH_NUMBERS = 1 << 26
"""The most numbers to orthogonalise together on a rank: 128 MB in bf16, 256 MB in fp32, and about five times as much
during the iterations."""


def muon(spec: MuonSpec, model: nn.Module, precision: str) -> torch.optim.Optimizer:
    """Muon on the matrices of ``model``, AdamW on its embeddings, head and vectors.

    ``precision``: of the run. With "fp32", the products of the iterations are in fp32, otherwise in bf16.
    """
    groups = parameter_groups(model, spec, "AdamW", {"matrices": ("Muon", spec.lr_ratio)})
    for group in groups:
        if group["rule"] == "Muon":
            group["momentum"] = spec.momentum
            if spec.lowest_momentum is not None:
                group["scheduled"]["momentum"] = (spec.lowest_momentum, spec.momentum)
        else:
            group.update({"betas": spec.betas, "eps": spec.eps, **group}, fused=True)
    fused = [(module, getattr(module, "fused", {})) for module in model.modules()]
    parts = {module.get_parameter(name): sizes for module, maps in fused for name, sizes in maps.items()}
    return Muon(groups, spec, parts, torch.float32 if precision == "fp32" else torch.bfloat16)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum (Jordan et al., 2024) for the groups with the rule ``Muon``; AdamW for the others.

    - The momentum is a running mean of gradients; ``nesterov`` uses the mean one step ahead.
    - Iterations bring all singular values of the momentum near 1 (``orthogonalised``).
      Matrices of equal shape form one batch; experts, (E, in, out), are E matrices. ``products``: the dtype of the
      iterations.
    - ``parts``: matrices that fuse several maps of one input → the numbers of outputs of each map. Each map is
      orthogonalised separately: queries and values, or gates and what they gate, need not be orthogonal.
    - ``adjust``: "match_rms_adamw" (Liu et al., 2025) scales an update by 0.2·sqrt(max(rows, columns)). Its root mean
      square is then about that of AdamW's updates, so learning rate and weight decay can be AdamW's. "original" scales
      by sqrt(max(1, outputs / inputs)).
    - ``neuron_beta2`` (NorMuon, Li et al., 2025) divides each row of a tall orthogonalised matrix by the root of a
      running mean of the row's mean square; the matrix then gets the norm of an orthogonal one. Of a wide matrix it
      divides the columns (as nanochat does; Karpathy, 2026): the rows of an orthogonal one have equal norms already.
    - Weight decay is decoupled: weights shrink by lr · weight_decay; with ``cautious_weight_decay`` (Chen et al., 2025)
      only those that the update moves towards 0.

    Ranks share the matrices of a batch, and gather the updates: each is computed once, and is equal on all ranks.
    Matrices that FSDP2 shards are gathered first, one batch at a time.

    When the attribute ``found_inf`` (a 0-d tensor) is 1, ``step`` does not change weights, moments and step counts. It
    does not wait for the device. ``torch.amp.GradScaler`` expects the same of fused optimisers.
    """

    found_inf: Tensor | None = None

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        spec: MuonSpec,
        parts: dict[nn.Parameter, tuple[int, ...]],
        products: torch.dtype,
    ) -> None:
        super().__init__(groups, {"lr": spec.lr})
        self._spec, self._parts, self._products = spec, parts, products
        self._iterations = polynomials(spec.orthogonalization, spec.steps)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            (self._muon if group["rule"] == "Muon" else self._adamw)(group)

    def _adamw(self, group: dict[str, Any]) -> None:
        stepped: list[Any] = [parameter for parameter in group["params"] if parameter.grad is not None]
        gradients = [_local(parameter.grad) for parameter in stepped]
        for parameter in stepped:
            if not self.state[parameter]:
                self.state[parameter].update(
                    step=torch.zeros((), device=parameter.device),
                    exp_avg=torch.zeros_like(parameter),
                    exp_avg_sq=torch.zeros_like(parameter),
                )
        states = [self.state[parameter] for parameter in stepped]
        adamw(
            [_local(parameter) for parameter in stepped],
            gradients,
            [_local(state["exp_avg"]) for state in states],
            [_local(state["exp_avg_sq"]) for state in states],
            [],
            [state["step"] for state in states],
            fused=group["fused"],
            found_inf=self.found_inf,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _muon(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[torch.Size, tuple[int, ...]], list[Any]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                parts = self._parts.get(parameter, (parameter.shape[_outputs(parameter.shape)],))
                alike.setdefault((parameter.shape, parts), []).append(parameter)
        for (shape, parts), parameters in alike.items():
            count = max(1, MAX_BATCH_NUMBERS // shape.numel()) * _world_size()
            for first in range(0, len(parameters), count):
                self._muon_batch(parameters[first : first + count], parts, group)

    def _muon_batch(self, parameters: list[Any], parts: tuple[int, ...], group: dict[str, Any]) -> None:
        """Update parameters of one shape."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
                if self._spec.neuron_beta2 is not None:
                    self.state[parameter]["mean_squares"] = _zeros_per_line(parameter, parts)
        gradients = torch.stack([_local(parameter.grad) for parameter in parameters])
        buffers = [_local(self.state[parameter]["momentum_buffer"]) for parameter in parameters]
        momenta = torch.stack(buffers).lerp_(gradients, 1 - group["momentum"])
        updates = gradients.lerp_(momenta, group["momentum"]) if self._spec.nesterov else momenta
        directions = self._directions(updates.to(self._products), parameters, parts)
        lr, decay = group["lr"], group["lr"] * group["weight_decay"]
        for parameter, buffer, momentum, direction in zip(parameters, buffers, momenta, directions, strict=True):
            weight = _local(parameter)
            if self._spec.cautious_weight_decay:
                kept = weight - weight * (direction * weight > 0) * decay
            else:
                kept = weight * (1 - decay)
            self._put(weight, kept - direction * lr)
            self._put(buffer, momentum)

    def _put(self, target: Tensor, value: Tensor) -> None:
        target.copy_(value if self.found_inf is None else torch.where(self.found_inf > 0, target, value))

    def _directions(self, updates: Tensor, parameters: list[Tensor], parts: tuple[int, ...]) -> list[Tensor]:
        """The orthogonalised and scaled update of every parameter; this rank's part of it."""
        whole = torch.stack([_whole(update, like) for update, like in zip(updates, parameters, strict=True)])
        dim = _outputs(parameters[0].shape)
        along = -3 - dim  # a row, the weights of one output: the other one of the last two dimensions
        directions = []
        for part in whole.split(parts, dim=dim):
            even = normalize(part, dim=along) if self._spec.equal_rows else part
            orthogonal = _distributed(even.flatten(0, -3), self._iterations).view_as(part)
            directions.append(orthogonal.float())
        if self._spec.neuron_beta2 is not None:
            directions = self._normalised(directions, parameters, along, self._spec.neuron_beta2)
        scaled = [part * _adjustment(self._spec.adjust, part.shape[1:]) for part in directions]
        joined = torch.cat(scaled, dim=dim)
        return [_part(direction, like) for direction, like in zip(joined, parameters, strict=True)]

    def _normalised(self, directions: list[Tensor], parameters: list[Tensor], along: int, beta2: float) -> list[Tensor]:
        """The parts of orthogonalised matrices with rows or columns of about equal size (NorMuon); updates the mean
        squares. ``along``: a row."""
        old = [self.state[parameter]["mean_squares"] for parameter in parameters]
        dims = [along if part.shape[along] <= part.shape[-3 - along] else -3 - along for part in directions]
        squares = [part.square().mean(dim=dim) for part, dim in zip(directions, dims, strict=True)]
        new = torch.stack(old).lerp(torch.cat(squares, dim=-1), 1 - beta2)
        for target, value in zip(old, new, strict=True):
            self._put(target, value)
        normalised = []
        roots = new.sqrt().clamp(min=1e-8).split([part.shape[-1] for part in squares], dim=-1)
        for part, root, dim in zip(directions, roots, dims, strict=True):
            even = part / root.unsqueeze(dim)
            norm = torch.linalg.vector_norm(even, dim=(-2, -1), keepdim=True).clamp(min=1e-8)
            normalised.append(even * (math.sqrt(min(part.shape[-2:])) / norm))
        return normalised


def _distributed(matrices: Tensor, iterations: Sequence[Quintic]) -> Tensor:
    """``orthogonalised``: every rank computes its share, and gets all results."""
    size = _world_size()
    if size == 1:
        return orthogonalised(matrices, iterations)
    count, rank = -(-len(matrices) // size), dist.get_rank()
    mine = matrices[rank * count : (rank + 1) * count]
    own = matrices.new_zeros(count, *matrices.shape[1:])
    own[: len(mine)] = orthogonalised(mine, iterations)
    gathered = matrices.new_empty(size * count, *matrices.shape[1:])
    dist.all_gather_into_tensor(gathered, own)
    return gathered[: len(matrices)]


def _adjustment(adjust: str, shape: torch.Size) -> float:
    """The factor of an update, in addition to the learning rate."""
    if adjust == "match_rms_adamw":
        return 0.2 * math.sqrt(max(shape[-2:]))
    outputs = shape[_outputs(shape)]
    inputs = math.prod(shape[-2:]) / outputs
    return math.sqrt(max(1.0, outputs / inputs))


def _outputs(shape: torch.Size) -> int:
    """The output dimension of a parameter: linear maps are (out, in), experts (E, in, out)."""
    return -2 if len(shape) == 2 else -1


def _zeros_per_line(parameter: Tensor, parts: tuple[int, ...]) -> Tensor:
    """A number for each row of the tall parts and each column of the wide ones. All ranks have all of them: they see
    the whole updates."""
    inputs = parameter.shape[-3 - _outputs(parameter.shape)]
    return _local(parameter).new_zeros(*parameter.shape[:-2], sum(max(outputs, inputs) for outputs in parts))


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _local(tensor: Tensor) -> Tensor:
    """This rank's part of ``tensor``."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(local: Tensor, like: Tensor) -> Tensor:
    """The whole tensor of which ``local`` is this rank's part, sharded as ``like``. Collective if sharded."""
    if not isinstance(like, DTensor):
        return local
    sharded = DTensor.from_local(
        local, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )
    return sharded.full_tensor()


def _part(whole: Tensor, like: Tensor) -> Tensor:
    """This rank's part of ``whole``, sharded as ``like``."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole, like.device_mesh, like.placements, src_data_rank=None).to_local()
