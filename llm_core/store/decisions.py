"""Decisions of people, recorded with name, time and reason in ``<kind>/<identity>.json``: aliases and overrules."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from llm_core.errors import PedigreeError
from llm_core.experiment.base import told
from llm_core.store.files import disk_errors, write_atomically
from llm_core.store.manifest import Overrule


class Alias(BaseModel):
    """The decision that the artifact ``target`` serves ``identity``: changed code, same result."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    identity: str
    target: str
    code_digest: str
    stage: str
    who: str
    when: str
    why: str


D = TypeVar("D", Alias, Overrule)


def write_decision(path: Path, decision: Alias | Overrule) -> None:
    """Record the decision."""
    with disk_errors(path):
        write_atomically(path, decision.model_dump_json(indent=1).encode())


def read_decision(path: Path, kind: type[D], command: str) -> D | None:
    """The decision in ``path``. None when there is none, and for a file that was copied from another identity.

    ``command``: what records such a decision. Raises ``PedigreeError`` when the file can't be read.
    """
    try:
        found = kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        what = f"not a whole {kind.__name__.lower()} ({told(error)})"
        raise PedigreeError(f"{path}: {what}; remove it, and {command} again if need be") from None
    return found if (found.kind, found.identity) == (path.parent.name, path.stem) else None
