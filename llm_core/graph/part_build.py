"""Finds or builds one part, in whatever process."""

from dataclasses import dataclass
from pathlib import Path

from llm_core.errors import PedigreeError
from llm_core.graph.code_claim import CodeClaim
from llm_core.graph.part import PartTask, PartWork
from llm_core.plugins import load_plugins
from llm_core.store.digests import stamp
from llm_core.store.parts import Part, PartStore, recorded


@dataclass(frozen=True)
class PartBuild:
    """All that a process needs to find or build a part: its task, its key, the claim of the code in the key, and the
    folder of its part store."""

    task: PartTask
    key: str
    claim: CodeClaim
    root: Path

    def find(self) -> Part | None:
        """The part in the store. None when it is missing or damaged."""
        return PartStore(self.root).find(self.task.name, self.key)

    def build(self) -> Part:
        """Run the task's function and commit its files. If another process was first, its equal part is used."""
        load_plugins(self.claim.plugins)
        found = self.find()
        if found is not None:
            return found
        store, task = PartStore(self.root), self.task
        scratch = store.scratch(self.key)
        work = PartWork(task.name, {role: file.path for role, file in task.inputs.items()}, task.settings, scratch)
        try:
            stats = task.function(work, **task.config)
            for file in task.inputs.values():
                if file.stamp is not None and tuple(stamp(file.path.resolve())) != file.stamp:
                    raise PedigreeError(f"{file.path}: changed while it was read; nothing of it was kept; run again")
            self.claim.check(task.name, on_disk=True)
            if task.key(self.claim.digest) != self.key:  # properties of a specification differ here
                raise PedigreeError(f"{task.name}: this process derives other settings from the same fields; run again")
            files, stats = recorded(scratch, stats)
            return store.commit(task.name, self.key, scratch, files, stats)
        except BaseException:
            store.discard(scratch)
            raise
