"""How people talk to a model: what it reads for a conversation, and what ends its answer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.chat.conversation import checked
from llm_core.chat.template import ChatTemplate, model_template
from llm_core.experiment.chat import CHAT_FILE, TEMPLATE_FILE


class ModelChat(NamedTuple):
    """``system``: the persona's system line. ``tuned``: whether the model was tuned with the template.

    A base model gets the template ``plain``, so that one can talk to every model directly after its training and see
    what tuning would have to bring.
    """

    template: ChatTemplate
    system: str | None
    tuned: bool

    def prompt(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The ids of a conversation that the model answers. Raises ``PedigreeError``.

        The persona's system line comes before it, unless it has a system line of its own.
        """
        if self.system is not None and checked(messages)[0].role != "system":
            messages = [{"role": "system", "content": self.system}, *messages]
        return self.template.prompt(messages)

    def stop(self) -> list[int]:
        """The tokens that end an answer."""
        return sorted({*self.template.stop, self.template.eot})


def stop_ids(folder: Path, tokenizer: Path) -> tuple[int, ...]:
    """The tokens that end an answer of the tuned model in ``folder``; none for a model that was not tuned."""
    about = folder / CHAT_FILE
    if about.is_file():
        return tuple(json.loads(about.read_bytes())["stop"])
    return model_template(folder, tokenizer).stop if (folder / TEMPLATE_FILE).is_file() else ()


def model_chat(folder: Path, tokenizer: Path) -> ModelChat:
    """How one talks to the model in ``folder``. ``tokenizer``: its ``tokenizer.json``."""
    about = folder / CHAT_FILE
    system = json.loads(about.read_bytes())["system"] if about.is_file() else None
    return ModelChat(model_template(folder, tokenizer), system, (folder / TEMPLATE_FILE).is_file())
