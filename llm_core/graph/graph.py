"""The graph of stages, checked and in order."""

from collections.abc import Iterable, Iterator

from llm_core.graph.stage import Stage
from llm_core.graph.targets import check_targets


class Graph:
    """Stages by name, in topological order (in declaration order where that leaves a choice).

    Raises ``ValueError`` for a repeated name, an input that is not a stage, a cycle, and missing code.
    """

    def __init__(self, experiment: str, stages: Iterable[Stage]) -> None:
        self.experiment = experiment
        self._stages: dict[str, Stage] = {}
        declared = list(stages)
        names = [stage.name for stage in declared]
        if len(set(names)) != len(names):
            raise ValueError(f"two stages share a name: {sorted(name for name in names if names.count(name) > 1)[0]}")
        for stage in declared:
            check_targets(stage)
            for role, name in stage.inputs.items():
                if name not in names:
                    raise ValueError(f"stage {stage.name}: its input {role!r} is {name!r}, but there is no such stage")
        waiting = declared
        while waiting:
            ready = [stage for stage in waiting if all(name in self._stages for name in stage.inputs.values())]
            if not ready:
                raise ValueError(f"stages form a cycle: {', '.join(stage.name for stage in waiting)}")
            self._stages[ready[0].name] = ready[0]
            waiting = [stage for stage in waiting if stage.name != ready[0].name]

    def __iter__(self) -> Iterator[Stage]:
        return iter(self._stages.values())

    def __contains__(self, name: str) -> bool:
        return name in self._stages

    def __getitem__(self, name: str) -> Stage:
        return self._stages[name]

    def upstream(self, name: str) -> list[str]:
        """All stages before ``name`` from which it is built, directly or indirectly, in order."""
        above: set[str] = set()
        pending = list(self[name].inputs.values())
        while pending:
            current = pending.pop()
            if current not in above:
                above.add(current)
                pending.extend(self[current].inputs.values())
        return [stage.name for stage in self if stage.name in above]
