"""The sections ``instruct`` and ``chat``: conversations on which a trained model is tuned; and what ``preference`` has
in common with them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from llm_core.experiment.base import Count, Spec, later, outside_identity
from llm_core.experiment.chat import BUILT_IN
from llm_core.experiment.conditions import parsed_condition
from llm_core.experiment.model import ModelSpec
from llm_core.experiment.paths import YamlPath, YamlPattern
from llm_core.experiment.sources import HubName, License, SourceName
from llm_core.experiment.templates import parsed_template
from llm_core.experiment.tokens import TokenizerSpec
from llm_core.experiment.training import TrainingSpec
from llm_core.registries import PACKINGS

Role = Literal["system", "user", "assistant"]
Text = Annotated[str, Field(min_length=1)]
Syntax = Literal["json", "python"]

ROLES: dict[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
"""What datasets call the roles → role."""
HUB_FIELDS = ("repo", "revision", "files", "local_folder")
"""The settings of a source that say which files of the Hub it reads."""
TUNINGS = ("instruct", "chat", "preference")
"""The sections that tune, in the order in which they do."""
PERSONA = "persona"
"""The source of a persona's exchanges."""


class RecordSource(Spec):
    """Files of jsonl (also .gz, .zst, .xz, .bz2) and Parquet, on this machine or of a dataset on the Hugging Face Hub;
    each record says what was said."""

    name: SourceName
    """What the source is called in reports and ``training.mixture``."""
    license: License = later(None, None)
    """The licence of its texts, for the model card."""
    paths: Annotated[tuple[YamlPattern, ...], outside_identity()] = ()
    """Glob patterns and folders; relative ones start at the folder of the experiment's file."""
    repo: HubName | None = later(None, None)
    """A dataset on the Hugging Face Hub, ``owner/dataset``, instead of ``paths``."""
    revision: Text | None = later(None, None)
    """The commit of ``repo``, 40 hexadecimal digits. A branch is an error, because it moves; the message names its
    current commit."""
    files: tuple[Text, ...] = later((), [])
    """Patterns of names in ``repo``; ``*`` matches anything, ``/`` too."""
    local_folder: Annotated[YamlPath | None, outside_identity()] = None
    """A folder with the files of ``repo`` at ``revision``. The Hub is not asked."""
    role_key: Text = "role"
    """The key of a message's role (``from`` in ShareGPT's form)."""
    content_key: Text = "content"
    """The key of a message's text (``value`` in ShareGPT's form)."""
    roles: dict[str, Role] = ROLES
    """What the messages call the roles → role."""
    system: Text | None = None
    """A system line for conversations that have none. Fields of the record may stand in braces."""
    remove: tuple[Text, ...] = ()
    """Strings that are removed from all turns, such as an end-of-text token that someone wrote into the data."""
    where: Annotated[tuple[str, ...], Field(max_length=100)] = ()
    """Conditions that a record must meet, as in ``raw.sources``. A record that fails one is skipped and counted."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of the records that is read, chosen by a hash of their place."""
    syntax: Syntax = later("json", "json")
    """How a line of a text file is written: as JSON, or as Python prints a dictionary (``{'text': 'It\\'s'}``)."""
    max_record_bytes: Count = 16_000_000
    """A longer record is dropped and counted."""

    @field_validator("prompt", "answer", "chosen", "rejected", "system", check_fields=False)
    @classmethod
    def _are_templates(cls, template: str | None) -> str | None:
        if template is not None and ("{" in template or "}" in template):
            try:
                parsed_template(template)
            except ValueError as error:
                raise ValueError(str(error).removeprefix("template: ")) from None
        return template

    @field_validator("where")
    @classmethod
    def _are_conditions(cls, where: tuple[str, ...]) -> tuple[str, ...]:
        for condition in where:
            parsed_condition(condition)
        return where

    @model_validator(mode="after")
    def _one_place(self) -> "RecordSource":
        if bool(self.paths) == (self.repo is not None):
            raise ValueError("give either paths, or repo with revision and files: where the records are")
        if self.repo is not None and (self.revision is None or not self.files):
            raise ValueError("repo needs revision (a commit) and files (patterns)")
        alone = [name for name in HUB_FIELDS if getattr(self, name)]
        if self.repo is None and alone:
            raise ValueError(f"{', '.join(alone)}: only with repo")
        return self

    def reading(self) -> Self:
        """How its records are read, without where they are and whose: the parts of its files depend on this."""
        return self.model_copy(
            update={name: type(self).model_fields[name].default for name in ("license", "paths", *HUB_FIELDS)}
        )


class ConversationSource(RecordSource):
    """One conversation per record, in one of three forms: ``prompt`` and ``answer``, ``messages``, or ``dialogue``."""

    prompt: Text | None = None
    """The user's turn, with fields of the record in braces: ``{question}``, ``Summarise:\\n{data.text}``."""
    answer: Text | None = None
    """The assistant's turn, likewise."""
    messages: Text | None = None
    """The field with a list of messages, each with ``role`` and ``content``."""
    dialogue: Text | None = None
    """The field with a dialogue as text, where each turn begins a line with one of ``speakers``."""
    speakers: dict[Text, Literal["user", "assistant"] | None] = Field(default_factory=dict)
    """How the lines of a ``dialogue`` begin → whose turn it is: ``{"#Person1#:": user, "#Person2#:": assistant}``.
    Lines of one speaker in a row are one turn. Several may be the user, or the assistant. A dialogue in which a speaker
    with null has a line is dropped, and so is one with another number than those that are named (``#Person3#:``)."""

    @model_validator(mode="after")
    def _one_form(self) -> "ConversationSource":
        given = [name for name in ("prompt", "messages", "dialogue") if getattr(self, name) is not None]
        if len(given) != 1 or (self.prompt is None) != (self.answer is None):
            raise ValueError(
                "give either prompt and answer, or messages, or dialogue: where a record has its turns "
                f"(given: {', '.join(n for n in ('prompt', 'answer', 'messages', 'dialogue') if getattr(self, n))})"
            )
        if (self.dialogue is not None) != bool(self.speakers):
            raise ValueError("speakers: say how the turns of a dialogue begin, and only with dialogue")
        if self.dialogue is not None and not {"user", "assistant"} <= set(self.speakers.values()):
            raise ValueError("speakers: name at least one for user, and one for assistant")
        return self


class Exchange(Spec):
    """A question to the persona and its answer, written by hand."""

    user: Text
    """What a user says."""
    assistant: Text
    """What the persona answers."""


class PersonaSpec(Spec):
    """Who the model is: a name, traits, and exchanges that are repeated until they have a share of the tokens."""

    name: Text
    """How it calls itself."""
    traits: tuple[Text, ...] = ()
    """What it is like, as adjectives or short phrases."""
    exchanges: Annotated[tuple[Exchange, ...], Field(min_length=1)]
    """Hand-written questions and answers. All of them are trained on."""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """The share of the training tokens that are of the persona's exchanges. They are repeated to reach it."""

    @property
    def system(self) -> str:
        """The system line of every second repeat. Without one, too, the model should know who it is."""
        traits = f" You are {', '.join(self.traits)}." if self.traits else ""
        return f"You are {self.name}.{traits}"


class AnyTuningSpec(Spec):
    """What every section that tunes has."""

    template: Text = "plain"
    """How a conversation is written for the model: ``plain``, ``chatml``, or a template in Jinja."""
    heldout_share: Annotated[float, Field(gt=0, lt=0.5)] = 0.02
    """The share of the conversations that is not trained on, but measures the loss on answers."""
    training: TrainingSpec
    """As that of the full run. Unless they are given, ``packing`` is ``best_fit``, so that conversations stay whole,
    and ``guards.loss_floor`` is null: answers may be much easier than the text that they answer."""

    def jinja(self) -> str:
        """The text of the template."""
        return BUILT_IN.get(self.template, self.template)

    @field_validator("training", mode="before")
    @classmethod
    def _whole_conversations(cls, training: Any) -> Any:
        if not isinstance(training, dict):
            return training
        guards = training.get("guards", {})
        return {
            "packing": "best_fit",
            **training,
            "guards": {"loss_floor": None, **guards} if isinstance(guards, dict) else guards,
        }

    @field_validator("template")
    @classmethod
    def _is_template(cls, template: str) -> str:
        if template not in BUILT_IN and "{" not in template:
            raise ValueError(f"there is no template of this name; known: {', '.join(BUILT_IN)}; or give one in Jinja")
        if template not in BUILT_IN:
            _check_syntax(template)
        return template

    def check_sources(self, sources: Sequence[RecordSource]) -> None:
        """Raise ``ValueError`` for sources of one name, and for a ``training`` that does not fit them."""
        names = [source.name for source in sources]
        if len(set(names)) != len(names) or PERSONA in names:
            raise ValueError(f"sources: each needs a name of its own, and none may be {PERSONA!r}: {', '.join(names)}")
        training, mixture = self.training, self.training.mixture
        if PACKINGS.load(training.packing).windows:
            raise ValueError(f"training.packing {training.packing!r} cuts conversations; use best_fit or pad")
        if training.superposition is not None:
            raise ValueError("training.superposition: bags of tokens can't tell targets from other tokens; remove it")
        if mixture is not None and (unknown := sorted(set(mixture.weights) - set(names))):
            raise ValueError(f"training.mixture.weights: no source is called {', '.join(unknown)}")


class TuningSpec(AnyTuningSpec):
    """Tuning on conversations (Wei et al., 2022; Ouyang et al., 2022). Only what the assistant says is learnt."""

    sources: Annotated[tuple[ConversationSource, ...], Field(min_length=1)]
    """One or several; each has a ``name`` of its own."""
    persona: PersonaSpec | None = None

    @model_validator(mode="after")
    def _fits(self) -> "TuningSpec":
        self.check_sources(self.sources)
        if self.training.mixture is not None and self.persona is not None:
            raise ValueError("training.mixture decides alone what is read, so persona.share can't; remove one of them")
        return self


def _check_syntax(template: str) -> None:
    """Raise ``ValueError`` with the line of a syntax error. What a template does is tried with the tokenizer."""
    from jinja2 import Environment, TemplateSyntaxError  # late: most experiments have no template of their own

    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)  # noqa: S701 (it makes no HTML)
    except TemplateSyntaxError as error:
        raise ValueError(f"line {error.lineno}: {error.message}") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def check_tuning(place: str, tuning: AnyTuningSpec, model: ModelSpec, tokenizer: TokenizerSpec) -> None:
    """Raise ``ValueError`` for a tuning that does not fit the model or the tokenizer. ``place``: its section."""
    if model.multi_token is not None:
        raise ValueError(f"{place}: a model with multi_token heads can't be tuned yet: they need every next token")
    wanted = CONTROL_TOKENS.get(tuning.template, ())
    missing = [token for token in wanted if token not in tokenizer.special_tokens]
    if missing and tokenizer.kind == "trained":
        raise ValueError(
            f"{place}.template {tuning.template!r} needs control tokens that the tokenizer must have from the start: "
            f"add {', '.join(missing)} to tokenizer.special_tokens, or use the template 'plain'"
        )


CONTROL_TOKENS = {"chatml": ("<|im_start|>", "<|im_end|>")}
"""Built-in template → the control tokens that it needs beside the end of text."""
