"""Run functions on several gloo ranks: forked processes that have torch loaded."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")
# Also import what training imports late, before processes fork.
_CONTEXT.set_forkserver_preload(["llm_core.train.loop", "llm_core.model.decoder", "safetensors", "torch._dynamo"])


def on_ranks(size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """The result of ``function(world, *arguments)`` on each of ``size`` ranks; an exception as text.

    The function must be of a module: its name is what reaches the processes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    answers = _CONTEXT.Queue()
    processes = [
        _CONTEXT.Process(target=_run, args=(rank, size, port, answers, function, arguments), daemon=True)
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        found = dict(answers.get(timeout=120) for _ in range(size))
    finally:
        for process in processes:
            process.join(10)
            process.kill()
    return [found[rank] for rank in range(size)]


def _run(rank: int, size: int, port: int, answers: Any, function: Callable[..., Any], arguments: Any) -> None:
    import torch

    from llm_core.train.distribution import open_world

    torch.set_num_threads(1)
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    try:
        with open_world() as world:
            answer = function(world, *arguments)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    answers.put((rank, answer))
