"""The interface of a source's reader."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from llm_core.graph.part import PartTask
from llm_core.store.parts import Part

Make = Callable[[Sequence[PartTask]], list[Part]]
"""Builds the parts of tasks."""


class SourceReader(ABC):
    """Reads the documents of a source. A task reads a unit; its function ends in ``unit_parts.write_unit``."""

    @abstractmethod
    def source_digests(self) -> dict[str, str]:
        """Name → digest, for all that is read from outside the store.

        Raises ``PedigreeError`` if something is missing, and ``UnknownYetError`` if ``look_up`` must run first.
        """

    @abstractmethod
    def tasks(self, documents_per_part: int) -> list[PartTask]:
        """A task per unit. Of a source with a budget, only the units that are certainly needed."""

    def chosen(self, documents_per_part: int, make: Make) -> list[PartTask]:  # noqa: ARG002
        """The tasks whose parts are the source. A source with a budget builds units to see how many it needs."""
        return self.tasks(documents_per_part)

    def look_up(self) -> None:  # noqa: B027 (most ask nobody)
        """Ask the network which files there are, unless that is known, and remember the answer."""

    def unread_files(self) -> list[str]:
        """The names of files that are found but not read."""
        return []
