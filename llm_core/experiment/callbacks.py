"""The interface of callbacks of a training run. Callbacks do not change the weights."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from enum import IntEnum, auto
from typing import Annotated, Any, ClassVar

from pydantic import PlainSerializer, PlainValidator, SerializationInfo

from llm_core.experiment.component import Component, KindOf
from llm_core.experiment.model import ModelSpec
from llm_core.registries import CALLBACKS
from llm_core.runtime_only import runtime_only


class Phase(IntEnum):
    """The order of callbacks at each event of a run. Within a phase, built-in callbacks come first, then those of
    ``tracking.callbacks`` in their order there."""

    FIRST = auto()
    """Before all others: measures everything that follows."""
    ADDS_METRICS = auto()
    """Adds metrics to the step."""
    RECORDS = auto()
    """Writes or forwards metrics and other events."""
    MAY_STOP = auto()
    """May stop the run or roll it back. All metrics of the step are recorded before."""
    LAST = auto()
    """After all others: checkpoints."""


class CallbackSpec(Component):
    """An action at certain events of a run. A kind defines ``build``.

    Callbacks must not change the weights, so callbacks and their settings are not part of any identity.
    """

    phase: ClassVar[Phase] = Phase.RECORDS
    outputs: ClassVar[tuple[str, ...]] = ()
    """The files that it writes for the artifact, as patterns (``profile/*``) relative to the work folder. The part
    before the first ``/`` is a literal name. All are volatile: they are not part of the artifact's content."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Packages that it imports, in addition to those of every trainer."""
    switch: ClassVar[str] = ""
    """The setting that turns it on, if that is not its entry in ``tracking.callbacks``."""

    @abstractmethod
    def build(self) -> Any:
        """The ``llm_core.train.callbacks.base.Callback`` with these settings. Imports its module only here, so that an
        experiment is read without torch."""

    def check(self, model: ModelSpec) -> None:
        """Raise ``ValueError`` when a run of ``model`` can't have it."""


def chosen(value: Any) -> dict[str, CallbackSpec]:
    """The callbacks of ``tracking.callbacks``; ``ValueError`` for one that can't be chosen there."""
    if not isinstance(value, Mapping):
        raise ValueError("give a mapping from callbacks to their settings, such as {samples: {every: 500}}")
    found = {}
    for kind, settings in value.items():
        if settings is None:  # removed by a file that extends another
            continue
        if isinstance(settings, Mapping):
            settings = {**settings, "kind": kind}
        elif not isinstance(settings, CallbackSpec):
            raise ValueError(f"{kind}: give its settings as a mapping; {{}} for the defaults")
        component = KindOf(CALLBACKS).made(settings, CallbackSpec)
        assert isinstance(component, CallbackSpec)
        if component.switch:
            raise ValueError(f"{kind}: {component.switch}; remove it from tracking.callbacks")
        found[str(kind)] = component
    return found


def _plain(callbacks: Mapping[str, CallbackSpec], info: SerializationInfo) -> dict[str, Any]:
    return {kind: component.model_dump(mode=info.mode, exclude={"kind"}) for kind, component in callbacks.items()}


ChosenCallbacks = Annotated[Mapping[str, CallbackSpec], PlainValidator(chosen), PlainSerializer(_plain)]
"""Kind → the callback of that kind: mappings merge where one experiment extends another."""


def check_callbacks(models: Iterable[ModelSpec], callbacks: Mapping[str, CallbackSpec]) -> None:
    """Raise ``ValueError`` when a run of one of ``models`` can't have one of ``callbacks``."""
    for model in models:
        for kind, component in callbacks.items():
            try:
                component.check(model)
            except ValueError as error:
                raise ValueError(f"tracking.callbacks.{kind}: {error}") from None


@runtime_only("outputs of callbacks are volatile")
def all_outputs() -> tuple[str, ...]:
    """The patterns of the files of all callbacks, whichever of them a run has."""
    return tuple(sorted({pattern for kind in CALLBACKS for pattern in CALLBACKS.load(kind).outputs}))
