"""The graph of stages, checked and in order."""

from collections.abc import Iterable, Iterator

from llm_core.graph.stage import Stage
from llm_core.graph.targets import check_targets


class Graph:
    """Stages by name, in topological order (in declaration order where that leaves a choice).

    Gates come before the stages that they open. Raises ``ValueError`` for a repeated name, an input or gate that is not
    a stage, a gate that is also an input, a cycle, and missing code.
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
            for name in stage.gates:
                if name not in names:
                    raise ValueError(f"stage {stage.name}: its gate is {name!r}, but there is no such stage")
                if name in stage.inputs.values():
                    raise ValueError(f"stage {stage.name}: {name!r} is its gate and its input; it can be only one")
        waiting = declared
        while waiting:
            ready = [stage for stage in waiting if all(name in self._stages for name in before(stage))]
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

    def is_gate(self, name: str) -> bool:
        """Whether ``name`` is a gate of any stage."""
        return any(name in stage.gates for stage in self)

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


def before(stage: Stage) -> list[str]:
    """The stages directly before ``stage``: its inputs and its gates."""
    return list(dict.fromkeys((*stage.inputs.values(), *stage.gates)))
