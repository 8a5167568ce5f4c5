"""Our checkpoints beside ``torch.distributed.checkpoint``: time, size, pickle, and loading on another number of ranks.

``python -m benchmarks.checkpoint_writer [MILLIONS] [--rounds 3]`` shards a model of so many million parameters (100)
and AdamW's moments over two gloo ranks with FSDP2, saves them by both in turns, and loads them on two ranks and on one.
It prints the tables of ``docs/results/checkpoint_writer.md``.
"""

import argparse
import os
import pickletools
import shutil
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from llm_core.experiment.runtime import KeepSpec
from llm_core.train.checkpoints import Checkpoints, Progress
from llm_core.train.distribution import World, open_world

SAVES = ("ours", "DCP, async_save", "DCP, save")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("millions", nargs="?", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="checkpoint_writer_"))
    try:
        saved = _on_ranks(2, _save, folder, arguments.millions, arguments.rounds)
        loaded = {ranks: _on_ranks(ranks, _load, folder, arguments.millions, arguments.rounds) for ranks in (2, 1)}
        _print(folder, saved, loaded)
    finally:
        shutil.rmtree(folder)


def _print(folder: Path, saved: dict[str, Any], loaded: dict[int, dict[str, Any]]) -> None:
    print("| 2 ranks, FSDP2 | holds training up, s | on disk after, s | MB | pickles | digests |")
    print("|---|---|---|---|---|---|")
    for kind in SAVES:
        files = [path for path in _folder(folder, kind).rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        pickles = ", ".join(sorted({path.name for path in files if _is_pickle(path)})) or "none"
        times = " | ".join(f"{statistics.median(values):.2f}" for values in saved[kind])
        print(f"| {kind} | {times} | {size / 1e6:,.0f} | {pickles} | {'sha256 of all' if kind == 'ours' else 'none'} |")
    print("\n| loading, s | on 2 ranks | on 1 rank |\n|---|---|---|")
    for kind in ("ours", "DCP, save"):
        cells = [f"{statistics.median(found[kind]):.2f}" for found in loaded.values()]
        print(f"| {kind} | {' | '.join(cells)} |")
    equal = all(found["equal"] for found in loaded.values())
    print(f"\nWeights and moments come back equal: {'yes' if equal else 'no'}.")


def _is_pickle(path: Path) -> bool:
    """Whether a file is, or holds, a pickle."""
    head = path.read_bytes()[: 1 << 16]
    if head.startswith(b"PK"):  # torch.save writes archives with a pickle in them
        return b"data.pkl" in head
    try:
        next(pickletools.genops(head))
    except ValueError:
        return False
    return head.startswith(b"\x80")


def _save(world: World, folder: Path, millions: int, rounds: int) -> dict[str, Any]:
    model, optimizer = _trained(millions, sharded=True)
    checkpoints = Checkpoints(_folder(folder, "ours"), KeepSpec(last=1), {}, world, _silent)
    times: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))

    def ours(number: int) -> Callable[[], object]:
        checkpoints.save(model, optimizer, Progress(number))
        return checkpoints.wait

    def later(_: int) -> Callable[[], object]:
        _anew(world, _folder(folder, SAVES[1]))
        return dcp.async_save(_state(model, optimizer), checkpoint_id=_folder(folder, SAVES[1])).result

    def at_once(_: int) -> Callable[[], object]:
        _anew(world, _folder(folder, SAVES[2]))
        dcp.save(_state(model, optimizer), checkpoint_id=_folder(folder, SAVES[2]))
        return lambda: None

    for number in range(1, rounds + 2):  # the first round warms up
        for kind, save in zip(SAVES, (ours, later, at_once), strict=True):
            _together(world)
            begin = time.perf_counter()
            finish = save(number)
            held = time.perf_counter() - begin
            finish()
            _together(world)
            if number > 1:
                times[kind][0].append(held)
                times[kind][1].append(time.perf_counter() - begin)
    return dict(times)


def _load(world: World, folder: Path, millions: int, rounds: int) -> dict[str, Any]:
    sharded = world.size > 1
    saved = _tensors(*_trained(millions, sharded))
    model, optimizer = _trained(millions, sharded)
    checkpoints = Checkpoints(_folder(folder, "ours"), KeepSpec(last=1), {}, world, _silent)
    times: dict[str, list[float]] = defaultdict(list)

    def theirs() -> None:
        state = _state(model, optimizer)
        dcp.load(state, checkpoint_id=_folder(folder, SAVES[2]))
        set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])

    equal = True
    for _ in range(rounds):
        for kind, load in (("ours", lambda: checkpoints.resume(model, optimizer)), ("DCP, save", theirs)):
            for tensor in _tensors(model, optimizer):
                tensor.zero_()
            _together(world)
            begin = time.perf_counter()
            load()
            _together(world)
            times[kind].append(time.perf_counter() - begin)
            pairs = zip(_tensors(model, optimizer), saved, strict=True)
            equal &= all(torch.equal(one, other) for one, other in pairs)
    return {**times, "equal": equal}


def _trained(millions: int, sharded: bool) -> tuple[nn.Module, torch.optim.Optimizer]:
    """The same on any number of ranks."""
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(1000, 1000, bias=False) for _ in range(millions)))
    if sharded:
        for layer in model:
            fully_shard(layer)
        fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return model, optimizer


def _state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    weights, moments = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": moments}


def _tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """What this rank holds of weights and moments."""
    found = []
    for parameter in model.parameters():
        found += [parameter.detach(), *(optimizer.state[parameter][key] for key in ("exp_avg", "exp_avg_sq"))]
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in found]


def _folder(folder: Path, kind: str) -> Path:
    return folder / kind.replace(", ", "_")


def _anew(world: World, folder: Path) -> None:
    if world.is_main:
        shutil.rmtree(folder, ignore_errors=True)
    _together(world)


def _together(world: World) -> None:
    if world.size > 1:
        dist.barrier()


def _silent(line: str) -> None:
    del line


def _on_ranks(ranks: int, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What the main rank returns."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    answers = context.SimpleQueue()
    torch.multiprocessing.spawn(_rank, (ranks, port, answers, function, arguments), nprocs=ranks)
    found: dict[str, Any] = answers.get()
    return found


def _rank(rank: int, ranks: int, port: int, answers: Any, function: Callable[..., Any], arguments: Any) -> None:
    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    with open_world() as world:
        found = function(world, *arguments)
        if world.is_main:
            answers.put(found)


if __name__ == "__main__":
    main()
