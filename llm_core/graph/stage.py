"""A stage: what it makes, from what, by which function, checked how. Declared, not run, here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One node of the graph.

    ``name``: its asset key without the experiment (``proxy_runs/baseline``).
    ``kind``: what it is as an artifact. Two stages of one kind with equal inputs and configuration are one artifact.
    ``build``: ``module:function``, called as ``function(job, **config)``; it returns the artifact's results. Where
    another field names code of the same module, ``:function`` is enough.
    ``results``: ``module:class``, the type of these results, a ``Results``.
    ``inputs``: role → name of the stage that fills it.
    ``config``: the slice of the experiment, by parameter name; all that ``build`` gets to see of it.
    ``bounds``: the limits that checks judge by; outside identity.
    ``blocking``, ``non_blocking``: checks of the results, each a ``module:function``, called as ``function(results,
    bounds)``, that returns a ``Verdict``; the check has the name of the function. While a blocking one fails, what
    depends on the stage does not start; a non-blocking one is only reported.
    ``externals``: ``module:function``, called as ``function(**config)``; it returns name → digest of what the stage
    reads from outside the store.
    ``look_up``: ``module:function``, called as ``function(**config)`` before the stage is made, never for a plan: asks
    the network for what ``externals`` needs to know, and remembers it. Until then, ``externals`` raises
    ``UnknownYetError``.
    ``parts``: ``module:function`` of a stage that works part by part, called as ``function(inputs, **config)`` with
    role → files; it returns the tasks of the stage's first map. A plan counts by them what would be made.
    ``compute``: fields of the experiment's ``compute`` that are others while this stage is made; outside identity.
    ``code``: more ``module:name`` that ``build`` runs without importing (in a process of its own, say).
    ``volatile``: glob patterns of files that hold clock times and the like: kept whole, but not part of the content
    digest that later stages see.
    ``ready``: ``module:function``, called as ``function(runtime)`` before anything of a run is made; it raises
    ``PedigreeError`` where the stage could not begin (a key that is missing).
    ``redone``: whether a damaged volatile file is reason enough to make all again (a page). Otherwise it is put aside,
    and the artifact goes on without it (the weights of a run that lost a line of its metrics).
    ``cost``: ``module:function``, called as ``function(compute, before, **config)``; it returns what the stage will
    take (``llm_core.graph.price.Estimate``). ``before``: the configuration of the last time, or None.
    ``frozen``: whether it keeps what it was while its inputs change, or the identity that it keeps
    (``llm_core.graph.frozen``); outside identity.
    ``trains``: whether it occupies the accelerators, in a process of its own.
    """

    name: str
    group: str
    description: str
    build: str
    results: str = "llm_core.graph.results:Results"
    inputs: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    bounds: Any = None
    blocking: tuple[str, ...] = ()
    non_blocking: tuple[str, ...] = ()
    externals: str | None = None
    look_up: str | None = None
    parts: str | None = None
    compute: Mapping[str, Any] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()
    ready: str | None = None
    redone: bool = False
    cost: str | None = None
    frozen: bool | str = False
    trains: bool = False
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", self.name)
        module = self.build.partition(":")[0]
        for name in ("results", "externals", "look_up", "parts", "ready", "cost"):
            target = getattr(self, name)
            object.__setattr__(self, name, target and _whole(target, module))
        for name in ("blocking", "non_blocking"):
            object.__setattr__(self, name, tuple(_whole(target, module) for target in getattr(self, name)))
        checks = self.checks
        if len(set(checks)) != len(checks):
            raise ValueError(f"stage {self.name}: two of its checks share a name: {', '.join(checks)}")

    @property
    def checks(self) -> list[str]:
        """The names of all checks: first the blocking ones."""
        return [target.partition(":")[2] for target in (*self.blocking, *self.non_blocking)]

    @property
    def targets(self) -> list[str]:
        """All code that the stage names."""
        single = (self.build, self.results, self.externals, self.look_up, self.parts, self.ready, self.cost)
        named = [target for target in (*single, *self.code, *self.blocking, *self.non_blocking) if target is not None]
        return [target for target in named if ":" in target]


def _whole(target: str, module: str) -> str:
    return f"{module}{target}" if target.startswith(":") else target


@dataclass(frozen=True)
class Verdict:
    """What a check says of an artifact's results. ``value`` and ``bound``: the numbers that it compared."""

    passed: bool
    message: str
    value: float | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Check(Verdict):
    """The verdict of a check of a stage. ``blocking``: whether its failure keeps what depends on the stage from
    starting."""

    name: str = ""
    blocking: bool = False
