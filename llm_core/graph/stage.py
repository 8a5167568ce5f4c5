"""The declaration of a stage: its inputs, settings, build function, results and checks. Nothing runs here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One node of the graph.

    ``name``: its asset key without the experiment (``token_shards``).
    ``kind``: the kind of its artifact. Two stages of one kind with equal inputs and configuration share one artifact.
    ``build``: ``module:function``, called as ``function(job, **config)``; it returns the artifact's results. Where
    another field names code of the same module, ``:function`` is enough.
    ``results``: ``module:class``, the type of these results, a subclass of ``Results``.
    ``inputs``: role → name of the stage that provides it.
    ``gates``: stages whose blocking checks must pass before this one is built. They are no inputs, and outside
    identity; an artifact that exists does not need them.
    ``config``: the slice of the experiment, by parameter name. ``build`` sees no other setting.
    ``bounds``: the limits for checks; outside identity.
    ``blocking``, ``non_blocking``: checks of the results, each a ``module:function``, called as ``function(results,
    bounds)``, that returns a ``Verdict``. The check has the name of the function. While a blocking check fails, later
    stages do not start. A failed non-blocking check is only reported.
    ``source_digests``: ``module:function``, called as ``function(**config)``. Returns name → digest of the
    data that the stage reads from outside the store.
    ``look_up``: ``module:function``, called as ``function(**config)`` before the stage is built, never for a plan. Asks
    the network for facts that ``source_digests`` needs, and remembers them. Until then, ``source_digests`` raises
    ``UnknownYetError``.
    ``parts``: ``module:function`` of a stage that works in parts, called as ``function(inputs, **config)`` with role →
    files. Returns the tasks of the stage's first map. A plan counts with them the parts that would be built.
    ``compute``: overrides of the experiment's ``compute`` while this stage is built; outside identity.
    ``code``: more ``module:name`` that ``build`` runs without importing (for example in another process).
    ``volatile``: glob patterns of files with clock times and the like. They are stored and verified, but not part of
    the content digest that later stages see.
    ``packages``: package → our extra that installs it, for what ``build`` needs beside the base installation.
    ``requirements``: ``module:function``, called as ``function(runtime)`` before any stage of a run is built. Raises
    ``PedigreeError`` when the stage could not begin (a missing key).
    ``rebuild_when_damaged``: whether a damaged volatile file causes a rebuild (a page). Otherwise it is moved to
    quarantine, and the artifact is used without it (the weights of a run whose metrics are damaged).
    ``cost``: ``module:function``, called as ``function(compute, before, **config)``. Returns the expected cost
    (``llm_core.graph.price.Estimate``). ``before``: the configuration of the last build, or None.
    ``frozen``: whether it keeps its artifact while its inputs change, or the identity that it keeps
    (``llm_core.graph.frozen``); outside identity.
    ``trains``: whether it occupies the accelerators, in its own process.
    """

    name: str
    group: str
    description: str
    build: str
    results: str = "llm_core.graph.results:Results"
    inputs: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    bounds: Any = None
    blocking: tuple[str, ...] = ()
    non_blocking: tuple[str, ...] = ()
    source_digests: str | None = None
    look_up: str | None = None
    parts: str | None = None
    compute: Mapping[str, Any] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    volatile: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    requirements: str | None = None
    rebuild_when_damaged: bool = False
    cost: str | None = None
    frozen: bool | str = False
    trains: bool = False
    kind: str = ""

    def __post_init__(self) -> None:
        if not self.kind:
            object.__setattr__(self, "kind", self.name)
        module = self.build.partition(":")[0]
        for name in ("results", "source_digests", "look_up", "parts", "requirements", "cost"):
            target = getattr(self, name)
            object.__setattr__(self, name, target and _whole(target, module))
        for name in ("blocking", "non_blocking"):
            object.__setattr__(self, name, tuple(_whole(target, module) for target in getattr(self, name)))
        checks = self.checks
        if len(set(checks)) != len(checks):
            raise ValueError(f"stage {self.name}: two of its checks share a name: {', '.join(checks)}")

    @property
    def checks(self) -> list[str]:
        """The names of all checks, the blocking ones first."""
        return [target.partition(":")[2] for target in (*self.blocking, *self.non_blocking)]

    @property
    def targets(self) -> list[str]:
        """All code that the stage names."""
        single = (self.build, self.results, self.source_digests, self.look_up, self.parts)
        named = [
            target
            for target in (*single, self.requirements, self.cost, *self.code, *self.blocking, *self.non_blocking)
            if target is not None
        ]
        return [target for target in named if ":" in target]


def _whole(target: str, module: str) -> str:
    return f"{module}{target}" if target.startswith(":") else target


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check of an artifact's results. ``value`` and ``bound``: the numbers that it compared."""

    passed: bool
    message: str
    value: float | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Check(Verdict):
    """The verdict of a check of a stage. ``blocking``: whether later stages can't start after its failure."""

    name: str = ""
    blocking: bool = False
