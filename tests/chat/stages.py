"""Conversations on disk, and the stages that read them, for tests."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from llm_core.chat import conversations, mask_gate, shards
from llm_core.chat.results import ConversationShards
from llm_core.experiment.base import from_plain
from llm_core.experiment.chat import BUILT_IN
from llm_core.experiment.dedup import DecontaminationSpec
from llm_core.experiment.tokens import ShardsSpec
from llm_core.experiment.tuning import ConversationSource, PersonaSpec
from llm_core.graph.job import Job
from tests.data.stages import artifact, run

LENGTH = 96
PERSONA = from_plain(
    PersonaSpec,
    {
        "name": "Ada",
        "traits": ["brief"],
        "share": 0.1,
        "exchanges": [{"user": "Who?", "assistant": "I am Ada."}, {"user": "Kind?", "assistant": "Brief."}],
    },
)


def lines(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def talks(count: int) -> list[dict[str, Any]]:
    """Conversations of one or two questions, some with a system line."""
    found = []
    for number in range(count):
        said = [("user", f"What follows {number}?"), ("assistant", f"{number + 1} follows.")]
        if number % 3 == 0:
            said += [("user", "And then?"), ("assistant", f"{number + 2}.")]
        if number % 4 == 0:
            said = [("system", "Count."), *said]
        found.append({"messages": [{"role": role, "content": content} for role, content in said]})
    return found


def source(path: Path, **changes: Any) -> ConversationSource:
    form = {} if {"prompt", "dialogue"} & changes.keys() else {"messages": "messages"}
    return from_plain(ConversationSource, {"name": "talks", "paths": [str(path)], **form, **changes})


def read(work: Path, *sources: ConversationSource, persona=None, suites=()) -> dict[str, Any]:
    return run(
        conversations.build,
        work,
        {},
        sources=sources,
        persona=persona,
        decontamination=DecontaminationSpec(),
        suites=suites,
    )


def encode(work: Path, conversations: Path, tokenizer: Path, **changes: Any) -> dict[str, Any]:
    settings = {
        "template": BUILT_IN["plain"],
        "heldout_share": 0.2,
        "sequence_length": LENGTH,
        "persona": None,
        **changes,
    }
    inputs = {"conversations": conversations, "tokenizer": tokenizer.parent}
    return run(shards.build, work, inputs, shards=ShardsSpec(), **{**settings, **changes})


def gate(folder: Path, stats: dict[str, Any], conversations: Path, tokenizer: Path):
    """The mask gate's results for the shards in ``folder``."""
    read_back = SimpleNamespace(path=folder, results=lambda kind: ConversationShards.model_validate(stats))
    inputs = {"shards": read_back, "conversations": artifact(conversations), "tokenizer": artifact(tokenizer.parent)}
    return mask_gate.build(Job("instruct_mask_gate", "identity", inputs, folder, folder))
