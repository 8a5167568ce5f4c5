"""What the reader of a source is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from llm_core.graph.part import PartTask
from llm_core.store.parts import Part

Make = Callable[[Sequence[PartTask]], list[Part]]
"""Makes the parts of tasks."""


class SourceReader(ABC):
    """Reads the documents of a source. A task reads a unit, and its function ends in ``units.write_unit``."""

    @abstractmethod
    def source_digests(self) -> dict[str, str]:
        """Name → digest of what is read from outside the store.

        Raises ``PedigreeError`` for what is missing, ``UnknownYetError`` for what ``look_up`` has not asked for yet.
        """

    @abstractmethod
    def tasks(self, documents_per_part: int) -> list[PartTask]:
        """A task for every unit; of a source with a budget, those that are surely needed."""

    def chosen(self, documents_per_part: int, make: Make) -> list[PartTask]:  # noqa: ARG002
        """The tasks whose parts are the source. A source with a budget has units made to see how far it reaches."""
        return self.tasks(documents_per_part)

    def look_up(self) -> None:  # noqa: B027 (most ask nobody)
        """Ask the network which files there are, and remember the answer; nothing where it is known."""

    def unread_files(self) -> list[str]:
        """The names of files that it finds and does not read."""
        return []
