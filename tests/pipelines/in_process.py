"""A plug-in: a launcher that trains in the process that launches, and so starts none that imports torch again."""

from typing import Any, Literal

from llm_core.experiment.launchers import LauncherSpec

LAUNCHERS = {"in_process": "tests.pipelines.in_process:InProcess"}


class InProcess(LauncherSpec):
    """Trains on the CPU, on one rank."""

    kind: Literal["in_process"] = "in_process"

    def launch(self, spec: Any, ranks: int, runtime: Any) -> None:
        """See ``LauncherSpec``. Metrics are observed at the end."""
        import torch

        from llm_core.train.distribution import World
        from llm_core.train.interruption import StopRequest
        from llm_core.train.loop import train
        from llm_core.train.metrics_log import METRICS, read_metrics
        from llm_core.train.work_folder import claim

        assert ranks == 1
        claim(spec, runtime.log)
        train(spec, World(0, 1, torch.device("cpu")), StopRequest(), lambda _: None)
        for record in read_metrics(spec.work / METRICS):
            runtime.observe(record)
